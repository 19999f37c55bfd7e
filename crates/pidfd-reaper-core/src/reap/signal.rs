//! Signals to a child or to the group that it leads, which never hit a stranger.
//!
//! They go through the pidfd. Where there is none, or the kernel's pidfds do not do what is asked,
//! they go by number while the child is unreaped: its zombie keeps the number its own, and this
//! library reaps only under the lock that is held meanwhile.

use std::io;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdOptions, kill_process, kill_process_group};

use super::process::{Process, State, Way};
use super::wait::Kill;
use crate::kernel::support::Support;
use crate::kernel::sys::{self, Target};

/// Whom the end of a child concerns: [`Command::kill_scope`](crate::Command::kill_scope).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillScope {
    /// The child alone.
    #[default]
    Child,
    /// The child and the whole process group that it leads.
    Group,
}

/// How often a group is killed in a row. Once is enough for Linux, where a member that forks in
/// that very instant is met with its child; a kernel that is not Linux may need another.
const ROUNDS: usize = 3;

impl Process {
    /// Sends `signal` to the child.
    ///
    /// A child that has ended and was not reaped takes it without an effect.
    ///
    /// Without a pidfd, what remains is the instant between the question whether the child is still
    /// ours and the signal, in which a foreign `waitpid(-1)` would have to reap the child and its
    /// number come round.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the child was reaped, by anyone; `EPERM` if
    /// it runs as another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.while_unreaped(|way| match way {
            Way::Pidfd(pidfd) => match sys::pidfd_send_signal(pidfd.fd(), signal, false) {
                // A filter hides the call: the pidfd still says whether the number is the child's.
                Err(Errno::NOSYS) => self.by_number(way, signal, kill_process),
                sent => sent,
            },
            Way::Number(_) => self.by_number(way, signal, kill_process),
        })
    }

    /// Sends `signal` to every process of the group that the child leads, also when the child
    /// itself has ended but was not reaped.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the child was reaped, or leads no group:
    /// it has to be started with `process_group(0)`, or to have called `setpgid` or `setsid`.
    /// `EPERM` if all of the group runs as other users.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.while_unreaped(|way| self.signal_group_of(way, signal))
    }

    fn signal_group_of(&self, way: &Way, signal: Signal) -> Result<(), Errno> {
        if let Way::Pidfd(pidfd) = way {
            match sys::pidfd_send_signal(pidfd.fd(), signal, true) {
                // Before Linux 6.9, or a filter.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                sent => return sent,
            }
        }
        self.by_number(way, signal, kill_process_group)
    }

    /// Sends `signal` to the child or its group. A child that leads none is its own group.
    pub(crate) fn signal_in(&self, scope: KillScope, signal: Signal) -> io::Result<()> {
        match scope {
            KillScope::Child => self.signal(signal),
            KillScope::Group => {
                // Whoever reaps the leader kills what is left of the group first.
                self.0.sweep.store(true, Ordering::Relaxed);
                self.signal_group(signal).or_else(|_| self.signal(signal))
            }
        }
    }

    /// Kills what is left of the group, if that was asked for, before its leader is reaped; whether
    /// the leader may be reaped now. One that is found running may not: if it ended in the next
    /// instant, its group would be missed.
    pub(crate) fn sweep_before_reaping(&self, way: &Way) -> bool {
        if !self.0.sweep.load(Ordering::Relaxed) {
            return true;
        }
        match self.has_ended(way) {
            Ok(false) => false,
            Ok(true) => {
                for _ in 0..ROUNDS {
                    // An error means that the group is empty, or not ours to kill.
                    let _ = self.signal_group_of(way, Signal::KILL);
                }
                true
            }
            // Something else has reaped it, as the reaping will tell.
            Err(_) => true,
        }
    }

    /// Asks first whether the number is still the child's own: whether it is unreaped.
    fn by_number(
        &self,
        way: &Way,
        signal: Signal,
        send: fn(Pid, Signal) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match self.has_ended(way) {
            Ok(_) => send(self.pid(), signal),
            Err(Errno::CHILD) => Err(Errno::SRCH),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the child has ended, asked without reaping it.
    fn has_ended(&self, way: &Way) -> Result<bool, Errno> {
        const PEEK: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT);
        self.waitid(way, PEEK).map(|end| end.is_some())
    }

    /// What `options` ask for, without blocking, while the child is unreaped.
    pub(super) fn waitid(
        &self,
        way: &Way,
        options: WaitIdOptions,
    ) -> Result<Option<ExitStatus>, Errno> {
        let options = options | WaitIdOptions::NOHANG;
        let answer = match way {
            Way::Pidfd(pidfd) => pidfd.waitid(options, Support::here()),
            Way::Number(_) => sys::waitid(Target::Pid(self.pid()), options),
        };
        Ok(answer?.map(|(status, _)| status))
    }

    fn while_unreaped(&self, send: impl FnOnce(&Way) -> Result<(), Errno>) -> io::Result<()> {
        match &*self.state() {
            State::Running { way, .. } => send(way),
            State::Ended(_) | State::Lost => Err(Errno::SRCH),
        }
        .map_err(|errno| if errno == Errno::SRCH { self.gone() } else { errno.into() })
    }

    fn gone(&self) -> io::Error {
        let message =
            format!("child {} was reaped, or leads no group: no signal was sent", self.id());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }
}

impl Kill for Process {
    fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }
}
