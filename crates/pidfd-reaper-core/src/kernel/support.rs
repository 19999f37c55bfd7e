//! What this kernel can do, asked once.
//!
//! Only what the kernel, or a filter in front of it, says of itself is remembered: that a call or a
//! flag is unknown. A full descriptor table or a missing process is one child's trouble and is not.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitIdOptions, getpid, pidfd_open};
use rustix::thread::gettid;

use super::pidfd::Pidfd;
use super::sys::{self, Target};
use super::{is_refusal, retry};

/// A feature of the kernel that was not asked for yet, works, or was refused.
#[derive(Debug)]
pub(crate) struct Feature(AtomicI32);

impl Feature {
    const UNKNOWN: i32 = 0;
    const WORKS: i32 = -1;

    const fn unknown() -> Self {
        Self(AtomicI32::new(Self::UNKNOWN))
    }

    /// The error with which the kernel refused it once and for all.
    pub(crate) fn refused(&self) -> Option<Errno> {
        match self.0.load(Ordering::Relaxed) {
            Self::UNKNOWN | Self::WORKS => None,
            errno => Some(Errno::from_raw_os_error(errno)),
        }
    }

    /// Whether it was seen to work.
    pub(crate) fn is_known_to_work(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::WORKS
    }

    /// Whether it was neither used nor refused yet.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UNKNOWN
    }

    pub(crate) fn works(&self) {
        // A refusal stays: a filter may have been put in front of the kernel meanwhile, never taken
        // away.
        let _ = self.0.compare_exchange(
            Self::UNKNOWN,
            Self::WORKS,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    pub(crate) fn refuse(&self, errno: Errno) {
        self.0.store(errno.raw_os_error(), Ordering::Relaxed);
    }
}

/// The cache: one static in use, and as many as tests like.
#[derive(Debug)]
pub(crate) struct Support {
    pub(crate) pidfd_open: Feature,
    pub(crate) nonblock: Feature,
    pub(crate) wait_by_pidfd: Feature,
    pub(crate) waitid: Feature,
    pub(crate) signal_group: Feature,
    /// A clone that shares the memory until the exec, with `CLONE_PIDFD`.
    pub(crate) clone: Feature,
}

impl Support {
    pub(crate) const fn unknown() -> Self {
        Self {
            pidfd_open: Feature::unknown(),
            nonblock: Feature::unknown(),
            wait_by_pidfd: Feature::unknown(),
            waitid: Feature::unknown(),
            signal_group: Feature::unknown(),
            clone: Feature::unknown(),
        }
    }

    /// Has a process cloned that exits at once, unless such a clone has worked or was refused before.
    fn try_clone(&self) -> Result<(), Errno> {
        if !sys::clone::KNOWN_ARCHITECTURE {
            return Err(Errno::NOSYS);
        }
        if self.clone.is_unknown() {
            let tried = sys::clone::probe(self.has_pidfds());
            if !tried.is_err_and(|errno| self.is_refused(errno)) {
                return tried;
            }
        }
        self.clone.refused().map_or(Ok(()), Err)
    }

    /// Whether the error of a clone means that there is none like it here; this is remembered. Other
    /// errors are of a lack of memory, processes or descriptors.
    pub(crate) fn is_refused(&self, errno: Errno) -> bool {
        let refusals = [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP];
        let is_refused = refusals.contains(&errno);
        if is_refused {
            self.clone.refuse(errno);
        }
        is_refused
    }

    /// Whether the pidfd of a clone is of any use.
    ///
    /// Linux 5.2 makes one that cannot be polled; 5.3, which can, has `pidfd_open` too. So that one
    /// is tried, once in a process.
    pub(crate) fn has_pidfds(&self) -> bool {
        if self.pidfd_open.is_unknown() {
            match pidfd_open(getpid(), PidfdFlags::empty()) {
                Ok(_) => self.pidfd_open.works(),
                Err(errno) if is_refusal(errno) => self.pidfd_open.refuse(errno),
                Err(_) => {}
            }
        }
        self.pidfd_open.refused().is_none()
    }

    /// The cache of the running kernel.
    pub(crate) fn here() -> &'static Self {
        static HERE: Support = Support::unknown();
        &HERE
    }
}

