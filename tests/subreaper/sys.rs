//! The few unsafe calls that the cases need, and nothing else.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, WaitOptions, getppid, getrlimit, setrlimit, waitpid};

/// What there is to know of a signal that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// By the kernel, as those of a terminal are.
    pub(crate) by_kernel: bool,
    /// What was queued with it.
    pub(crate) value: Option<usize>,
}

/// The number of the first real-time signal that the C library leaves to programs.
pub(crate) fn first_real_time() -> i32 {
    libc::SIGRTMIN()
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset fills the set before it is read.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// Blocks the signals in this thread, and in those that it starts.
pub(crate) fn block(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: the pointer is valid; only this thread's mask changes.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
}

/// All that this thread blocks.
pub(crate) fn blocked() -> Vec<i32> {
    // SAFETY: nothing is set; the old mask is written to a place that lives through the call.
    unsafe {
        let mut set = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut set);
        (1..=64).filter(|signal| libc::sigismember(&raw const set, *signal) == 1).collect()
    }
}

/// Waits for a signal that is blocked; panics after half a minute.
pub(crate) fn wait_for(signal: i32) -> Arrived {
    let set = set_of(&[signal]);
    let limit = libc::timespec { tv_sec: 30, tv_nsec: 0 };
    loop {
        // SAFETY: the pointers are valid through the call, which writes a siginfo_t; a value is
        // read only if one was queued.
        unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            if libc::sigtimedwait(&raw const set, &raw mut info, &raw const limit) == signal {
                let queued = info.si_code == libc::SI_QUEUE;
                let value = queued.then(|| info.si_value().sival_ptr.expose_provenance());
                return Arrived { by_kernel: info.si_code == libc::SI_KERNEL, value };
            }
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "signal {signal} did not come");
    }
}

/// Whether a signal that is blocked has come.
pub(crate) fn is_pending(signal: i32) -> bool {
    // SAFETY: sigpending fills the set before it is read.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigpending(&raw mut set);
        libc::sigismember(&raw const set, signal) == 1
    }
}

/// Sends a signal to the init.
pub(crate) fn signal_init(signal: i32) {
    self::signal(getppid().expect("the init is in this namespace").as_raw_nonzero().get(), signal);
}

/// Queues a signal to the init, with a value.
pub(crate) fn queue_to_init(signal: i32, value: usize) {
    let init = getppid().expect("the init is in this namespace").as_raw_nonzero().get();
    let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(value) };
    // SAFETY: it takes integers; the value is not used as a pointer.
    assert_eq!(unsafe { libc::sigqueue(init, signal, value) }, 0, "{}", io::Error::last_os_error());
}

/// Sends a signal to this process.
pub(crate) fn raise(signal: i32) {
    // SAFETY: it takes an integer.
    unsafe { libc::raise(signal) };
}

/// Undoes what the starter of the harness may have done: a script's background ignores `SIGINT`,
/// nohup(1) `SIGHUP`.
pub(crate) fn ignore_none() {
    use libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1};
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1] {
        // SAFETY: a default runs no code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ignores `SIGCHLD`, as whatever starts a program may leave it.
pub(crate) fn ignore_sigchld() {
    ignore(libc::SIGCHLD);
}

pub(crate) fn ignores_sigchld() -> bool {
    // SAFETY: nothing is set; the old one is written to a place that lives through the call.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut action), 0);
        action.sa_sigaction == libc::SIG_IGN
    }
}

/// Has the kernel kill this process after so many seconds, whatever it does.
pub(crate) fn die_after(seconds: u32) {
    // SAFETY: it takes an integer.
    unsafe { libc::alarm(seconds) };
}

