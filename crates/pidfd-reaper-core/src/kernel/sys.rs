//! The system calls that rustix has not, and the only unsafe code of this crate.
//!
//! Each function is safe to call and does one call; what its answer means is for its callers.

#![allow(unsafe_code)]

pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod fork;
pub(crate) mod generation;
pub(crate) mod pre_exec;
pub(crate) mod signals;
mod stack;
pub(crate) mod steps;
pub(crate) mod strings;
pub(crate) mod terminal;

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use rustix::io::Errno;
use rustix::ioctl;
use rustix::process::{Pid, Signal, WaitIdOptions};

use super::retry;
use super::usage::ResourceUsage;

/// The process that [`waitid`] asks about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'fd> {
    Pid(Pid),
    Pidfd(BorrowedFd<'fd>),
}

/// `waitid` with its fifth argument, which the C libraries hide: the usage comes with the status.
///
/// `None` means that nothing of what `options` ask for has happened. A signal may interrupt it
/// (`EINTR`). See [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
pub(crate) fn waitid(
    target: Target<'_>,
    options: WaitIdOptions,
) -> Result<Option<(ExitStatus, ResourceUsage)>, Errno> {
    let (kind, id) = match target {
        Target::Pid(pid) => (libc::P_PID, pid.as_raw_nonzero().get()),
        Target::Pidfd(fd) => (libc::P_PIDFD, fd.as_raw_fd()),
    };
    // SAFETY: both are plain data of integers (siginfo_t's pointers are raw), for which zero is a
    // value.
    let (mut info, mut usage): (libc::siginfo_t, RawUsage) = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes a siginfo_t and a struct rusage, to which both pointers are valid
    // for the length of the call; it keeps neither. The other arguments are integers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            kind,
            id,
            &raw mut info,
            c_int::try_from(options.bits()).unwrap_or(c_int::MAX),
            &raw mut usage,
        )
    };
    if answer != 0 {
        return Err(last_errno());
    }
    // SAFETY: waitid succeeded, so `info` is all zeros or was filled for SIGCHLD; both accessors
    // read integers of that variant.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => (value & 0xff) << 8,
        libc::CLD_DUMPED => value | 0x80,
        // The kernel reports the stops of a child that this very process traces without being
        // asked for stops.
        libc::CLD_STOPPED | libc::CLD_TRAPPED if !options.contains(WaitIdOptions::STOPPED) => {
            return Ok(None);
        }
        libc::CLD_STOPPED | libc::CLD_TRAPPED => (value << 8) | 0x7f,
        libc::CLD_CONTINUED => 0xffff,
        _ => value,
    };
    Ok(Some((ExitStatus::from_raw(status), ResourceUsage::from_raw(usage))))
}

/// Reaps the child `pid` if it has exited: `wait4` with `WNOHANG`, for where `waitid` is refused.
///
/// See [wait4(2)](https://man7.org/linux/man-pages/man2/wait4.2.html).
pub(crate) fn wait4(pid: Pid) -> Result<Option<(ExitStatus, ResourceUsage)>, Errno> {
    let (mut status, mut usage): (c_int, RawUsage) = (0, [0; 18]);
    // SAFETY: the kernel writes an int and a struct rusage, to which both pointers are valid for the
    // length of the call. The other arguments are integers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_wait4,
            pid.as_raw_nonzero().get(),
            &raw mut status,
            libc::WNOHANG,
            &raw mut usage,
        )
    };
    match answer {
        -1 => Err(last_errno()),
        0 => Ok(None),
        // Without WUNTRACED it reports stops to a tracer only.
        _ if libc::WIFSTOPPED(status) => Ok(None),
        _ => Ok(Some((ExitStatus::from_raw(status), ResourceUsage::from_raw(usage)))),
    }
}

/// The kernel's `struct rusage`: two times of seconds and microseconds, then fourteen counters.
///
/// Not libc's: on 32-bit machines with 64-bit times that one is not what the system call writes.
pub(crate) type RawUsage = [KernelLong; 18];

