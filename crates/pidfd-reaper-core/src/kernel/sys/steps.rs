//! What is set in a child between its start and its exec, by system calls only.
//!
//! It runs in a cloned child, in the parent's memory, under the rules of [`child`](super::child);
//! and in a child that the standard library has forked, where nothing else is allowed either.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_long, c_ulong, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// One thing that the child does before it execs.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Session,
    ProcessGroup(c_int),
    ControllingTerminal(BorrowedFd<'a>),
    Foreground,
    Cgroup(BorrowedFd<'a>),
    OomScoreAdj(&'a str),
    Nice(c_int),
    Descriptors(&'a [Move]),
    /// The resource, and its soft and hard limits.
    Limit(c_int, &'a [u64; 2]),
    Umask(u32),
    ChangeRoot(&'a CStr),
    Groups(&'a [u32]),
    Gid(u32),
    /// Without supplementary groups, as far as the privileges allow.
    DropGroups,
    Uid(u32),
    ChangeDirectory(&'a CStr),
    ParentDeathSignal {
        signal: c_int,
        parent: c_int,
    },
    NoNewPrivs,
    /// Closes all descriptors from 3 on but the targets of these, which are sorted.
    CloseOthers(&'a [Move]),
}

/// A descriptor that the child gets.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) target: c_int,
    pub(crate) source: Source,
}

/// Where it comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A descriptor of the parent. The child writes here where it has moved its copy to.
    Fd(Cell<c_int>),
    /// `/dev/null`, opened by the child: it costs the parent nothing, not even a descriptor.
    Null,
    /// The child's own standard output, whatever that has become; it comes before.
    Stdout,
}

pub(super) type Errno = c_int;

/// A system call. Its arguments are as the kernel wants them: integers, and pointers that are valid
/// for what the call reads and writes.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        // SAFETY: none of these calls affects memory but through the pointers passed, each of which
        // comes from a reference, or from `Lists`, and has the size that the call expects.
        let result: ::std::ffi::c_long = unsafe { libc::syscall($number $(, $argument)*) };
        if result == -1 { Err($crate::kernel::sys::steps::errno()) } else { Ok(result) }
    }};
}
pub(super) use call;

/// The thread-local errno of the parent's calling thread, which restores it.
pub(super) fn errno() -> Errno {
    // SAFETY: the C library returns a valid pointer; the thread that it belongs to waits.
    unsafe { *libc::__errno_location() }
}

cfg_if::cfg_if! {
    if #[cfg(any(target_arch = "x86", target_arch = "arm"))] {
        // The plain ones are from the time of 16-bit ids.
        const SETGROUPS: c_long = libc::SYS_setgroups32;
        const SETGID: c_long = libc::SYS_setgid32;
        const SETUID: c_long = libc::SYS_setuid32;
    } else {
        const SETGROUPS: c_long = libc::SYS_setgroups;
        const SETGID: c_long = libc::SYS_setgid;
        const SETUID: c_long = libc::SYS_setuid;
    }
}

impl Step<'_> {
    /// The attribute that it sets, if it is one of this library's.
    pub(crate) fn attribute(&self) -> Option<&'static str> {
        Some(match self {
            Self::Session => "session",
            Self::ProcessGroup(_) => "process_group",
            Self::ControllingTerminal(_) => "controlling_terminal",
            Self::Foreground => "foreground",
            Self::Cgroup(_) => "cgroup",
            Self::OomScoreAdj(_) => "oom_score_adj",
            Self::Nice(_) => "nice",
            Self::Descriptors(moves) if moves.iter().any(|each| each.target > 2) => "fd",
            Self::Descriptors(_) | Self::ChangeDirectory(_) => return None,
            Self::Limit(..) => "rlimit",
            Self::Umask(_) => "umask",
            Self::ChangeRoot(_) => "chroot",
            Self::Groups(_) => "groups",
            Self::Gid(_) => "gid",
            Self::DropGroups | Self::Uid(_) => "uid",
            Self::ParentDeathSignal { .. } => "parent_death_signal",
            Self::NoNewPrivs => "no_new_privs",
            Self::CloseOthers(_) => "close_other_fds",
        })
    }

    /// Takes it, in the child.
    pub(super) fn take(&self) -> Result<(), Errno> {
        match *self {
            Self::Session => call!(libc::SYS_setsid)?,
            Self::ProcessGroup(group) => call!(libc::SYS_setpgid, 0, group)?,
            Self::ControllingTerminal(fd) => {
                call!(libc::SYS_ioctl, fd.as_raw_fd(), libc::TIOCSCTTY, 0)?
            }
            Self::Foreground => return take_foreground(),
            Self::Cgroup(directory) => {
                return write(directory.as_raw_fd(), c"cgroup.procs", "0");
            }
            Self::OomScoreAdj(score) => {
                return write(libc::AT_FDCWD, c"/proc/self/oom_score_adj", score);
            }
            Self::Nice(nice) => call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice)?,
            Self::Descriptors(moves) => return place(moves),
            Self::Limit(resource, limits) => {
                let none = ptr::null_mut::<c_void>();
                call!(libc::SYS_prlimit64, 0, resource, limits.as_ptr(), none)?
            }
            Self::Umask(mask) => call!(libc::SYS_umask, mask)?,
            Self::ChangeRoot(path) => {
                call!(libc::SYS_chroot, path.as_ptr())?;
                call!(libc::SYS_chdir, c"/".as_ptr())?
            }
            Self::Groups(groups) => call!(SETGROUPS, groups.len(), groups.as_ptr())?,
            Self::Gid(gid) => call!(SETGID, gid)?,
            Self::DropGroups => match call!(SETGROUPS, 0, ptr::null::<u32>()) {
                Err(libc::EPERM) => 0,
                result => result?,
            },
            Self::Uid(uid) => call!(SETUID, uid)?,
            Self::ChangeDirectory(path) => call!(libc::SYS_chdir, path.as_ptr())?,
            Self::ParentDeathSignal { signal, parent } => return die_with(signal, parent),
            Self::NoNewPrivs => {
                let (yes, none): (c_ulong, c_ulong) = (1, 0);
                call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none)?
            }
            Self::CloseOthers(kept) => return close_others(kept),
        };
        Ok(())
    }
}