/// Leaves orphans behind: processes whose parent, a child of this one, has ended. They end at
/// once, or when there is nothing more to read from the leash, of which they close the other end.
pub(crate) fn leave_orphans(
    count: usize,
    leash: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
) -> Vec<Pid> {
    let leash = leash.map(|(held, end)| (held.as_raw_fd(), end.as_raw_fd()));
    let (numbers, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
    // SAFETY: the new process only makes system calls until it exits, so does each of its own.
    let parent = unsafe { libc::fork() };
    assert!(parent >= 0, "{}", io::Error::last_os_error());
    if parent == 0 {
        for _ in 0..count {
            // SAFETY: see above. The pointers are valid through the calls.
            unsafe {
                let orphan = libc::fork();
                if orphan == 0 {
                    if let Some((held, end)) = leash {
                        libc::close(end);
                        let mut byte = 0_u8;
                        while libc::read(held, (&raw mut byte).cast(), 1) > 0 {}
                    }
                    libc::_exit(3);
                }
                libc::write(writer.as_raw_fd(), (&raw const orphan).cast(), size_of::<i32>());
            }
        }
        // SAFETY: it may be called at any time.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut bytes = vec![0; count * size_of::<i32>()];
    File::from(numbers).read_exact(&mut bytes).expect("their parent writes all");
    // Someone else may be first, where there is a thief.
    let _ = waitpid(Pid::from_raw(parent), WaitOptions::empty());
    let numbers = bytes.chunks_exact(4).map(|bytes| i32::from_ne_bytes(bytes.try_into().unwrap()));
    numbers.map(|number| Pid::from_raw(number).expect("it was forked")).collect()
}

/// Makes `terminal` the standard input, for good.
pub(crate) fn set_stdin(terminal: OwnedFd) {
    // SAFETY: descriptor 0 is never owned by anything: the standard library only borrows it.
    assert_eq!(unsafe { libc::dup2(terminal.into_raw_fd(), 0) }, 0);
}

/// The group of this process, and the one in the foreground of its standard input.
pub(crate) fn groups() -> (i32, i32) {
    // SAFETY: they take integers.
    unsafe { (libc::getpgrp(), libc::tcgetpgrp(0)) }
}

/// Puts a group into the foreground of the standard input; `SIGTTOU` has to be blocked.
pub(crate) fn set_foreground(group: u32) {
    let group = i32::try_from(group).expect("a group's number");
    // SAFETY: it takes integers.
    assert_eq!(unsafe { libc::tcsetpgrp(0, group) }, 0, "{}", io::Error::last_os_error());
}

/// Has the command's process, which leads a group, put that into the foreground itself.
pub(crate) fn put_into_foreground(command: &mut Command) {
    before_exec(command, || {
        block(&[libc::SIGTTOU]);
        set_foreground(std::process::id());
    });
}

/// Does something in the command's process.
pub(crate) fn before_exec(command: &mut Command, act: fn()) {
    let act = move || {
        act();
        Ok(())
    };
    // SAFETY: what is done is system calls only, if they do not fail.
    unsafe { command.pre_exec(act) };
}

/// Forks, and goes on in the new process; the old one ends as that does.
pub(crate) fn go_on_in_a_child() {
    // SAFETY: there are no other threads, and the old process does nothing but wait.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child > 0 {
        let ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
        let code = ended.ok().flatten().and_then(|(_, status)| status.exit_status());
        // SAFETY: it may be called at any time.
        unsafe { libc::_exit(code.unwrap_or(100)) }
    }
}

/// Forks, leads a new session and exits in the old process, again and again, for so long.
pub(crate) fn run_away(time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        // SAFETY: there are no other threads; both processes only make system calls from here on.
        unsafe {
            match libc::fork() {
                0 => drop(libc::setsid()),
                _ => libc::_exit(0),
            }
        }
    }
}

/// Sets the soft limit of the size of a core dump to the hard one, or to 0.
pub(crate) fn limit_core(to_zero: bool) {
    let mut limit = getrlimit(Resource::Core);
    limit.current = if to_zero { Some(0) } else { limit.maximum };
    setrlimit(Resource::Core, limit).expect("it is not raised above the hard one");
}

/// Sends a signal to any process.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: it takes integers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "{}", io::Error::last_os_error());
}

/// Ignores a signal, which exec keeps.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: ignoring runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
