//! The promise: no status of a child that the program waits for is taken.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pidfd_reaper::{Pidfd, Reactor, Subreaper, orphans};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use super::Case;
use crate::held::{hold, one_comes_and_goes};
use crate::processes::{until, until_no_orphans};
use crate::sys;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_itself("statuses_are_the_programs", statuses_are_the_programs),
        Case::of_itself("statuses_are_taken_without_a_guard", statuses_are_taken_without_a_guard),
        Case::of_itself("statuses_are_right_in_a_storm", statuses_are_right_in_a_storm),
        Case::of_itself("handles_and_endings_on_tokio", || {
            guard();
            tokio().block_on(handles_and_endings::<pidfd_reaper::tokio::Tokio>());
            until_no_orphans();
        }),
        Case::of_itself("handles_and_endings_on_smol", || {
            guard();
            smol::block_on(handles_and_endings::<pidfd_reaper::smol::AsyncIo>());
            until_no_orphans();
        }),
    ]
}

fn guard() {
    Subreaper::new().guard().expect("this thread is the only one");
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("nothing is short")
}

fn sh(code: usize) -> [String; 2] {
    ["-c".into(), format!("exit {code}")]
}

/// A child has ended and waits to be reaped, an orphan ends after it and is reaped, and only then
/// the child is waited for: code that reaps all zombies would have its status.
fn ended_before_an_orphan(code: usize) -> io::Result<ExitStatus> {
    let mut child = Command::new("sh").args(sh(code)).spawn()?;
    let pidfd = Pidfd::open(child.id())?;
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
    one_comes_and_goes();
    child.wait()
}

fn statuses_are_the_programs() {
    guard();
    for code in 0..50 {
        assert_eq!(
            ended_before_an_orphan(code).expect("it is ours").code(),
            i32::try_from(code).ok()
        );
    }
}

/// The same with one who reaps in this process: what the guard is for. (A pid namespace's first
/// process, and a subreaper, are the parents of orphans.)
fn statuses_are_taken_without_a_guard() {
    set_child_subreaper(Some(getpid())).expect("anyone may");
    thread::spawn(|| {
        loop {
            // An error: there is no child.
            while wait(WaitOptions::empty()).is_ok() {}
            thread::sleep(Duration::from_millis(1));
        }
    });
    let taken = (0..20).filter(|code| ended_before_an_orphan(*code).is_err()).count();
    assert!(taken > 0, "nothing was taken");
    process::exit(0);
}

/// Children of std, tokio and this library come and go as orphans do.
fn statuses_are_right_in_a_storm() {
    const ROUNDS: usize = 60;
    static OVER: AtomicBool = AtomicBool::new(false);
    static ORPHANS: AtomicUsize = AtomicUsize::new(0);
    guard();
    let storm = thread::spawn(|| {
        while !OVER.load(Ordering::Relaxed) {
            ORPHANS.fetch_add(sys::leave_orphans(10, None).len(), Ordering::Relaxed);
        }
    });
    let is = |status: io::Result<ExitStatus>, code: usize| {
        assert_eq!(
            status.expect("nothing else waits for it").into_raw(),
            i32::try_from(code << 8).unwrap()
        );
    };
    let of_std = thread::spawn(move || {
        for code in 0..ROUNDS {
            is(Command::new("sh").args(sh(code)).status(), code);
        }
    });
    let of_smol = thread::spawn(move || {
        for code in 0..ROUNDS {
            let status = pidfd_reaper::smol::Command::new("sh").args(sh(code)).status();
            is(smol::block_on(status), code);
            // One that is never waited for.
            drop(pidfd_reaper::smol::Command::new("sh").args(sh(code)).spawn().expect("as above"));
        }
    });
    tokio().block_on(async {
        for code in 0..ROUNDS {
            is(tokio::process::Command::new("sh").args(sh(code)).status().await, code);
            is(pidfd_reaper::tokio::Command::new("sh").args(sh(code)).status().await, code);
        }
    });
    of_std.join().expect("its statuses are right");
    of_smol.join().expect("its statuses are right");
    until(|| "there is no storm".into(), || ORPHANS.load(Ordering::Relaxed) > 200);
    OVER.store(true, Ordering::Relaxed);
    storm.join().expect("it only forks");
    until_no_orphans();
    until(|| "orphans are left".into(), || orphans().is_empty());
    assert!(wait(WaitOptions::NOHANG).is_err(), "a child is left");
}

async fn handles_and_endings<R: Reactor>() {
    let held = hold(20);
    let mut child = pidfd_reaper::Command::<R>::new("sleep").arg("100").spawn().expect("a child");
    let handle = child.handle();
    handle.signal(pidfd_reaper::Signal::USR1).expect("it runs");
    drop(held);
    assert_eq!(child.wait().await.expect("it is ours").signal(), Some(libc::SIGUSR1));
    assert_eq!(handle.wait().await.expect("it is ours").signal(), Some(libc::SIGUSR1));
    assert!(handle.signal(pidfd_reaper::Signal::USR1).is_err());

    let mut child = pidfd_reaper::Command::<R>::new("sleep").arg("100").spawn().expect("a child");
    let end = child.terminate(Duration::from_secs(30)).await.expect("it is ours");
    assert_eq!((end.killed, end.status.signal()), (false, Some(libc::SIGTERM)));
}
