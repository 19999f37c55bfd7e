//! The few unsafe calls that the trials need, and nothing else.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::ffi::c_int;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

static THIS_PROCESS: AtomicI32 = AtomicI32::new(0);

pub(crate) fn remember_this_process() {
    THIS_PROCESS.store(pid(), Ordering::SeqCst);
}

/// As the kernel has it: a cloned child shares what the C library would remember.
#[expect(clippy::cast_possible_truncation, reason = "PIDs are ints")]
fn pid() -> c_int {
    // SAFETY: it reads and writes no memory.
    unsafe { libc::syscall(libc::SYS_getpid) as c_int }
}

fn is_other_process() -> bool {
    let this = THIS_PROCESS.load(Ordering::Relaxed);
    this != 0 && pid() != this
}

/// The system's allocator, which can be made to end a child that uses it before its exec.
pub(crate) struct Watched;

static ALLOCATIONS_ARE_WATCHED: AtomicBool = AtomicBool::new(false);

pub(crate) fn watch_allocations() {
    ALLOCATIONS_ARE_WATCHED.store(true, Ordering::SeqCst);
}

fn check() {
    if ALLOCATIONS_ARE_WATCHED.load(Ordering::Relaxed) && is_other_process() {
        // SAFETY: it only ends the child.
        unsafe { libc::syscall(libc::SYS_exit_group, 99) };
    }
}

// SAFETY: all is the system allocator's.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: by the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: by the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

pub(crate) static HANDLED_HERE: AtomicU64 = AtomicU64::new(0);
pub(crate) static HANDLED_IN_A_CHILD: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: c_int) {
    if is_other_process() { &HANDLED_IN_A_CHILD } else { &HANDLED_HERE }
        .fetch_add(1, Ordering::Relaxed);
}

/// Sets a handler that counts where it runs.
pub(crate) fn count_signal(signal: c_int) {
    let handler: extern "C" fn(c_int) = count;
    set_disposition(signal, handler as usize);
}

pub(crate) fn ignore_signal(signal: c_int) {
    set_disposition(signal, libc::SIG_IGN);
}

fn set_disposition(signal: c_int, handler: usize) {
    // SAFETY: all zeros is a sigaction; the handler is a constant, or only counts.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
    }
}

pub(crate) fn block_signals(signals: &[c_int]) {
    // SAFETY: the set is filled before it is read; only this thread's mask changes.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// The mask of the calling thread.
pub(crate) fn blocked_signals() -> Vec<c_int> {
    // SAFETY: nothing is set; the set is written before it is read.
    unsafe {
        let mut set = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut set);
        (1..=64).filter(|signal| libc::sigismember(&raw const set, *signal) == 1).collect()
    }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: it is this thread's own.
    unsafe { *libc::__errno_location() = errno };
}

pub(crate) fn errno() -> c_int {
    // SAFETY: it is this thread's own.
    unsafe { *libc::__errno_location() }
}

/// The descriptor of that number. Its owner is forgotten, not dropped.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the trial, which has one thread, never drops the owner, of which there may be several.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the trial, which has one thread, knows that nothing else uses it.
    unsafe { libc::close(fd) };
}

/// Makes `to` a copy of `from`, open across an exec or not.
pub(crate) fn dup(from: RawFd, to: RawFd, is_inherited: bool) {
    let flags = if is_inherited { 0 } else { libc::O_CLOEXEC };
    // SAFETY: the trial, which has one thread, knows what `to` was.
    assert_eq!(unsafe { libc::dup3(from, to, flags) }, to);
}

/// For a trial in which other threads only read the environment through the standard library.
pub(crate) fn set_var(key: &str, value: &str) {
    // SAFETY: nothing in the trial's process reads it by other ways.
    unsafe { env::set_var(key, value) };
}

pub(crate) fn umask(mask: u32) {
    // SAFETY: it only changes the process's mask.
    unsafe { libc::umask(mask) };
}

/// Sends a signal to this process's own group, and so to children that have not left it.
pub(crate) fn signal_own_group(signal: c_int) {
    // SAFETY: it reads and writes no memory.
    unsafe { libc::kill(0, signal) };
}

/// Has the next child begin a new PID namespace; false where that is forbidden.
pub(crate) fn unshare_pids() -> bool {
    // SAFETY: only children are affected.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 }
}
