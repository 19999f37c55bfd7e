//! Signals to a child or to the group that it leads, which never hit an unrelated process.
//!
//! They go through the pidfd. Where there is none, or the kernel's pidfds do not do what is asked, or
//! a filter refuses that call, they go by PID while the child is unreaped: its zombie reserves the
//! PID, and this library reaps only under the lock that is held meanwhile.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdOptions, getpgid, kill_process, kill_process_group};

use super::process::{Access, Group, Process, State};
use super::scope::KillScope;
use super::wait::Kill;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::support::Support;
use crate::kernel::{is_refusal, procfs, retry, sys};

impl Process {
    /// Sends `signal` to the child.
    ///
    /// A child that has exited and was not reaped takes it without an effect.
    ///
    /// Without a pidfd, what remains is the instant between the look whether the child is unreaped
    /// and the signal, in which something else would have to reap the child and its PID be reused.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the child was reaped, by anyone.
    /// - `EPERM` if it runs as another user.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process: the child is its parent's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let state = self.lock()?;
        let sent = match &*state {
            State::Running(running) => running.access.signal(self.pid(), signal),
            State::Exited(_) | State::Lost(_) => Err(Errno::SRCH),
        };
        sent.map_err(|errno| self.signal_error(errno))
    }

    /// Sends `signal` to every process of the group that the child leads, also when the child
    /// itself has exited but was not reaped.
    ///
    /// A child that was started with [`KillScope::Group`] keeps its group in reach: this works also
    /// after its status was collected.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the group is empty or out of reach: the
    ///   child was reaped, or leads no group (it has to be started with `process_group(0)`, or to
    ///   have called `setpgid` or `setsid`).
    /// - `EPERM` if all of the group runs as other users.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        let state = self.lock()?;
        let sent = match &*state {
            State::Running(running) => running.access.signal_group(self.pid(), signal),
            _ => state.signal_rest_of_group(self.pid(), signal),
        };
        sent.map_err(|errno| self.signal_error(errno))
    }

    /// Sends `signal` to what is left of the child's scope.
    ///
    /// A child may have left the group that it led, or never have led one. So it is signalled itself
    /// unless the signal to the group has reached it. `SIGKILL` goes to it in any case: that twice
    /// does no harm, and shows if the child may not be signalled (`EPERM`).
    pub(crate) fn signal_scope(&self, signal: Signal) -> io::Result<()> {
        if self.scope() != KillScope::Group {
            return self.signal(signal);
        }
        let state = self.lock()?;
        let sent = match &*state {
            State::Running(running) => {
                let group = running.access.signal_group(self.pid(), signal);
                if group.is_ok() && signal != Signal::KILL && self.is_in_own_group() {
                    Ok(())
                } else {
                    match running.access.signal(self.pid(), signal) {
                        Err(Errno::SRCH) => group,
                        sent => sent,
                    }
                }
            }
            _ => state.signal_rest_of_group(self.pid(), signal),
        };
        sent.map_err(|errno| self.signal_error(errno))
    }

    /// [`signal_scope`](Self::signal_scope), for which a scope that is empty is no error.
    pub(crate) fn signal_what_is_left(&self, signal: Signal) -> io::Result<()> {
        match self.signal_scope(signal) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            sent => sent,
        }
    }

    /// Asks all of the scope to exit: `SIGTERM`, and `SIGCONT` after it so that a stopped process
    /// can take it.
    pub(crate) fn ask_to_exit(&self) -> io::Result<()> {
        self.signal_what_is_left(Signal::TERM)?;
        self.signal_what_is_left(Signal::CONT)
    }

    /// Whether the unreaped child is in the group that has its PID.
    fn is_in_own_group(&self) -> bool {
        getpgid(Some(self.pid())) == Ok(self.pid())
    }

    fn signal_error(&self, errno: Errno) -> io::Error {
        if errno != Errno::SRCH {
            return errno.into();
        }
        let message =
            format!("child {} was reaped, or leads no group: no signal was sent", self.id());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }
}

impl State {
    /// Of a child whose exit is known.
    fn signal_rest_of_group(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        match self {
            Self::Exited(exited) => match &exited.group {
                Group::Gone => Err(Errno::SRCH),
                Group::Pidfd(pidfd) => signal_group_of(pidfd, Some(signal)),
                Group::Zombie(access) => access.signal_group(pid, signal),
            },
            Self::Lost(lost) => match &lost.group {
                Some(pidfd) => signal_group_of(pidfd, Some(signal)),
                None => Err(Errno::SRCH),
            },
            Self::Running(_) => Err(Errno::SRCH),
        }
    }
}

impl Access {
    fn signal(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        if let Self::Pidfd(pidfd) = self {
            match retry(|| sys::pidfd_send_signal(pidfd.fd(), signal, false)) {
                // A filter refuses the call, or a tracer interrupts it each time. If it is the kernel
                // that does not permit the signal, kill(2) answers the same.
                Err(errno) if is_refusal(errno) || errno == Errno::INTR => {}
                sent => return sent,
            }
        }
        self.while_unreaped(pid, || kill_process(pid, signal))
    }

    fn signal_group(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        if let Self::Pidfd(pidfd) = self {
            if Support::here().signal_group.refused().is_none() {
                match signal_group_of(pidfd, Some(signal)) {
                    // Before Linux 6.9.
                    Err(Errno::INVAL) => Support::here().signal_group.refuse(Errno::INVAL),
                    Err(errno) if is_refusal(errno) => {}
                    sent => return sent,
                }
            }
        }
        self.while_unreaped(pid, || kill_process_group(pid, signal))
    }

    /// Sends a signal by PID, if that is still the child's own.
    fn while_unreaped(
        &self,
        pid: Pid,
        send: impl FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match self.waitid(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => retry(send),
            Err(Errno::CHILD) => Err(Errno::SRCH),
            // A filter refuses to look. A child that has not exited was not reaped.
            Err(errno) if is_refusal(errno) => match self {
                Self::Pidfd(pidfd) if pidfd.has_exited().is_ok_and(|exited| !exited) => retry(send),
                Self::Pidfd(_) => Err(Errno::SRCH),
                // Nor was one that procfs shows with the start time of the child.
                Self::Pid(started) if procfs::is_same(pid, *started) => retry(send),
                Self::Pid(_) => Err(errno),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Its pidfd, if that reaches the group also after the child was reaped (Linux 6.9).
    pub(super) fn pidfd_of_group(&self) -> Option<Arc<Pidfd>> {
        let Self::Pidfd(pidfd) = self else { return None };
        let feature = &Support::here().signal_group;
        if feature.refused().is_none() && !feature.is_known_to_work() {
            match signal_group_of(pidfd, None) {
                Err(errno) if errno == Errno::INVAL || is_refusal(errno) => feature.refuse(errno),
                // `ESRCH`: the child leads no group.
                Ok(()) | Err(_) => feature.works(),
            }
        }
        feature.refused().is_none().then(|| Arc::clone(pidfd))
    }
}

/// Signals the group that the process of `pidfd` leads or has led; no signal only asks whether it
/// could be.
pub(super) fn signal_group_of(pidfd: &Pidfd, signal: Option<Signal>) -> Result<(), Errno> {
    retry(|| sys::pidfd_send_signal(pidfd.fd(), signal, true))
}

impl Kill for Process {
    fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }
}
