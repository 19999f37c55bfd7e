//! The system calls that rustix has not, and the only unsafe code of this crate.
//!
//! Each function is safe to call and does one call; what its answer means is for its callers.

#![allow(unsafe_code)]

pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod fork;
pub(crate) mod pre_exec;
pub(crate) mod signals;
mod stack;
pub(crate) mod steps;
pub(crate) mod strings;
pub(crate) mod terminal;

use std::ffi::{c_int, c_long, c_uint};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::ioctl;
use rustix::process::{Pid, Signal, WaitIdOptions};

use super::usage::ResourceUsage;

/// Whom [`waitid`] asks about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'fd> {
    Pid(Pid),
    Pidfd(BorrowedFd<'fd>),
}

/// `waitid` with its fifth argument, which the C libraries hide: the usage comes with the status.
///
/// `None` means that nothing of what `options` ask for has happened.
/// See [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
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
        // Of a child that this very process traces, stops are told unasked.
        libc::CLD_STOPPED | libc::CLD_TRAPPED if !options.contains(WaitIdOptions::STOPPED) => {
            return Ok(None);
        }
        libc::CLD_STOPPED | libc::CLD_TRAPPED => (value << 8) | 0x7f,
        libc::CLD_CONTINUED => 0xffff,
        _ => value,
    };
    Ok(Some((ExitStatus::from_raw(status), ResourceUsage::from_raw(usage))))
}

/// The kernel's `struct rusage`: two times of seconds and microseconds, then fourteen counters.
///
/// Not libc's: on 32-bit machines with 64-bit times that one is not what the system call writes.
pub(crate) type RawUsage = [c_long; 18];

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

/// Blocks every signal in the calling thread.
///
/// The library's own threads do this first: a handler of the program then never runs on their small
/// stacks, and a signal that the program waits for in a thread of its own is never taken from it.
pub(crate) fn block_signals_in_this_thread() {
    // SAFETY: `set` is written by sigfillset before it is read; only this thread's mask changes.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// How many forks lie between the process in which this library was first used and this one.
///
/// A process that was forked off finds the memory of its parent, but neither its threads nor its
/// children. It is told by a number that a `pthread_atfork` handler counts up in the child: unlike
/// the process's own number it costs no system call, and is never the same in another pid
/// namespace.
pub(crate) fn forks() -> u32 {
    static FORKS: AtomicU32 = AtomicU32::new(0);
    static COUNTED: AtomicBool = AtomicBool::new(false);
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // Not a `Once`: a fork in the midst of one would leave it locked in the child for ever.
    if !COUNTED.load(Ordering::Relaxed) && !COUNTED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler is a function of this program that only adds to an atomic, which is
        // allowed in the child of a fork. If there is no memory for it, forks go uncounted.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    }
    FORKS.load(Ordering::Relaxed)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
