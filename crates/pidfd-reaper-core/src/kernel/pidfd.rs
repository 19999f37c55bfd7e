//! `Pidfd`: a descriptor that refers to one process, also after its PID was reused.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions, pidfd_open};

use super::exit::{Exit, StatusLost};
use super::support::Support;
use super::sys::{self, Target};
use super::usage::ResourceUsage;
use super::{is_refusal, retry};

/// A descriptor of one process
/// ([pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)).
///
/// It becomes readable when the process exits (when its last thread does), and refers to that
/// process only: after its PID was reused, signals through the pidfd fail instead of hitting an
/// unrelated process. It is opened non-blocking where the kernel can (5.10), and close-on-exec.
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
    /// The PID it was opened by; unknown for one that came from elsewhere.
    pid: Option<Pid>,
}

impl Pidfd {
    /// Opens a pidfd of the process `pid`.
    ///
    /// A PID identifies a process only until it is reaped: open it for a child that you have not
    /// waited for, or for a process that you know to run.
    ///
    /// # Errors
    ///
    /// - `ENOSYS`, `EPERM`, `EACCES`: the kernel (before 5.3) has no pidfds, or a filter (old
    ///   Docker, systemd) refuses them. This is remembered, and later calls fail without asking the
    ///   kernel.
    /// - `ESRCH`: there is no such process; `EINVAL` if `pid` is zero or too large for a PID.
    /// - `EMFILE`, `ENFILE`, `ENOMEM`: out of descriptors or memory.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = super::pid(pid).ok_or(Errno::INVAL)?;
        Ok(Self::open_with(pid, Support::here())?)
    }

    pub(crate) fn open_with(pid: Pid, support: &Support) -> Result<Self, Errno> {
        if let Some(errno) = support.pidfd_open.refused() {
            return Err(errno);
        }
        let open = |flags| retry(|| pidfd_open(pid, flags));
        let opened = if support.nonblock.refused().is_some() {
            open(PidfdFlags::empty())
        } else {
            match open(PidfdFlags::NONBLOCK) {
                Err(Errno::INVAL) => {
                    let opened = open(PidfdFlags::empty());
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
                if is_refusal(errno) {
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
        let fd = retry(|| pidfd_open(pid, PidfdFlags::empty()))?;
        Ok(Self { fd, pid: Some(pid) })
    }

    /// Sends `signal` to the process.
    ///
    /// A process that has exited and was not reaped yet takes the signal without an effect.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped.
    /// - `EPERM`: the caller may not signal it (it runs as another user), or a filter refuses
    ///   `pidfd_send_signal`, as `EACCES` and `ENOSYS` say as well.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        Ok(retry(|| sys::pidfd_send_signal(self.fd(), signal, false))?)
    }

    /// Reaps the process if it has exited and is a child of this one; `None` while it runs.
    ///
    /// After another reaped it, it returns the status again on Linux 6.15 and later. It never
    /// blocks.
    ///
    /// # Errors
    ///
    /// - [`StatusLost`] if something else reaped it and the kernel does not keep the status.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if it runs and is no child of this process:
    ///   [`exited`](crate::exited) and [`exit_status`](crate::exit_status) wait for such a process.
    /// - `EINTR` if a signal interrupts the call again and again.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        match self.reap() {
            Ok(exit) => Ok(exit.map(|exit| exit.status)),
            Err(error) => Err(error.of(self.number())),
        }
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
    pub(crate) fn reap(&self) -> Result<Option<Exit>, ReapError> {
        match self.waitid(WaitIdOptions::EXITED | WaitIdOptions::NOHANG, Support::here()) {
            Ok(Some((status, usage))) => Ok(Some(Exit { status, usage: Some(usage) })),
            Ok(None) => Ok(None),
            Err(Errno::CHILD) => self.exit_of_stolen(),
            Err(errno) => Err(ReapError::Call(errno)),
        }
    }

    /// Whether it is the pidfd of a child of this process that was not reaped yet.
    ///
    /// A PID that was reused before the pidfd was opened makes it one of an unrelated process.
    pub(crate) fn is_unreaped_child(&self, support: &Support) -> Result<bool, Errno> {
        const PEEK: WaitIdOptions =
            WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT).union(WaitIdOptions::NOHANG);
        match self.waitid(PEEK, support) {
            Ok(_) => Ok(true),
            Err(Errno::CHILD) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn waitid(
        &self,
        options: WaitIdOptions,
        support: &Support,
    ) -> Result<Option<(ExitStatus, ResourceUsage)>, Errno> {
        if support.wait_by_pidfd.refused().is_none() {
            match retry(|| sys::waitid(Target::Pidfd(self.fd()), options)) {
                Err(errno) if errno == Errno::INVAL || is_refusal(errno) => {
                    support.wait_by_pidfd.refuse(errno);
                }
                answer => return answer,
            }
        }
        // Linux 5.3: by PID, which is this process's own only until it is reaped. The pidfd shows
        // both, that it has exited and that it was reaped.
        let exit_alone = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if options.contains(exit_alone) && self.events()?.is_empty() {
            // It runs, so the PID is its own. It may be no child.
            return match wait_by_pid(self.pid()?, options | WaitIdOptions::NOWAIT, support) {
                Err(errno) if is_refusal(errno) => Ok(None),
                answer => answer.map(|_| None),
            };
        }
        let asked = retry(|| sys::pidfd_send_signal(self.fd(), None, false));
        if asked == Err(Errno::SRCH) {
            return Err(Errno::CHILD);
        }
        wait_by_pid(self.pid()?, options, support)
    }

    /// The PID that it was opened by, which may have been reused.
    pub(super) fn number(&self) -> Option<u32> {
        self.pid.map(super::number)
    }

    /// `IN` once the process has exited, `HUP` beside it once it was reaped (Linux 6.9); never
    /// blocks.
    pub(super) fn events(&self) -> Result<PollFlags, Errno> {
        retry(|| {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            Ok(fds[0].revents())
        })
    }

    /// The process's PID, from procfs where the pidfd came from elsewhere.
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

/// What a reactor runs on a pidfd of a process that is no child: `WouldBlock` until it has exited.
pub(crate) fn exited_or_wait(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let events = retry(|| {
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents())
    })?;
    if events.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// `waitid` by PID, or `wait4` where a filter refuses that: it cannot look without reaping.
pub(crate) fn wait_by_pid(
    pid: Pid,
    options: WaitIdOptions,
    support: &Support,
) -> Result<Option<(ExitStatus, ResourceUsage)>, Errno> {
    if support.waitid.refused().is_none() {
        match retry(|| sys::waitid(Target::Pid(pid), options)) {
            Err(errno) if is_refusal(errno) => support.waitid.refuse(errno),
            answer => return answer,
        }
    }
    match support.waitid.refused() {
        Some(errno) if options != WaitIdOptions::EXITED | WaitIdOptions::NOHANG => Err(errno),
        _ => retry(|| sys::wait4(pid)),
    }
}

/// Why a process could not be reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReapError {
    /// Something else reaped it, and the kernel does not keep its status.
    StatusLost,
    /// It runs, and is no child of this process.
    NotChild,
    /// The system call failed; it may succeed later.
    Call(Errno),
}

impl ReapError {
    pub(crate) fn of(self, pid: Option<u32>) -> io::Error {
        match self {
            Self::StatusLost => StatusLost::new(pid).into(),
            Self::Call(errno) => errno.into(),
            Self::NotChild => {
                let process = pid.map_or("the process".into(), |pid| format!("process {pid}"));
                let message = format!(
                    "{process} is no child of this process and runs: wait for it with `exited` or \
                     `exit_status`"
                );
                io::Error::new(io::ErrorKind::InvalidInput, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_running_process_that_is_no_child_is_an_error_which_says_so() {
        let pidfd = Pidfd::open(std::process::id()).unwrap();
        let error = pidfd.try_wait().unwrap_err();
        assert!(!StatusLost::is(&error));
        assert!(error.to_string().contains("no child"), "{error}");
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped through the pidfd")]
    fn without_waitid_it_reaps_by_wait4() {
        let support = Support::unknown();
        support.wait_by_pidfd.refuse(Errno::NOSYS);
        support.waitid.refuse(Errno::NOSYS);
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = Pidfd::open(child.id()).unwrap();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        assert_eq!(pidfd.waitid(options, &support), Ok(None));
        drop(child.stdin.take());
        rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        let look = pidfd.waitid(options | WaitIdOptions::NOWAIT, &support);
        assert_eq!(look, Err(Errno::NOSYS));
        let (status, _) = pidfd.waitid(options, &support).unwrap().unwrap();
        assert!(status.success());
        assert_eq!(pidfd.waitid(options, &support), Err(Errno::CHILD));
    }
}
