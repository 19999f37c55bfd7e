//! `Pidfd`: a descriptor that stays with one process, whatever becomes of its number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions, pidfd_open};

use super::exit::Exit;
use super::support::Support;
use super::sys::{self, Target};
use super::usage::ResourceUsage;

/// A descriptor of one process
/// ([pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)).
///
/// It becomes readable when the process ends (when its last thread ends), and it means that process
/// for ever: after the number went to another, signals through the pidfd fail instead of hitting
/// the stranger. It is opened non-blocking where the kernel can (5.10), and close-on-exec.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use pidfd_reaper_core::{Pidfd, Signal};
///
/// let child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let pidfd = Pidfd::open(child.id())?;
/// pidfd.send_signal(Signal::KILL)?;
/// let status = loop {
///     if let Some(status) = pidfd.try_wait()? {
///         break status;
///     }
///     std::thread::yield_now();
/// };
/// assert!(!status.success());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    /// The number it was opened by; unknown for one that came from elsewhere.
    pid: Option<Pid>,
}

impl Pidfd {
    /// Opens a pidfd of the process `pid`.
    ///
    /// A number is a promise only while its process was not reaped: open it for a child that you
    /// have not waited for, or for a process that you know to live.
    ///
    /// # Errors
    ///
    /// - `ENOSYS`, `EPERM`: the kernel (before 5.3) has no pidfds, or a filter (old Docker,
    ///   systemd) refuses them. This is remembered, and later calls fail without asking the kernel.
    /// - `ESRCH`: there is no such process; `EINVAL` if `pid` is zero or too large for a number of
    ///   a process.
    /// - `EMFILE`, `ENFILE`, `ENOMEM`: out of descriptors or memory.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = super::pid(pid).ok_or(Errno::INVAL)?;
        Ok(Self::open_with(pid, Support::here())?)
    }

    pub(crate) fn open_with(pid: Pid, support: &Support) -> Result<Self, Errno> {
        if let Some(errno) = support.pidfd_open.refused() {
            return Err(errno);
        }
        let opened = if support.nonblock.refused().is_some() {
            pidfd_open(pid, PidfdFlags::empty())
        } else {
            match pidfd_open(pid, PidfdFlags::NONBLOCK) {
                Err(Errno::INVAL) => {
                    let opened = pidfd_open(pid, PidfdFlags::empty());
                    if opened.is_ok() {
                        support.nonblock.refuse(Errno::INVAL);
                    }
                    opened
                }
                opened => opened,
            }
        };
        match opened {
            Ok(fd) => {
                support.pidfd_open.works();
                Ok(Self { fd, pid: Some(pid) })
            }
            Err(errno) => {
                if matches!(errno, Errno::NOSYS | Errno::PERM) {
                    support.pidfd_open.refuse(errno);
                }
                Err(errno)
            }
        }
    }

    /// Takes over the pidfd of the process `pid`.
    pub(crate) fn with_pid(fd: OwnedFd, pid: Pid) -> Self {
        Self { fd, pid: Some(pid) }
    }

    /// Opens one on which a `waitid` without `NOHANG` blocks.
    pub(crate) fn open_blocking(pid: Pid, support: &Support) -> Result<Self, Errno> {
        if let Some(errno) = support.pidfd_open.refused() {
            return Err(errno);
        }
        Ok(Self { fd: pidfd_open(pid, PidfdFlags::empty())?, pid: Some(pid) })
    }

    /// Sends `signal` to the process.
    ///
    /// A process that has ended and was not reaped yet takes the signal without an effect.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped.
    /// - `EPERM`: the caller may not signal it (it runs as another user).
    /// - `ENOSYS`: a filter hides `pidfd_send_signal`.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        Ok(sys::pidfd_send_signal(self.fd(), signal, false)?)
    }

    /// Reaps the process if it has ended and is a child of this one; `None` while it runs.
    ///
    /// After another reaped it, it gives the status again on Linux 6.15 and later. It never blocks.
    ///
    /// # Errors
    ///
    /// [`StatusLost`](crate::StatusLost) if the process is no child of this one, or was reaped and
    /// the kernel does not tell its status any more.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(self.try_exit()?.map(|exit| exit.status))
    }

    /// Another descriptor of the same process.
    ///
    /// # Errors
    ///
    /// `EMFILE`: out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, pid: self.pid })
    }

    /// [`try_wait`](Self::try_wait), with the usage that comes in the same call.
    pub(crate) fn try_exit(&self) -> io::Result<Option<Exit>> {
        match self.waitid(WaitIdOptions::EXITED | WaitIdOptions::NOHANG, Support::here()) {
            Ok(Some((status, usage))) => Ok(Some(Exit { status, usage: Some(usage) })),
            Ok(None) => Ok(None),
            Err(Errno::CHILD) => self.exit_of_stolen(),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn waitid(
        &self,
        options: WaitIdOptions,
        support: &Support,
    ) -> Result<Option<(ExitStatus, ResourceUsage)>, Errno> {
        if support.wait_by_pidfd.refused().is_none() {
            match sys::waitid(Target::Pidfd(self.fd()), options) {
                Err(Errno::INVAL) => support.wait_by_pidfd.refuse(Errno::INVAL),
                answer => return answer,
            }
        }
        // Linux 5.3: by number, which is this process's own only as long as nobody reaped it. Both
        // that it has ended and that it was reaped, the pidfd can tell.
        let end_alone = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if options.contains(end_alone) && self.events()?.is_empty() {
            return Ok(None);
        }
        if sys::pidfd_send_signal(self.fd(), None, false) == Err(Errno::SRCH) {
            return Err(Errno::CHILD);
        }
        sys::waitid(Target::Pid(self.pid()?), options)
    }

    /// The number that it was opened by, which may be another's by now.
    pub(super) fn number(&self) -> Option<u32> {
        self.pid.map(super::number)
    }

    /// `IN` once the process has ended, `HUP` beside it once it was reaped (Linux 6.9); never
    /// blocks.
    pub(super) fn events(&self) -> Result<PollFlags, Errno> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents())
    }

    /// The process's number, from procfs where the pidfd came from elsewhere.
    fn pid(&self) -> Result<Pid, Errno> {
        self.pid
            .or_else(|| {
                let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
                super::pid(super::proc_field(&path, "Pid")?.try_into().ok()?)
            })
            .ok_or(Errno::SRCH)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Takes over a pidfd that came from elsewhere: over a socket, from `clone3`.
impl From<OwnedFd> for Pidfd {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, pid: None }
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::exit::StatusLost;

    #[test]
    fn trouble_of_one_process_is_not_remembered() {
        let support = Support::unknown();
        // Beyond the largest pid_max there is (2^22).
        let nobody = super::super::pid(i32::MAX.unsigned_abs()).unwrap();
        assert_eq!(Pidfd::open_with(nobody, &support).unwrap_err(), Errno::SRCH);
        assert_eq!(support.pidfd_open.refused(), None);
        assert_eq!(support.nonblock.refused(), None);
    }

    #[test]
    fn what_the_kernel_refused_is_not_asked_again() {
        let support = Support::unknown();
        support.pidfd_open.refuse(Errno::PERM);
        let myself = rustix::process::getpid();
        assert_eq!(Pidfd::open_with(myself, &support).unwrap_err(), Errno::PERM);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped through the pidfd")]
    fn without_p_pidfd_it_asks_by_number() {
        let support = Support::unknown();
        support.wait_by_pidfd.refuse(Errno::INVAL);
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = Pidfd::from(OwnedFd::from(Pidfd::open(child.id()).unwrap()));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        assert_eq!(pidfd.waitid(options, &support), Ok(None));
        drop(child.stdin.take());
        rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        let (status, _) = pidfd.waitid(options, &support).unwrap().unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_process_that_is_no_child_is_an_error_and_no_hang() {
        let pidfd = Pidfd::open(std::process::id()).unwrap();
        assert!(StatusLost::is(&pidfd.try_wait().unwrap_err()));
    }
}
