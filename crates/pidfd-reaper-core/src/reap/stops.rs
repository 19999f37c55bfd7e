//! The thread that learns of a child's stops, where they are asked for.
//!
//! A pidfd does not tell of them, and `SIGCHLD` is the program's: what is left is a `waitid` that
//! blocks. It only looks (`WNOWAIT`). A stop is then taken through the child's record, under its
//! lock, and the end is left to whoever reaps.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Signal, WaitIdOptions};

use super::changes::{News, StateChange, StateChanges};
use super::process::{Process, State, Way};
use super::thread;
use crate::kernel::pidfd::Pidfd;
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
    /// `EAGAIN` or `ENOMEM` if no thread can be made (`RLIMIT_NPROC`, the pids cgroup): nothing is
    /// lost by that, try again later.
    pub fn state_changes(&self) -> io::Result<StateChanges> {
        let mut state = self.state();
        let State::Running { way, news: told } = &mut *state else {
            return Ok(StateChanges::ended());
        };
        if let Some(news) = told {
            return Ok(StateChanges::of(Arc::clone(news)));
        }
        let own = match way {
            // Not the record's, on which no waitid blocks. Where there is none to be had, the
            // number does: all that is taken is taken through the record.
            Way::Pidfd(_) => Pidfd::open_blocking(self.pid(), Support::here()).ok(),
            Way::Number(_) => None,
        };
        // Asked after the number was used: it was the child's then.
        match self.waitid(way, CHANGES | WaitIdOptions::NOWAIT) {
            Err(Errno::CHILD) => return Ok(StateChanges::ended()),
            answer => answer?,
        };
        let news = Arc::new(News::default());
        let (process, to) = (self.clone(), Arc::clone(&news));
        thread::start("stops", self.pid(), "a thread tells of its stops", move || {
            process.tell_changes(own.as_ref(), &to);
            to.end();
        })?;
        // What was before is not told, but for the stop that it is still in. The thread cannot have
        // taken it: we hold the lock.
        if let Ok(Some(stop @ StateChange::Stopped(_))) = self.take_change(way) {
            news.tell(stop);
        }
        *told = Some(Arc::clone(&news));
        Ok(StateChanges::of(news))
    }

    /// What the thread does, until the child ends or is not to be waited for any more.
    fn tell_changes(&self, own: Option<&Pidfd>, news: &News) {
        let look = CHANGES | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            let seen = retry_on_intr(|| match own {
                Some(pidfd) => pidfd.waitid(look, Support::here()),
                None => sys::waitid(Target::Pid(self.pid()), look),
            });
            if !matches!(seen, Ok(Some((status, _))) if !has_ended(status)) {
                return;
            }
            let taken = match &*self.state() {
                State::Running { way, .. } => self.take_change(way),
                // What was seen by number is another child's.
                State::Ended(_) | State::Lost => return,
            };
            match taken {
                Ok(Some(change)) => news.tell(change),
                // Something else has taken it.
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    fn take_change(&self, way: &Way) -> Result<Option<StateChange>, Errno> {
        Ok(self.waitid(way, CHANGES)?.and_then(change))
    }
}

fn has_ended(status: ExitStatus) -> bool {
    status.stopped_signal().is_none() && !status.continued()
}

fn change(status: ExitStatus) -> Option<StateChange> {
    if status.continued() {
        return Some(StateChange::Continued);
    }
    status.stopped_signal().and_then(Signal::from_named_raw).map(StateChange::Stopped)
}
