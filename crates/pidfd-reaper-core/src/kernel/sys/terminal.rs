//! The process groups of a terminal, as integers: rustix's `Pid` cannot be 0, which the kernel
//! returns for a group that is not in this PID namespace.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::last_errno;

/// The group of this process.
pub(crate) fn own_group() -> c_int {
    // SAFETY: it takes nothing, and cannot fail.
    unsafe { libc::getpgrp() }
}

/// The group in the foreground of the terminal; an error if that is not the controlling one.
pub(crate) fn foreground(terminal: BorrowedFd<'_>) -> Result<c_int, Errno> {
    // SAFETY: it takes an integer.
    let group = unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) };
    if group < 0 { Err(last_errno()) } else { Ok(group) }
}

/// Puts a group of this session into the foreground. In the background it stops the caller unless
/// `SIGTTOU` is blocked.
pub(crate) fn set_foreground(terminal: BorrowedFd<'_>, group: c_int) -> Result<(), Errno> {
    // SAFETY: it takes integers only.
    let answer = unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), group) };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}
