//! What happens to the processes that run when the main child exits.

use std::env;
use std::io::{self, Read, stdin};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use libc::SIGTERM;
use pidfd_reaper::Subreaper;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getppid, kill_process, setsid};

use super::{Case, End, Only, is_in_state, start, start_with};
use crate::inits::Init;
use crate::processes::until;
use crate::{INIT, ROLE, sys};

/// Longer than any trial may take: who waits for the end of it fails.
const LONG: &[&str] = &["--grace", "1000"];

pub(super) fn all() -> Vec<Case> {
    let exits_after = |name, body| Case::of_itself(name, body).ends(End::Code(7));
    let by_example = |name, body| exits_after(name, body).by(&[Init::Example]).options(LONG);
    vec![
        // Not dumb-init, which sends SIGTERM and exits.
        exits_after("the_rest_can_save", || exit_after("saves"))
            .by(&[Init::Example])
            .only(Only::Pid1)
            .says("saved"),
        exits_after("the_rest_can_save_by_default", || {
            Subreaper::new().guard().expect("this thread is the only one");
            exit_after("saves");
        })
        .only(Only::Pid1)
        .says("saved"),
        exits_after("the_rest_can_save_in_a_grace_without_limit", || {
            let guarded = Subreaper::new().grace(Duration::MAX).guard();
            guarded.expect("this thread is the only one");
            exit_after("saves");
        })
        .says("saved"),
        by_example("the_rest_is_continued", exit_after_one_that_is_stopped),
        by_example("the_rest_is_asked_level_by_level", || exit_after("level_3")).says("saved"),
        by_example("the_rest_is_asked_when_it_is_adopted", || exit_after("parent_of_a_parent"))
            .only(Only::Subreaper)
            .says("saved"),
        exits_after("no_grace_as_pid_1", || exit_after("says_that_it_was_asked"))
            .by(&[Init::Example])
            .only(Only::Pid1)
            .options(&["--no-grace"])
            .never_says("asked"),
        exits_after("no_grace_for_a_single_child", || exit_after("says_that_it_was_asked"))
            .by(&[Init::Example, Init::Dumb])
            .only(Only::Pid1)
            .options(&["-c"])
            .never_says("asked"),
        exits_after("the_grace_ends", || exit_after("says_that_it_was_asked"))
            .by(&[Init::Example])
            .options(&["--grace", "0.2"])
            .says("asked"),
        by_example("a_second_sigterm_ends_the_grace", || {
            sys::block(&[SIGTERM]);
            drop(start("asks_the_init"));
            sys::signal_init(SIGTERM);
            sys::wait_for(SIGTERM);
            process::exit(7);
        }),
        by_example("a_sigterm_that_killed_the_child_is_the_first", || {
            drop(start("asks_the_init"));
            sys::raise(SIGTERM);
        })
        .ends(End::Signal(SIGTERM)),
        by_example("the_first_sigterm_leaves_the_grace", || exit_after("asks_and_saves"))
            .says("saved"),
        Case::of_itself("what_ignores_sigterm_is_killed", || nothing_outlives("stays"))
            .only(Only::Subreaper),
        Case::of_itself("what_the_killed_leave_is_killed", || nothing_outlives("stays_above"))
            .only(Only::Subreaper),
        Case::of_itself("what_runs_away_is_killed", || nothing_outlives("runs_away"))
            .only(Only::Subreaper),
        Case::of_itself("one_from_outside_can_save", one_from_outside_can_save).only(Only::Pid1),
        Case::of_itself("a_grace_needs_a_listing", a_grace_needs_a_listing).only(Only::Pid1),
    ]
}

pub(super) fn part(role: &str) -> Option<fn()> {
    Some(match role {
        "saves" => saves,
        "stops" => stops,
        "stays" => stays,
        "stays_above" => || {
            drop(start("stays"));
            stays();
        },
        "level_3" => || is_a_level("level_2"),
        "level_2" => || is_a_level("level_1"),
        "level_1" => || is_a_level("saves"),
        "parent_of_a_parent" => parent_of_a_parent,
        "parent" => parent,
        "kills_the_first" => kills_the_first,
        "says_that_it_was_asked" => says_that_it_was_asked,
        "asks_the_init" => asks_the_init,
        "asks_and_saves" => asks_and_saves,
        "runs_away" => runs_away,
        "leaves" => || exit_after(&env::var("LEAVES").expect("it was set")),
        "waits_for_input" => waits_for_input,
        "cannot_list" => cannot_list,
        _ => return None,
    })
}

/// A main child that leaves one process behind.
fn exit_after(role: &str) {
    drop(start(role));
    process::exit(7);
}

fn ready() {
    println!("ready");
}

fn until_asked() {
    sys::block(&[SIGTERM]);
    ready();
    sys::wait_for(SIGTERM);
}

