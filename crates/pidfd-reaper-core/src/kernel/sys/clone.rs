//! A child that is cloned without a copy of the memory, and has its pidfd from birth.
//!
//! This file is the parent's side: signals, stack, `clone`, the result. [`child`](super::child) is
//! what the child does until it execs.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use super::child::{self, Program, SigSet};
use super::last_errno;
use super::stack::Stack;
use crate::kernel::retry;

/// Whether the layouts that the child's phase passes to the kernel are known for this architecture:
/// that of `rt_sigaction` differs on MIPS and SPARC.
pub(crate) const KNOWN_ARCHITECTURE: bool = cfg!(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "powerpc64",
    target_arch = "s390x",
    target_arch = "loongarch64",
));

/// A child that runs its program.
#[derive(Debug)]
pub(crate) struct Cloned {
    pub(crate) pid: Pid,
    /// Close-on-exec and in blocking mode. `None` if it was not asked for, or if the kernel ignored
    /// the flag (before 5.2).
    pub(crate) pidfd: Option<OwnedFd>,
}

/// Why there is no child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no memory for a stack, a filter refuses to block signals, or `clone` failed.
    Clone(Errno),
    /// The child failed at this one of its steps, exited, and was reaped.
    Step(usize, Errno),
    /// All steps succeeded, and `execve` failed; the child exited and was reaped.
    Exec(Errno),
}

/// What parent and child share: the child runs in the parent's memory.
///
/// `CLONE_VFORK` keeps the calling thread in the kernel until the child has left this memory, by
/// `execve` or by its exit. So the two never access it at the same time: what the child writes is
/// there when `clone` returns, and what it was given by reference lives long enough. All other
/// threads run on, but know none of it.
///
/// The exception is a fatal signal to the parent, which ends the wait in the kernel early. Then no
/// instruction of this process is executed any more; the kernel keeps the memory until the child
/// has left it too.
pub(super) struct Shared<'a> {
    pub(super) program: &'a Program<'a>,
    /// The mask that the calling thread had, which the child gets unless it was given another.
    pub(super) mask: SigSet,
    pub(super) step: Cell<usize>,
    pub(super) errno: Cell<c_int>,
}

/// In [`Shared::step`] when all steps succeeded.
pub(super) const EXEC: usize = usize::MAX;

/// Starts `program` in a child of this process, and returns when it was executed or has failed.
pub(crate) fn spawn(program: &Program<'_>, with_pidfd: bool) -> Result<Cloned, Failure> {
    let stack = Stack::take().map_err(Failure::Clone)?;
    let errno = SavedErrno::save();
    let signals = BlockedSignals::block().map_err(Failure::Clone)?;
    let shared = Shared { program, mask: signals.before, step: Cell::new(0), errno: Cell::new(0) };
    // SAFETY: `child::start` execs or exits, and writes to the cells of `shared` only, which is there
    // until this function returns.
    let cloned =
        unsafe { clone(&stack, child::start, &raw const shared, with_pidfd, libc::SIGCHLD) };
    let result = match cloned {
        Err(errno) => Err(Failure::Clone(errno)),
        Ok(cloned) if shared.errno.get() == 0 => Ok(cloned),
        Ok(cloned) => {
            reap(&cloned);
            let errno = Errno::from_raw_os_error(shared.errno.get());
            Err(match shared.step.get() {
                EXEC => Failure::Exec(errno),
                step => Failure::Step(step, errno),
            })
        }
    };
    // In this order: a handler that runs once signals are unblocked finds the errno of before.
    drop(errno);
    drop(signals);
    result
}

/// Whether such a clone is allowed, and does what it is to do: the child only writes to the shared
/// memory, and exits.
///
/// valgrind and qemu's user mode make a fork of it. Then the child's error would be written to a copy
/// of the memory, and a program that cannot be executed would look like one that has exited.
///
/// Without an exit signal, no handler of `SIGCHLD` runs for the child, and only a wait with `__WALL`
/// sees it.
pub(crate) fn probe(with_pidfd: bool) -> Result<(), Errno> {
    extern "C" fn write(shared: *mut c_void) -> c_int {
        // SAFETY: the parent passes a cell that it keeps until this has exited.
        unsafe { &*shared.cast::<Cell<bool>>() }.set(true);
        child::exit(0)
    }
    let stack = Stack::take()?;
    let errno = SavedErrno::save();
    let signals = BlockedSignals::block()?;
    let was_written = Cell::new(false);
    // SAFETY: this child writes to the cell, and exits.
    let cloned = unsafe { clone(&stack, write, &raw const was_written, with_pidfd, 0) };
    let result = match cloned {
        Ok(cloned) => {
            reap(&cloned);
            if was_written.get() { Ok(()) } else { Err(Errno::OPNOTSUPP) }
        }
        Err(errno) => Err(errno),
    };
    drop(errno);
    drop(signals);
    result
}

