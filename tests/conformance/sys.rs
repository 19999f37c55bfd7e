//! The few unsafe calls that the trials need, and nothing else.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// What the program does about `SIGCHLD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    handler: usize,
    flags: i32,
}

impl Disposition {
    pub(crate) const IGNORED: Self = Self { handler: libc::SIG_IGN, flags: 0 };
    pub(crate) const NO_CHILD_WAIT: Self =
        Self { handler: libc::SIG_DFL, flags: libc::SA_NOCLDWAIT };
    pub(crate) const NO_CHILD_STOP: Self =
        Self { handler: libc::SIG_DFL, flags: libc::SA_NOCLDSTOP };

    /// A handler that counts, see [`children_signalled`].
    pub(crate) fn counted() -> Self {
        let handler: extern "C" fn(i32) = count;
        Self { handler: handler as usize, flags: libc::SA_RESTART }
    }

    pub(crate) fn set(self) {
        // SAFETY: all zeros is a sigaction: no mask. The handler is a constant or `count`, which
        // may run at any time. No old one is asked for.
        let answer = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = self.handler;
            action.sa_flags = self.flags;
            libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut())
        };
        assert_eq!(answer, 0, "{}", io::Error::last_os_error());
    }

    pub(crate) fn now() -> Self {
        // SAFETY: nothing is set; the old one is written to a place that lives through the call.
        let action = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            assert_eq!(libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut action), 0);
            action
        };
        Self { handler: action.sa_sigaction, flags: action.sa_flags & !SA_RESTORER }
    }
}

/// The C library's own addition to the flags.
const SA_RESTORER: i32 = 0x0400_0000;

static SIGNALLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: i32) {
    SIGNALLED.fetch_add(1, Ordering::Relaxed);
}

/// How often the counting handler has run.
pub(crate) fn children_signalled() -> usize {
    SIGNALLED.load(Ordering::Relaxed)
}

static WORKER: AtomicI32 = AtomicI32::new(0);
static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_the_thread(_signal: i32) {
    // SAFETY: it takes nothing, and cannot fail.
    let here = unsafe { libc::gettid() };
    if here != WORKER.load(Ordering::Relaxed) {
        ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `body` on a thread that is the only one of this process to handle `SIGUSR1`.
pub(crate) fn only_here_handled<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let handler: extern "C" fn(i32) = note_the_thread;
    // SAFETY: the handler makes one system call and adds to atomics.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    thread::spawn(move || {
        // SAFETY: it takes nothing, and cannot fail.
        WORKER.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        mask_usr1(libc::SIG_UNBLOCK);
        body()
    })
}

/// Blocks `SIGUSR1` in this thread, and in those that it starts.
pub(crate) fn block_usr1() {
    mask_usr1(libc::SIG_BLOCK);
}

fn mask_usr1(how: i32) {
    // SAFETY: `set` is emptied before it is read; only this thread's mask changes.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(how, &raw const set, ptr::null_mut());
    }
}

/// How many handlers have run on other threads.
pub(crate) fn handlers_elsewhere() -> usize {
    ELSEWHERE.load(Ordering::Relaxed)
}

/// Sends this process `SIGUSR1`.
pub(crate) fn signal_myself() {
    let _ = kill_process(getpid(), Signal::USR1);
}

/// Becomes the user `uid` for good, who may still look at this process's own procfs.
pub(crate) fn become_user(uid: u32) {
    // SAFETY: both take integers; the C library changes the user of all threads.
    let answers = unsafe { [libc::setuid(uid), libc::prctl(libc::PR_SET_DUMPABLE, 1)] };
    assert_eq!(answers, [0, 0], "{}", io::Error::last_os_error());
}

/// Blocks `SIGCHLD` in this thread, and in those that it starts.
pub(crate) fn block_sigchld() {
    // SAFETY: `set` is emptied before it is read; only this thread's mask changes.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// Whether this thread blocks `SIGCHLD`.
pub(crate) fn blocks_sigchld() -> bool {
    // SAFETY: nothing is set; the old mask is written to a place that lives through the call.
    unsafe {
        let mut set = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut set);
        libc::sigismember(&raw const set, libc::SIGCHLD) == 1
    }
}