/// It needs time to save. Nothing is waited for here: the time is what is tested.
fn save() {
    thread::sleep(Duration::from_millis(300));
    eprintln!("saved");
}

fn saves() {
    until_asked();
    save();
}

fn until_killed() -> ! {
    loop {
        thread::park();
    }
}

fn stays() {
    sys::block(&[SIGTERM]);
    ready();
    until_killed();
}

fn stops() {
    ready();
    sys::raise(libc::SIGSTOP);
    until_killed();
}

fn exit_after_one_that_is_stopped() {
    let stopped = i32::try_from(start("stops").id()).expect("a PID");
    until(|| "it is not stopped".into(), || is_in_state(stopped, 'T'));
    process::exit(7);
}

/// A process in a session of its own that dies of `SIGTERM`, with one below it.
fn is_a_level(below: &str) {
    setsid().expect("it leads no group");
    drop(start(below));
    ready();
    until_killed();
}

/// It ignores `SIGTERM`, and the process two levels below it is adopted while it runs: the guard
/// gets no `SIGCHLD` for that, since the process in between is not its child.
fn parent_of_a_parent() {
    sys::block(&[SIGTERM]);
    let mut parent = start_with("parent", |command| {
        command.stdin(Stdio::piped()).env("FIRST", process::id().to_string());
    });
    ready();
    sys::wait_for(SIGTERM);
    drop(parent.stdin.take());
    parent.wait().expect("it is ours");
    until_killed();
}

fn parent() {
    drop(start("kills_the_first"));
    waits_for_input();
}

fn waits_for_input() {
    ready();
    let _ = stdin().read(&mut [0]);
}

fn kills_the_first() {
    until_asked();
    let first = env::var("FIRST").ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    kill_process(first.expect("it was set"), Signal::KILL).expect("it runs");
    save();
}

fn says_that_it_was_asked() {
    until_asked();
    eprintln!("asked");
    until_killed();
}

fn asks_the_init() {
    until_asked();
    sys::signal_init(SIGTERM);
    until_killed();
}

fn asks_and_saves() {
    until_asked();
    sys::signal_init(SIGTERM);
    save();
}

/// Each of its processes starts the next one in a new session and exits.
fn runs_away() {
    sys::block(&[SIGTERM]);
    ready();
    sys::run_away(Duration::from_secs(60));
}

/// The init as a child of this process: when it has exited, no process holds its pipe any more.
fn nothing_outlives(role: &str) {
    let mut init = Command::new("/proc/self/exe")
        .args([INIT, "--grace", "0.2", "--", "/proc/self/exe", ROLE, "leaves"])
        .env("LEAVES", role)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is this program");
    assert_eq!(init.wait().expect("it is ours").code(), Some(7));
    let pipe = init.stderr.take().expect("it was piped");
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).expect("it is a pipe");
    assert!(fds[0].revents().contains(PollFlags::HUP), "a process is left");
}

/// A process that has entered the namespace is no child of its PID 1, but gets the same signals.
fn one_from_outside_can_save() {
    // Its own namespace, in which this process is the one outside.
    let mut init = Command::new("unshare");
    init.args(["--pid", "--fork", "--kill-child", &this(), INIT]).args(LONG);
    init.args(["--", "/proc/self/exe", ROLE, "waits_for_input"]);
    let mut init =
        init.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    let mut said = [0; 6];
    init.stdout.as_mut().expect("it was piped").read_exact(&mut said).expect("it says ready");
    let mut inside = Command::new("nsenter");
    let namespace = format!("--pid=/proc/{}/ns/pid_for_children", init.id());
    inside.args([&namespace, &this(), ROLE, "saves"]);
    let mut inside = inside.stdout(Stdio::piped()).spawn().expect("it is installed");
    inside.stdout.as_mut().expect("it was piped").read_exact(&mut said).expect("it says ready");
    // The main child exits.
    drop(init.stdin.take());
    assert_eq!(inside.wait().expect("it is ours").code(), Some(0), "it could not save");
    assert_eq!(init.wait().expect("it is ours").code(), Some(0));
}

/// A child subreaper in a namespace whose procfs is not its own, so that PIDs in there are wrong.
fn a_grace_needs_a_listing() {
    let mut shell = Command::new("unshare");
    shell.args(["--pid", "--fork", "--kill-child", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    let status = shell.args([&this(), ROLE, "cannot_list"]).status();
    assert_eq!(status.expect("it is installed").code(), Some(7));
}

fn cannot_list() {
    let before = getppid();
    let error = Subreaper::new().grace(Duration::ZERO).guard().expect_err("it cannot list");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("thread-self/children"), "{error}");
    assert_eq!(getppid(), before, "it has become a main child");
    Subreaper::new().guard().expect("without a grace it needs no list");
    process::exit(7);
}

/// This program, where `/proc/self/exe` would be another one.
fn this() -> String {
    env::args().next().expect("the harness names it")
}