/// What the running kernel, seen through the filters of this process, can do for children.
///
/// Made by [`KernelSupport::probe`]; prints as a line a feature, each with the reason where it is
/// missing.
///
/// ```
/// let support = pidfd_reaper_core::KernelSupport::probe();
/// println!("{support}");
/// if support.pidfd_open.is_err() {
///     println!("each waiting child takes a small thread here");
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct KernelSupport {
    /// `pidfd_open` (Linux 5.3): without it, a small thread stands in for each waiting child.
    pub pidfd_open: io::Result<()>,
    /// `PIDFD_NONBLOCK` (Linux 5.10): without it the same calls work, with a flag less.
    pub nonblock: io::Result<()>,
    /// `waitid(P_PIDFD)` (Linux 5.4): without it, children are reaped by number.
    pub wait_by_pidfd: io::Result<()>,
    /// `pidfd_send_signal` (Linux 5.1): without it, signals go by number after a check that the
    /// child was not reaped.
    pub send_signal: io::Result<()>,
    /// Signals to a whole process group through its leader's pidfd (Linux 6.9).
    pub signal_group: io::Result<()>,
    /// The status of a child that something else reaped (Linux 6.15): without it, such a wait ends
    /// with [`StatusLost`](crate::StatusLost).
    pub exit_info: io::Result<()>,
    /// `clone` with `CLONE_VM`, `CLONE_VFORK` and `CLONE_PIDFD` (Linux 5.2, and before that without
    /// the last): without it, or once a probe has found that it does not share the memory (valgrind,
    /// qemu's user mode), the standard library starts the children ([`Command::spawns_directly`](crate::Command::spawns_directly)).
    pub direct_spawn: io::Result<()>,
}

impl KernelSupport {
    /// Asks the kernel for each feature, on a pidfd of this process, and clones a process that exits at
    /// once and raises no `SIGCHLD`.
    ///
    /// That one is the first of a new PID namespace, if one was unshared and is empty, which ends that.
    ///
    /// It makes about twenty system calls and, from Linux 6.9 on, a thread that ends at once. A
    /// feature that could not be asked for (descriptors or threads exhausted) carries that error.
    #[must_use]
    pub fn probe() -> Self {
        let support = Support::here();
        let pidfd = match Pidfd::open(super::number(getpid())) {
            Ok(pidfd) => pidfd,
            Err(error) => return Self::without_pidfd(&error),
        };
        Self {
            pidfd_open: Ok(()),
            nonblock: support.nonblock.refused().map_or(Ok(()), |errno| Err(errno.into())),
            wait_by_pidfd: match sys::waitid(
                Target::Pidfd(pidfd.fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            ) {
                // We are no child of ourselves: the kernel knew what a pidfd is.
                Ok(_) | Err(Errno::CHILD) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            send_signal: sys::pidfd_send_signal(pidfd.fd(), None, false).map_err(io::Error::from),
            signal_group: match sys::pidfd_send_signal(pidfd.fd(), None, true) {
                // We lead no group, or may not signal all of it: the kernel knew the flag.
                Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            exit_info: probe_exit_info().map_err(io::Error::from),
            direct_spawn: support.try_clone().map_err(io::Error::from),
        }
    }

    fn without_pidfd(error: &io::Error) -> Self {
        let same = || Err(copy(error));
        Self {
            pidfd_open: same(),
            nonblock: same(),
            wait_by_pidfd: same(),
            send_signal: same(),
            signal_group: same(),
            exit_info: same(),
            direct_spawn: Support::here().try_clone().map_err(io::Error::from),
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Asks for the exit information of a thread that has ended: like a process that something reaped.
fn probe_exit_info() -> Result<(), Errno> {
    const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());
    let builder = thread::Builder::new().name("pidfd-probe".into());
    let open = || retry(|| pidfd_open(gettid(), PIDFD_THREAD));
    let thread = sys::with_signals_blocked(|| builder.spawn(open))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    let pidfd = thread.join().unwrap_or(Err(Errno::IO))?;
    // The thread was joined a moment before the kernel has let go of it: wait for the hang-up.
    poll(
        &mut [PollFd::new(&pidfd, PollFlags::empty())],
        Some(&Timespec { tv_sec: 1, tv_nsec: 0 }),
    )?;
    let info = sys::pidfd_info(pidfd.as_fd(), sys::PIDFD_INFO_EXIT)?;
    if info.mask & sys::PIDFD_INFO_EXIT == 0 { Err(Errno::OPNOTSUPP) } else { Ok(()) }
}

impl fmt::Display for KernelSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("pidfd_open", &self.pidfd_open, "5.3"),
            ("PIDFD_NONBLOCK", &self.nonblock, "5.10"),
            ("waitid(P_PIDFD)", &self.wait_by_pidfd, "5.4"),
            ("pidfd_send_signal", &self.send_signal, "5.1"),
            ("signals to a group", &self.signal_group, "6.9"),
            ("status after theft", &self.exit_info, "6.15"),
            ("direct spawn", &self.direct_spawn, "5.2"),
        ];
        for (index, (name, answer, since)) in lines.into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match answer {
                Ok(()) => write!(f, "{name:<20} yes")?,
                Err(error) => write!(f, "{name:<20} no (since Linux {since}): {error}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_and_a_later_success_does_not_hide_it() {
        let support = Support::unknown();
        assert_eq!(support.pidfd_open.refused(), None);
        support.pidfd_open.works();
        assert_eq!(support.pidfd_open.refused(), None);
        support.pidfd_open.refuse(Errno::NOSYS);
        support.pidfd_open.works();
        assert_eq!(support.pidfd_open.refused(), Some(Errno::NOSYS));
    }

    #[test]
    fn the_report_names_every_feature() {
        let text = KernelSupport::probe().to_string();
        assert_eq!(text.lines().count(), 7, "{text}");
    }
}