/// Traces `pid` from this thread, without stopping it.
pub(crate) fn seize(pid: u32) -> io::Result<()> {
    // SAFETY: with no options, the request reads no memory.
    let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets go of `pid`, which this thread traces and which is stopped; it goes on.
pub(crate) fn let_go(pid: u32) -> io::Result<()> {
    // SAFETY: the request reads no memory.
    let answer = unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this thread only, also if it is the first one of its process.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: nothing of this thread is used by another: it owns nothing, and is not joined.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended");
}

/// Ends the process at once, with all its threads and without any clean-up.
pub(crate) fn exit_process(code: i32) -> ! {
    // SAFETY: it may be called at any time.
    unsafe { libc::_exit(code) }
}

/// A process that is none of our children, and has the number that was asked for.
pub(crate) struct Stranger(Pid);

impl Stranger {
    /// `None` if another process has that number.
    pub(crate) fn with_number(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        // Its parent is gone by the end of this.
        let code = code_of_fork(|| i32::from(start_with_number(pid).is_err()));
        (code == Some(0)).then_some(Self(pid))
    }

    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Whether the kernel lets us choose the number of a new process.
pub(crate) fn can_choose_numbers() -> bool {
    // The first process is always there.
    let first = start_with_number(Pid::INIT);
    first.is_err_and(|error| error.raw_os_error() == Some(libc::EEXIST))
}

/// Starts a process that sleeps until it is killed.
fn start_with_number(pid: Pid) -> io::Result<()> {
    let number = pid.as_raw_nonzero().get();
    // SAFETY: all zeros is a clone_args: it asks for a plain fork.
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.set_tid = (&raw const number).expose_provenance() as u64;
    arguments.set_tid_size = 1;
    // SAFETY: both pointers are valid through the call. The new process has a copy of the memory,
    // and makes only one system call, again and again.
    let answer = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => loop {
            // SAFETY: it reads no memory.
            unsafe { libc::syscall(libc::SYS_ppoll, 0, 0, 0, 0, 0) };
        },
        _ => Ok(()),
    }
}

/// Runs `body` in a fork of this process, without an exec; it fails if that one panics.
pub(crate) fn in_a_fork(body: impl FnOnce()) {
    let body = || i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
    assert_eq!(code_of_fork(body), Some(0), "the forked process has failed");
}

/// The same by a raw clone, of which the C library's handlers do not learn. `body` must not allocate.
pub(crate) fn in_a_raw_clone(body: impl FnOnce()) {
    let body = || i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
    let clone = || {
        // SAFETY: as a fork, but that other threads may hold a lock of the allocator.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        i32::try_from(pid).expect("a PID")
    };
    assert_eq!(code_of(clone, body), Some(0), "the cloned process has failed");
}

/// Has this process sent `SIGALRM`, which ends it, in so many seconds.
pub(crate) fn alarm(seconds: u32) {
    // SAFETY: it takes an integer.
    unsafe { libc::alarm(seconds) };
}

/// Closes a descriptor that is somebody else's, as a daemon does with all of them.
pub(crate) fn close_anothers(fd: i32) {
    // SAFETY: it takes an integer. Its owner is the library, which is to bear that.
    assert_eq!(unsafe { libc::close(fd) }, 0, "{}", io::Error::last_os_error());
}

/// The code with which the fork exits is what `body` returns.
fn code_of_fork(body: impl FnOnce() -> i32) -> Option<i32> {
    // SAFETY: the C library makes its allocator usable in the child. No other thread of a trial
    // holds a lock of ours or of the standard library's at this time: they sleep in the kernel.
    code_of(|| unsafe { libc::fork() }, body)
}

fn code_of(fork: impl FnOnce() -> i32, body: impl FnOnce() -> i32) -> Option<i32> {
    match fork() {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => exit_process(body()),
        pid => {
            let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).ok()??;
            status.exit_status()
        }
    }
}

/// Has the standard library fork, and run a closure in the child, which sets its umask.
pub(crate) fn set_umask(command: &mut Command, mask: u16) {
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(umask(mask)) };
}

/// The same by our own method.
pub(crate) fn set_umask_by_ours<R: pidfd_reaper::Reactor>(
    command: &mut pidfd_reaper::Command<R>,
    mask: u16,
) {
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(umask(mask)) };
}

fn umask(mask: u16) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    move || {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask.into()));
        Ok(())
    }
}

/// What a waker calls. Unlike `Wake`, it sees the clones and drops of the waker as well.
pub(crate) trait Hooks: Send + Sync + 'static {
    fn wake(self: Arc<Self>);
    fn cloned(&self) {}
    fn dropped(&self) {}
}

/// A waker that calls `hooks`, and keeps them. Its clones are equal ([`Waker::will_wake`]).
pub(crate) fn waker<H: Hooks>(hooks: Arc<H>) -> Waker {
    // SAFETY: the functions of the table take the pointer for what it is, an `Arc<H>`, and `H` is
    // `Send` and `Sync`. Each waker owns one count: `wake` and `drop` give it up, `clone` adds one.
    unsafe { Waker::from_raw(raw_waker(hooks)) }
}

/// Not inlined, so that all have the table at one address: `will_wake` compares that.
#[inline(never)]
fn raw_waker<H: Hooks>(hooks: Arc<H>) -> RawWaker {
    RawWaker::new(Arc::into_raw(hooks).cast(), &Table::<H>::OF)
}

struct Table<H>(H);

impl<H: Hooks> Table<H> {
    const OF: RawWakerVTable = RawWakerVTable::new(
        |hooks| {
            // SAFETY: see `waker`. The count stays with the waker that is cloned.
            let hooks = unsafe { mem::ManuallyDrop::new(Arc::from_raw(hooks.cast::<H>())) };
            hooks.cloned();
            raw_waker(Arc::clone(&hooks))
        },
        // SAFETY: see `waker`.
        |hooks| unsafe { Arc::from_raw(hooks.cast::<H>()) }.wake(),
        |hooks| {
            // SAFETY: see `waker`. The count stays with the waker.
            let hooks = unsafe { mem::ManuallyDrop::new(Arc::from_raw(hooks.cast::<H>())) };
            Arc::clone(&hooks).wake();
        },
        // SAFETY: see `waker`.
        |hooks| unsafe { Arc::from_raw(hooks.cast::<H>()) }.dropped(),
    );
}