/// Clones a child that runs `start` with `shared` on `stack`.
///
/// # Safety
///
/// `start` must not return into code of the program, and must write to no memory but its stack,
/// `shared` and errno; `shared` must be valid until the child has left this memory. All signals must
/// be blocked, and the caller restores errno.
unsafe fn clone<T>(
    stack: &Stack,
    start: extern "C" fn(*mut c_void) -> c_int,
    shared: *const T,
    with_pidfd: bool,
    exit_signal: c_int,
) -> Result<Cloned, Errno> {
    // A kernel before 5.2 does not know CLONE_PIDFD and leaves the slot as it is. Descriptor 0 would
    // be a valid one.
    let mut pidfd: c_int = -1;
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | exit_signal;
    if with_pidfd {
        flags |= libc::CLONE_PIDFD;
    }
    // SAFETY: The child runs `start` on a stack of its own that nothing else uses. It shares the
    // memory and the thread-local storage of this thread, which does not run meanwhile; what it
    // writes to is in the caller's contract. All signals are blocked, so no handler runs on this
    // memory in the child. The kernel writes the pidfd to the slot before the child runs.
    let pid = unsafe {
        libc::clone(
            start,
            stack.top().cast(),
            flags,
            shared.cast_mut().cast::<c_void>(),
            &raw mut pidfd,
        )
    };
    let Some(pid) = Pid::from_raw(pid.max(0)) else { return Err(last_errno()) };
    // SAFETY: the kernel has put a new descriptor there, which nothing else owns.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Cloned { pid, pidfd })
}

/// Reaps a child that has exited, or is about to.
///
/// Something else in the program may reap it first (`waitpid(-1)`, `SIG_IGN`), and then its PID may
/// be that of a newer child: so it is waited for through the pidfd where there is one. Without one
/// (before Linux 5.4) the risk remains, as it does in the standard library.
///
/// A filter may refuse `waitid`, or its target: then it is `wait4`, as for any other child. The
/// child must not stay a zombie, for nothing else knows of it.
fn reap(child: &Cloned) {
    let pid = child.pid.as_raw_nonzero().get();
    let by_pidfd = child.pidfd.as_ref().map(|pidfd| (libc::P_PIDFD, pidfd.as_raw_fd()));
    for (kind, id) in by_pidfd.into_iter().chain([(libc::P_PID, pid)]) {
        let none = ptr::null_mut::<c_void>();
        // SAFETY: both results are left out by null pointers; the rest are integers.
        let waited = retry(|| unsafe {
            let options = libc::WEXITED | libc::__WALL;
            checked(libc::syscall(libc::SYS_waitid, kind, id, none, options, none))
        });
        // ECHILD: something else has reaped it. Linux 5.3 has pidfds, but does not wait for them.
        if matches!(waited, Ok(()) | Err(Errno::CHILD)) {
            return;
        }
    }
    let none = ptr::null_mut::<c_void>();
    // SAFETY: as above.
    let _ =
        retry(|| unsafe { checked(libc::syscall(libc::SYS_wait4, pid, none, libc::__WALL, none)) });
}

/// The error of a system call that answers −1.
fn checked(answer: c_long) -> Result<(), Errno> {
    if answer == -1 { Err(last_errno()) } else { Ok(()) }
}

/// The calling thread's errno, restored by the drop.
struct SavedErrno(c_int);

impl SavedErrno {
    fn save() -> Self {
        // SAFETY: the C library returns a pointer to this thread's errno, always valid.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for SavedErrno {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

/// All signals are blocked in the calling thread until the drop.
///
/// The child begins with the mask of the calling thread. Were a signal not blocked, its handler
/// could run in the child: in the parent's memory, on a stack made for system calls, with the
/// thread-local storage of a thread that waits in `clone`. A handler that wakes a runtime through a
/// pipe would report an event that this process never had; one that takes a lock could wait until
/// the end of time for a thread that waits for it.
///
/// It is done by the bare system call: the C library's wrapper leaves the two signals out that it
/// uses itself, for cancellation and for changing ids. Both are sent to threads of this process
/// only, but they would interrupt the calling thread in the midst of `clone`.
struct BlockedSignals {
    before: SigSet,
}

impl BlockedSignals {
    /// # Errors
    ///
    /// A filter's refusal: then there must be no clone. The kernel itself cannot fail here.
    fn block() -> Result<Self, Errno> {
        let mut before = child::NO_SIGNALS;
        let all = child::ALL_SIGNALS;
        let how = c_long::from(libc::SIG_SETMASK);
        // SAFETY: both pointers are valid for a kernel's signal set of the size given. Only this
        // thread's mask changes.
        retry(|| unsafe {
            checked(libc::syscall(
                libc::SYS_rt_sigprocmask,
                how,
                &raw const all,
                &raw mut before,
                size_of::<SigSet>(),
            ))
        })?;
        Ok(Self { before })
    }
}

impl Drop for BlockedSignals {
    /// Tries again whatever the error: a thread that keeps all signals blocked misses them.
    fn drop(&mut self) {
        let how = c_long::from(libc::SIG_SETMASK);
        let _ = retry(|| {
            // SAFETY: as above.
            let restored = unsafe {
                checked(libc::syscall(
                    libc::SYS_rt_sigprocmask,
                    how,
                    &raw const self.before,
                    ptr::null_mut::<SigSet>(),
                    size_of::<SigSet>(),
                ))
            };
            restored.map_err(|_| Errno::INTR)
        });
    }
}
