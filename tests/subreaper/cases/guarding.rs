//! What `Subreaper::guard` finds, changes, gives back and refuses.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;

use libc::{SIGTERM, SIGUSR2};
use pidfd_reaper::{Process, Signal, Subreaper, orphans};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, child_subreaper, getpid, getppid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{Case, End, Only};
use crate::processes::{descriptors_of, init, until};
use crate::sys;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_itself("refuses_a_second_thread", || refuses_a_second_thread("2 threads")),
        Case::of_itself("refuses_a_second_thread_without_procfs", || {
            hide_procfs();
            refuses_a_second_thread("other threads");
        })
        .only(Only::Pid1),
        Case::of_itself("works_without_procfs", works_without_procfs)
            .only(Only::Pid1)
            .ends(End::Code(7)),
        Case::of_itself(
            "refuses_if_threads_cannot_be_counted",
            refuses_if_threads_cannot_be_counted,
        )
        .only(Only::Pid1),
        Case::of_itself("a_failed_fork_changes_nothing", a_failed_fork_changes_nothing),
        Case::of_itself("gives_mask_and_disposition_back", gives_mask_and_disposition_back)
            .ends(End::Code(7)),
        Case::of_itself("closes_what_the_program_closes", closes_what_the_program_closes),
        Case::of_itself("closes_one_by_one_where_it_must", || {
            refuse(libc::SYS_close_range, libc::ENOSYS);
            closes_what_the_program_closes();
        }),
        Case::of_itself("leaves_the_working_directory", leaves_the_working_directory),
        Case::of_itself("guards_a_guard", guards_a_guard).ends(End::Code(7)),
        Case::of_itself("is_used_before_and_after", is_used_before_and_after),
        Case::of_itself("dies_with_the_guard", dies_with_the_guard)
            .only(Only::Subreaper)
            .ends(End::GuardKilled)
            .says("it got the signal"),
        Case::of_itself("goes_on_without_the_guard", goes_on_without_the_guard)
            .only(Only::Subreaper)
            .ends(End::GuardKilled)
            .says("it goes on"),
    ]
}

fn guard() {
    Subreaper::new().guard().expect("this thread is the only one");
}

/// What a refused guard must leave as it was.
#[derive(Debug, PartialEq, Eq)]
struct State {
    pid: u32,
    blocked: Vec<i32>,
    ignores_sigchld: bool,
    is_subreaper: bool,
}

impl State {
    fn now() -> Self {
        Self {
            pid: process::id(),
            blocked: sys::blocked(),
            ignores_sigchld: sys::ignores_sigchld(),
            is_subreaper: child_subreaper().expect("the kernel knows it").is_some(),
        }
    }
}

/// Its error, after a look at what it must not have changed.
fn refused() -> io::Error {
    sys::block(&[SIGUSR2]);
    sys::ignore_sigchld();
    let before = State::now();
    let error = Subreaper::new().guard().expect_err("it is to be refused");
    assert_eq!(State::now(), before);
    error
}

fn refuses_a_second_thread(named: &str) {
    thread::spawn(thread::park);
    let error = refused();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    let text = error.to_string();
    assert!(text.contains(named) && text.contains("first in main"), "{text}");
}

/// Mounts something over it, in the mount namespace that came with that of pids.
fn hide_procfs() {
    let status = Command::new("mount").args(["-t", "tmpfs", "none", "/proc"]).status();
    assert!(status.expect("it is installed").success());
    assert!(fs::metadata("/proc/self").is_err());
}

fn works_without_procfs() {
    hide_procfs();
    guard();
    assert_eq!(getppid(), Some(Pid::INIT));
    process::exit(7);
}

fn refuses_if_threads_cannot_be_counted() {
    hide_procfs();
    refuse(libc::SYS_unshare, libc::EPERM);
    let text = refused().to_string();
    assert!(text.contains("mount /proc"), "{text}");
}

fn a_failed_fork_changes_nothing() {
    refuse(libc::SYS_clone, libc::EAGAIN);
    let error = refused();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("RLIMIT_NPROC"), "{error}");
}

/// Makes a system call fail from now on.
fn refuse(call: i64, errno: i32) {
    let filter = SeccompFilter::new(
        [(call, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        env::consts::ARCH.try_into().expect("one that seccompiler knows"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
    seccompiler::apply_filter(&program).expect("nothing forbids a filter");
}

/// With `SIGCHLD` ignored, the kernel would throw the status away.
fn gives_mask_and_disposition_back() {
    sys::block(&[SIGUSR2]);
    sys::ignore_sigchld();
    let before = getpid();
    guard();
    assert_ne!(getpid(), before);
    assert_eq!(sys::blocked(), [SIGUSR2]);
    assert!(sys::ignores_sigchld());
    process::exit(7);
}

/// A reader sees the end of it while the program and its guard run on.
fn closes_what_the_program_closes() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
    guard();
    drop(writer);
    assert_eq!(File::from(reader).read(&mut [0]).expect("it is a pipe"), 0);
    until(|| format!("open: {:?}", descriptors_of(init())), || descriptors_of(init()).is_empty());
}

fn leaves_the_working_directory() {
    env::set_current_dir("/tmp").expect("it is there");
    guard();
    let link = || fs::read_link(format!("/proc/{}/cwd", init())).expect("it is ours");
    until(|| format!("it is in {}", link().display()), || link() == Path::new("/"));
    assert_eq!(env::current_dir().expect("it is there"), Path::new("/tmp"));
}

fn guards_a_guard() {
    guard();
    let first = init();
    guard();
    assert_ne!(init(), first);
    process::exit(7);
}

/// The guard's children are none of the program's, which has its own.
fn is_used_before_and_after() {
    let started = || {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn();
        let mut child = child.expect("it is installed");
        let hold = child.stdin.take();
        (Process::try_from(child).expect("nothing else waits for it"), hold)
    };
    let (ended, hold) = started();
    drop(hold);
    until(|| "it has not ended".into(), || ended.try_exit().expect("it is ours").is_some());
    let (inherited, _hold) = started();
    assert!(inherited.try_exit().expect("it is ours").is_none());
    guard();
    // Both are the guard's now.
    for process in [ended, inherited] {
        let error = process.try_exit().expect_err("it is no child of the program");
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    }
    assert!(orphans().is_empty());
    let (abandoned, hold) = started();
    drop(pidfd_reaper::tokio::Reaper::new(abandoned));
    assert_eq!(orphans().len(), 1);
    drop(hold);
    until(|| "an orphan is left".into(), || orphans().is_empty());
}

fn dies_with_the_guard() {
    let killed = Subreaper::new().die_with_guard(Signal::TERM).guard();
    killed.expect("this thread is the only one");
    sys::block(&[SIGTERM]);
    sys::signal_init(libc::SIGKILL);
    sys::wait_for(SIGTERM);
    println!("it got the signal");
}

fn goes_on_without_the_guard() {
    guard();
    let guard = init();
    sys::signal_init(libc::SIGKILL);
    until(|| "the guard lives".into(), || init() != guard);
    println!("it goes on");
}
