//! Thefts: something else reaps a child, and its status comes back, or a clear error; never a hang.

use std::io;
use std::process::{Child as StdChild, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::{KernelSupport, Process, Reaper, StatusLost, orphans};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{Body, bodies};
use crate::children::{Flock, Kind, held, many, reaper, until_no_orphans};
use crate::runtimes::Runtime;
use crate::sys::Disposition;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        stolen_before_the_first_wait,
        stolen_while_awaited,
        stolen_by_a_loop,
        stolen_from_the_orphan_queue,
        signals_after_a_theft,
        ignored_by_disposition,
        no_zombies_by_disposition,
    ]
}

/// Reaps the child, once it has ended, behind the library's back.
pub(super) fn steal(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let stolen = waitpid(pid, WaitOptions::empty()).expect("it was not reaped yet");
    assert!(stolen.is_some());
}

/// What a wait gives for a stolen child that has exited with `code`.
pub(super) fn check(end: io::Result<ExitStatus>, code: i32) -> io::Result<()> {
    let recovers = KernelSupport::probe().exit_info.is_ok();
    match end {
        Ok(status) if recovers => assert_eq!(status.code(), Some(code)),
        Err(error) if !recovers && StatusLost::is(&error) => {
            let text = error.to_string();
            assert!(text.contains("waitpid") && text.contains("SIG_IGN"), "{text}");
        }
        end => return end.and(Err(io::Error::other("a status that the kernel cannot know"))),
    }
    Ok(())
}

fn stolen_before_the_first_wait<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let pid = child.id();
    let mut reaper = reaper::<R, Process>(child);
    drop(hold);
    steal(pid);
    R::new().block_on(async {
        // The same again and again.
        check((&mut reaper).await, 7)?;
        check((&mut reaper).await, 7)
    })?;
    check(reaper.try_wait().map(|status| status.expect("it has ended")), 7)
}

/// By a thief that was there first: blocked in the kernel before the child ends.
fn stolen_while_awaited<R: Runtime>() -> io::Result<()> {
    for _ in 0..many(20, 5) {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let mut wait = reaper::<R, Process>(child);
        R::new().block_on(async {
            assert!(poll_once(&mut wait).await.is_none());
            let thief = thread::spawn(move || {
                drop(hold);
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                waitpid(pid, WaitOptions::empty())
            });
            let end = (&mut wait).await;
            if thief.join().expect("it does not panic").is_ok() {
                return check(end, 7);
            }
            assert_eq!(end?.code(), Some(7), "it came too late");
            Ok(())
        })?;
    }
    Ok(())
}

/// A part of the program that takes every child there is, for as long as `meanwhile` goes on.
fn with_a_thief<T>(meanwhile: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::SeqCst) {
                if !matches!(waitpid(None, WaitOptions::NOHANG), Ok(Some(_))) {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        let _stop = Stop(&stops);
        meanwhile()
    })
}

fn stolen_by_a_loop<R: Runtime>() -> io::Result<()> {
    let recovers = KernelSupport::probe().exit_info.is_ok();
    with_a_thief(|| {
        R::new().block_on(async {
            for code in 0..many(100, 20) {
                let code = u8::try_from(code % 256).expect("it is a rest");
                let (child, hold) = held(code)?;
                let mut wait = reaper::<R, Process>(child);
                if code % 2 == 0 {
                    assert!(poll_once(&mut wait).await.is_none());
                }
                drop(hold);
                match wait.await {
                    // Either we were first, or the kernel tells it.
                    Ok(status) => assert_eq!(status.code(), Some(code.into())),
                    Err(error) => assert!(!recovers && StatusLost::is(&error), "{error}"),
                }
            }
            Ok(())
        })
    })
}

fn stolen_from_the_orphan_queue<R: Runtime>() -> io::Result<()> {
    fn abandon<R: Runtime, W: Kind>() -> io::Result<()> {
        with_a_thief(|| {
            let flock = Flock::new()?;
            let mut command = flock.command()?;
            for _ in 0..20 {
                drop(reaper::<R, W>(command.spawn()?));
            }
            assert_eq!(orphans().len(), 20);
            drop((command, flock));
            until_no_orphans();
            Ok(())
        })
    }
    abandon::<R, StdChild>()?;
    abandon::<R, Process>()
}

/// The child's number may be another's by now: no signal goes there.
fn signals_after_a_theft<R: Runtime>() -> io::Result<()> {
    use pidfd_reaper::{Kill, Signal};
    let (child, hold) = held(7)?;
    let pid = child.id();
    let process = Process::try_from(child)?;
    let mut wait = Reaper::<R::Reactor, _>::new(process.clone());
    process.signal(Signal::CONT)?;
    drop(hold);
    steal(pid);
    for _ in 0..2 {
        let error = process.signal(Signal::TERM).expect_err("it was reaped");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        let error = wait.kill().expect_err("it was reaped");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        check(R::new().block_on(&mut wait), 7)?;
    }
    Ok(())
}

/// The kernel itself reaps all children then, at once.
fn reaped_by_the_kernel<R: Runtime>(disposition: Disposition) -> io::Result<()> {
    disposition.set();
    let runtime = R::new();
    // While it is awaited.
    let (child, hold) = held(7)?;
    let mut wait = reaper::<R, Process>(child);
    assert!(runtime.block_on(poll_once(&mut wait)).is_none());
    drop(hold);
    check(runtime.block_on(wait), 7)?;
    // Before it is.
    let (child, hold) = held(7)?;
    let pid = child.id();
    let wait = reaper::<R, Process>(child);
    drop(hold);
    crate::children::until_gone(pid);
    check(runtime.block_on(wait), 7)?;
    // When it is abandoned.
    let (child, hold) = held(7)?;
    drop(reaper::<R, Process>(child));
    drop(hold);
    until_no_orphans();
    assert_eq!(Disposition::now(), disposition);
    Ok(())
}

fn ignored_by_disposition<R: Runtime>() -> io::Result<()> {
    reaped_by_the_kernel::<R>(Disposition::IGNORED)
}

fn no_zombies_by_disposition<R: Runtime>() -> io::Result<()> {
    reaped_by_the_kernel::<R>(Disposition::NO_CHILD_WAIT)
}