/// Makes the child's group the foreground group of its terminal.
///
/// A process of another group that does so gets `SIGTTOU`, unless it blocks that, as this one does.
fn take_foreground() -> Result<(), Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let terminal = fd_of(call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/tty".as_ptr(), flags, 0)?);
    let group = fd_of(call!(libc::SYS_getpgid, 0)?);
    call!(libc::SYS_ioctl, terminal, libc::TIOCSPGRP, &raw const group)?;
    call!(libc::SYS_close, terminal)?;
    Ok(())
}

/// Writes to a file of procfs or of a cgroup, which takes the text as a whole.
fn write(directory: c_int, path: &CStr, text: &str) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    let file = fd_of(call!(libc::SYS_openat, directory, path.as_ptr(), flags, 0)?);
    call!(libc::SYS_write, file, text.as_ptr(), text.len())?;
    call!(libc::SYS_close, file)?;
    Ok(())
}

/// Has the kernel send `signal` to the child when the thread ends that has started it.
///
/// That thread waits for the exec, so it cannot end by itself before, but it can be killed with its
/// process. If that was before the `prctl`, the kernel sends nothing: then the child has another
/// parent by now, and sends the signal itself. In a PID namespace whose parent is outside, the PID
/// of the parent is 0 and does not change, which is no sign of its death.
fn die_with(signal: c_int, parent: c_int) -> Result<(), Errno> {
    // The kernel takes an unsigned long, whose upper half a variadic int would leave open.
    #[expect(clippy::cast_sign_loss, reason = "signals are positive; others are refused")]
    let raw = signal as c_ulong;
    call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, raw)?;
    let now = fd_of(call!(libc::SYS_getppid)?);
    if now != parent && now != 0 {
        let own = fd_of(call!(libc::SYS_getpid)?);
        call!(libc::SYS_kill, own, signal)?;
    }
    Ok(())
}

/// Has all descriptors closed that are not kept: at the exec, so that nothing that still runs here
/// loses one (the standard library reports its errors through a pipe).
fn close_others(kept: &[Move]) -> Result<(), Errno> {
    let close = |first: c_int, last: c_int| {
        if first <= last {
            call!(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC)?;
        }
        Ok(())
    };
    let mut first: c_int = 3;
    for Move { target, .. } in kept {
        if *target >= first {
            close(first, target.wrapping_sub(1))?;
            first = target.wrapping_add(1);
        }
    }
    close(first, c_int::MAX)
}

/// Gives the child its descriptors.
///
/// A source may have the number of another's target: `stdout` may be descriptor 2 and `stderr`
/// descriptor 1, or a pipe may have got a number below 3 because that was closed. So the sources
/// that would be overwritten are first moved to numbers that are no target. Then each is copied to
/// its target, which makes a descriptor that stays open across the exec; one that has its number
/// already only loses close-on-exec. All else is close-on-exec, and the kernel closes it.
fn place(moves: &[Move]) -> Result<(), Errno> {
    let is_target = |fd: c_int| moves.iter().any(|other| other.target == fd);
    for Move { target, source } in moves {
        let Source::Fd(fd) = source else { continue };
        if fd.get() == *target || !is_target(fd.get()) {
            continue;
        }
        let mut least: c_int = 3;
        loop {
            let copy = fd_of(call!(libc::SYS_fcntl, fd.get(), libc::F_DUPFD_CLOEXEC, least)?);
            if !is_target(copy) {
                fd.set(copy);
                break;
            }
            // It is overwritten when its turn comes.
            least = copy.wrapping_add(1);
        }
    }
    for Move { target, source } in moves {
        match source {
            Source::Fd(fd) if fd.get() == *target => {
                call!(libc::SYS_fcntl, *target, libc::F_SETFD, 0)?
            }
            Source::Fd(fd) => call!(libc::SYS_dup3, fd.get(), *target, 0)?,
            Source::Null => open_null(*target)?,
            Source::Stdout => call!(libc::SYS_dup3, 1, *target, 0)?,
        };
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel's descriptors are ints")]
fn fd_of(result: c_long) -> c_int {
    result as c_int
}

/// Opens `/dev/null` as `target`: for reading if that is standard input, else for writing.
fn open_null(target: c_int) -> Result<c_long, Errno> {
    let access = if target == 0 { libc::O_RDONLY } else { libc::O_WRONLY };
    // As the C library opens files on 32-bit machines; elsewhere it has no effect.
    let flags = access | libc::O_LARGEFILE;
    let fd = fd_of(call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), flags, 0)?);
    if fd != target {
        call!(libc::SYS_dup3, fd, target, 0)?;
        call!(libc::SYS_close, fd)?;
    }
    Ok(0)
}
