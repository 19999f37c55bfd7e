//! The processes that run when the main child has exited: `SIGTERM`, a grace period, `SIGKILL`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, wait, waitid,
};

use super::options::SignalMap;
use crate::kernel::sys::signals::{self, HeldSignals};

/// How often the guard looks for processes scope adoption or exit makes no `SIGCHLD`.
const POLL: Duration = Duration::from_millis(20);

/// How many zombies are reaped before the guard looks at the time again. A process that forks and
/// exits without end makes as many as it is given time for.
const BATCH: usize = 256;

/// How long the guard keeps sending `SIGKILL` to its children. One may be in an uninterruptible
/// sleep, for as long as a network file system does not answer.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Which processes the guard signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// As PID 1: all others in the PID namespace. The kernel kills them anyway when PID 1 exits.
    Namespace,
    /// As a child subreaper: the guard's own children, adopted ones included.
    Children,
}

/// The grace period, while it lasts.
pub(super) struct Ending<'a> {
    pub(super) scope: Scope,
    pub(super) held: &'a HeldSignals,
    pub(super) map: &'a SignalMap,
    /// Whether a `SIGTERM` or `SIGINT` has arrived already. The next one ends the grace period.
    pub(super) interrupted: bool,
}

impl Ending<'_> {
    /// Returns when no process remains, or when those that do were killed or cannot be.
    pub(super) fn run(mut self, grace: Duration) {
        let begin = Instant::now();
        let mut asked = HashSet::new();
        if self.scope == Scope::Namespace {
            // One system call, which holds the kernel's list of tasks: a process that forks at this
            // moment gets the signal before its new child exists, or the child gets it too. Stopped
            // processes have to be continued, since they do not handle SIGTERM before.
            let _ = signals::signal_all_others(Signal::TERM.as_raw());
            let _ = signals::signal_all_others(Signal::CONT.as_raw());
        }
        while !self.all_reaped(&mut asked) {
            if self.scope == Scope::Children {
                ask_new_children(&mut asked);
            }
            let time_left = grace.saturating_sub(begin.elapsed());
            if time_left.is_zero() || self.is_interrupted_within(time_left.min(POLL)) {
                if self.scope == Scope::Children {
                    self.kill_children();
                }
                return;
            }
        }
    }

    /// Reaps zombies, and takes their PIDs out of `asked`, since the kernel may use them again.
    /// Whether no process remains.
    fn all_reaped(&self, asked: &mut HashSet<Pid>) -> bool {
        let forget = |pid| {
            asked.remove(&pid);
        };
        match reap_zombies(forget) {
            Ok(_) => false,
            // No children. A process that has entered the namespace from outside (`docker exec`,
            // nsenter(1)) is a child of one out there.
            Err(_) => self.scope == Scope::Children || is_alone_in_namespace(),
        }
    }

    /// Waits for a signal. Whether it is a `SIGTERM` or `SIGINT`, and not the first.
    fn is_interrupted_within(&mut self, time: Duration) -> bool {
        let Some(signal) = self.held.next_within(time).map(|signal| signal.number()) else {
            return false;
        };
        let interrupts = is_interruption(signal) && self.map.get(signal).is_some();
        interrupts && std::mem::replace(&mut self.interrupted, true)
    }

    /// Sends `SIGKILL` to the guard's children, reaps them, and starts again with the children of
    /// these, which it has adopted, until none is left.
    ///
    /// A process that forks and exits without end cannot get away: its newest child is always a
    /// child of the guard or of one, and is met while it still runs after a few rounds.
    fn kill_children(&self) {
        let begin = Instant::now();
        while begin.elapsed() < KILL_LIMIT {
            let (mut any_killed, mut any_refused) = (false, false);
            for pid in own_children() {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) => any_killed = true,
                    Err(_) => any_refused = true,
                }
            }
            match reap_zombies(|_| ()) {
                // What is left runs as other users.
                Ok(0) if any_refused && !any_killed => return,
                // Those that were killed are about to exit, or the list has missed one: the kernel
                // leaves processes out while others exit.
                Ok(0) => drop(self.held.next_within(POLL)),
                // Their children have been adopted.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// Reaps zombies, [`BATCH`] at most, and returns how many. An error if there are no children.
fn reap_zombies(mut reaped: impl FnMut(Pid)) -> Result<usize, Errno> {
    for count in 0..BATCH {
        match wait(WaitOptions::NOHANG)? {
            Some((pid, _)) => reaped(pid),
            None => return Ok(count),
        }
    }
    Ok(BATCH)
}

/// The signals with which users and container runtimes end a program.
pub(super) fn is_interruption(signal: i32) -> bool {
    signal == Signal::TERM.as_raw() || signal == Signal::INT.as_raw()
}

/// Whether PID 1 is the only process in its namespace.
fn is_alone_in_namespace() -> bool {
    // gVisor returns success also for no process, so ask procfs as well.
    signals::signal_all_others(0) == Err(Errno::SRCH)
        || fs::read_dir("/proc").is_ok_and(|entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut pids = names.filter_map(|name| name.parse::<u32>().ok()).peekable();
            pids.peek().is_some() && pids.all(|pid| pid == 1)
        })
}

/// Sends `SIGTERM` and `SIGCONT` to the children that are not in `asked`, and adds them.
fn ask_new_children(asked: &mut HashSet<Pid>) {
    for pid in own_children() {
        if asked.insert(pid) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

/// The children of this process that have not exited.
///
/// procfs may show the PIDs of another namespace, so `waitid` confirms each one: it knows only own
/// children that were not reaped. Only this thread reaps, hence the PID stays with the process
/// until the caller has signalled it.
fn own_children() -> impl Iterator<Item = Pid> {
    const PEEK: WaitIdOptions =
        WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);
    let listed = listed_children().unwrap_or_default();
    listed.into_iter().filter(|pid| matches!(waitid(WaitId::Pid(*pid), PEEK), Ok(None)))
}

/// The children of this thread, which is the only one. Some may be missing while others exit.
fn listed_children() -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string("/proc/thread-self/children")?;
    Ok(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect())
}

/// Whether a child subreaper can list its children here.
pub(super) fn check_listing() -> io::Result<()> {
    let own = fs::read_link("/proc/self")?;
    if own.to_str() != Some(&getpid().to_string()) {
        let message = "/proc shows another PID namespace";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    listed_children().map(drop)
}