/// The kernel's `long` in that structure: x32 has 32-bit pointers, and a 64-bit kernel's layout.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "32"))]
pub(crate) type KernelLong = i64;
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "32")))]
pub(crate) type KernelLong = std::ffi::c_long;

/// The peak of this process's resident set; `None` where a filter refuses to report it.
pub(crate) fn own_max_rss_kib() -> Option<u64> {
    // SAFETY: zero is a value of that plain data, to which the pointer is valid for the call.
    let (answer, usage) = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), usage)
    };
    if answer == 0 { u64::try_from(usage.ru_maxrss).ok() } else { None }
}

/// Sends `signal` to the process, or to the group it leads; no signal only asks whether it could
/// be.
///
/// rustix has it without the flags. The flag for the group is known since Linux 6.9 (`EINVAL`
/// before). See
/// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html).
pub(crate) fn pidfd_send_signal(
    pidfd: BorrowedFd<'_>,
    signal: impl Into<Option<Signal>>,
    group: bool,
) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: c_uint = 1 << 2;
    let flags = if group { PIDFD_SIGNAL_PROCESS_GROUP } else { 0 };
    // SAFETY: a null siginfo_t is allowed, and then the kernel reads no memory of ours.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.into().map_or(0, Signal::as_raw),
            ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `PIDFD_GET_INFO` (since Linux 6.13): what the kernel knows of a process, alive or reaped.
///
/// The answer's mask says which fields it filled. See
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html) and `linux/pidfd.h`.
pub(crate) fn pidfd_info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo { mask, ..PidfdInfo::default() };
    // SAFETY: the opcode encodes the size of PidfdInfo, which is the first published layout of the
    // kernel's structure; the kernel writes no more than that size, and any bytes are a value.
    unsafe { ioctl::ioctl(pidfd, ioctl::Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info)) }?;
    Ok(info)
}

/// In [`PidfdInfo::mask`]: `exit_code` is asked for, or was filled (Linux 6.15, once reaped).
pub(crate) const PIDFD_INFO_EXIT: u64 = 1 << 3;

const PIDFD_GET_INFO: ioctl::Opcode = ioctl::opcode::read_write::<PidfdInfo>(0xff, 11);

/// `struct pidfd_info` in its first published size, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PidfdInfo {
    pub(crate) mask: u64,
    cgroup: u64,
    pub(crate) pid: u32,
    tgid: u32,
    ppid: u32,
    credentials: [u32; 8],
    /// A raw wait status, as `wait(2)` gives it.
    pub(crate) exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// Runs `start` with every signal blocked in the calling thread: a thread that it starts inherits
/// that mask, and has it from its first instruction on.
///
/// So a handler of the program never runs on a thread of this library, and a signal that the program
/// waits for in a thread of its own is never taken from it.
///
/// Where a filter refuses to block them, `start` runs all the same, and the mask stays as it is.
pub(crate) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    /// Restores the mask also if `start` panics.
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        /// Tries again whatever the error: a thread that keeps all signals blocked misses them.
        fn drop(&mut self) {
            let _ = retry(|| {
                // SAFETY: the set was filled by the call that changed the mask; only this thread's
                // mask changes.
                let error = unsafe {
                    libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut())
                };
                if error == 0 { Ok(()) } else { Err(Errno::INTR) }
            });
        }
    }
    // SAFETY: sigset_t is plain data, for which zero is a value. `all` is written by sigfillset
    // before it is read; only this thread's mask changes. `before` is used only if it was written.
    let _restore = unsafe {
        let (mut all, mut before) = mem::zeroed();
        libc::sigfillset(&raw mut all);
        let blocked = retry(|| {
            let how = libc::SIG_SETMASK;
            match libc::pthread_sigmask(how, &raw const all, &raw mut before) {
                0 => Ok(()),
                error => Err(Errno::from_raw_os_error(error)),
            }
        });
        blocked.is_ok().then(|| Restore(before))
    };
    start()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
