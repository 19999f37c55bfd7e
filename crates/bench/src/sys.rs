//! The few calls that rustix has not, and the only unsafe code but the allocator.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

/// The processor time that the process has used, with all of its threads, also those that are gone,
/// but not its children.
///
/// It is exact when they sleep: what a thread is just using is added when it stops.
pub(crate) fn cpu_of(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: the pointer is valid for the length of the call.
    let errno = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    // SAFETY: a timespec is two integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for the length of the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (seconds, nanos) = (time.tv_sec, time.tv_nsec);
    Ok(Duration::new(seconds.unsigned_abs(), u32::try_from(nanos).unwrap_or(0)))
}

/// How often the threads of this process went to sleep: so often was one woken.
pub(crate) fn sleeps() -> u64 {
    // SAFETY: a rusage is made of integers, for which zero is a value; the pointer is valid.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    usage.ru_nvcsw.unsigned_abs()
}

/// Takes over a descriptor that was handed down by its number.
///
/// The caller vouches that it is open and nobody else's.
pub(crate) fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: the driver has opened it for this process alone, which takes it once, at its start.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Ends this process without any of what the standard library does at the end.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: it is always sound to end here: nothing is left to be written.
    unsafe { libc::_exit(0) }
}

/// Has the child lead a session, as far as the standard library can: by a closure in a forked child.
pub(crate) fn lead_session(command: &mut Command) {
    let lead = || match setsid() {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(lead) };
}

fn setsid() -> libc::pid_t {
    // SAFETY: it has no arguments and no effect on memory.
    unsafe { libc::setsid() }
}

/// Becomes the tracer of the process, which goes on.
pub(crate) fn trace(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let none: *mut libc::c_void = ptr::null_mut();
    // SAFETY: PTRACE_SEIZE reads no memory of this process.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
