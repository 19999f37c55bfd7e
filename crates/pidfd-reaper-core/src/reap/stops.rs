//! The thread that learns of a child's stops, where they are asked for.
//!
//! A pidfd does not show them, and `SIGCHLD` is the program's: what is left is a `waitid` that
//! blocks. It only looks (`WNOWAIT`). A stop is then collected through the child's record, under its
//! lock, and the exit is left to whatever reaps.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdOptions};

use super::changes::{Broadcast, StateChange, StateChanges};
use super::process::{Access, Process, State};
use super::thread;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::retry;
use crate::kernel::support::Support;
use crate::kernel::sys::{self, Target};

const CHANGES: WaitIdOptions = WaitIdOptions::STOPPED.union(WaitIdOptions::CONTINUED);

impl Process {
    /// The child's stops and continuations from now on, beginning with the stop that it is in.
    ///
    /// See [`Child::state_changes`](crate::Child::state_changes).
    ///
    /// # Errors
    ///
    /// - `EAGAIN` or `ENOMEM` if the thread cannot be started (`RLIMIT_NPROC`, the pids cgroup):
    ///   nothing is lost, try again later.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn state_changes(&self) -> io::Result<StateChanges> {
        let mut state = self.lock()?;
        let State::Running(running) = &mut *state else { return Ok(StateChanges::exited()) };
        let extras = running.extras.get_or_insert_default();
        if let Some(broadcast) = &extras.changes {
            return Ok(StateChanges::new(Arc::clone(broadcast)));
        }
        let access = &running.access;
        let own = match access {
            // Not the record's, on which no `waitid` blocks. Where there is none, the thread waits
            // by PID: what it sees is collected through the record.
            Access::Pidfd(_) => Pidfd::open_blocking(self.pid(), Support::here()).ok(),
            Access::Pid(_) => None,
        };
        // Asked after the PID was used: it was the child's then.
        match access.waitid(self.pid(), CHANGES | WaitIdOptions::NOWAIT) {
            Err(Errno::CHILD) => return Ok(StateChanges::exited()),
            answer => answer?,
        };
        let broadcast = Arc::new(Broadcast::default());
        let (process, to) = (self.clone(), Arc::clone(&broadcast));
        thread::start("stops", self.pid(), move || {
            process.publish_changes(own.as_ref(), &to);
            to.publish_exit();
        })?;
        // What was before is not published, except for the stop that it is still in. The thread
        // cannot have collected it: the lock is held. There is no stream yet, so nothing is woken.
        if let Ok(Some(stop @ StateChange::Stopped(_))) = collect_change(self.pid(), access) {
            broadcast.publish(stop);
        }
        extras.changes = Some(Arc::clone(&broadcast));
        drop(state);
        Ok(StateChanges::new(broadcast))
    }

    /// What the thread does, until the child exits or something else has reaped it.
    ///
    /// Where a filter refuses to wait, it looks again after a pause, and so learns at least when the
    /// child was reaped: that it cannot be waited for must not look like its exit.
    fn publish_changes(&self, own: Option<&Pidfd>, broadcast: &Broadcast) {
        let mut pause = PAUSE;
        let mut rest = || {
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
        };
        let look = CHANGES | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            let seen = match own {
                Some(pidfd) => pidfd.waitid(look, Support::here()),
                None => retry(|| sys::waitid(Target::Pid(self.pid()), look)),
            };
            match seen {
                Ok(Some((status, _))) if !has_exited(status) => {}
                Ok(_) | Err(Errno::CHILD) => return,
                Err(_) => rest(),
            }
            let Ok(state) = self.lock() else { return };
            let collected = match &*state {
                State::Running(running) => collect_change(self.pid(), &running.access),
                // What was seen by PID is another child's.
                State::Exited(_) | State::Lost(_) => return,
            };
            drop(state);
            match collected {
                Ok(Some(change)) => broadcast.publish(change),
                Err(Errno::CHILD) => return,
                // Something else has collected it.
                Ok(None) => {}
                Err(_) => rest(),
            }
        }
    }
}

/// The shortest and the longest pause before another look.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn collect_change(pid: Pid, access: &Access) -> Result<Option<StateChange>, Errno> {
    Ok(access.waitid(pid, CHANGES)?.and_then(|(status, _)| change(status)))
}

fn has_exited(status: ExitStatus) -> bool {
    status.stopped_signal().is_none() && !status.continued()
}

fn change(status: ExitStatus) -> Option<StateChange> {
    if status.continued() {
        return Some(StateChange::Continued);
    }
    status.stopped_signal().and_then(Signal::from_named_raw).map(StateChange::Stopped)
}
