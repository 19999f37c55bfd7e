//! Runtimes that end, change, stand still, lack a reactor, or are not there at all.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command as StdCommand;
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on as block_on_nothing, poll_once};
use pidfd_reaper::{OutputLimits, Process, orphans};

use super::Place::WithPidfd;
use super::{Body, bodies};
use crate::children::{Flock, held, reaper, sh, until, until_no_orphans};
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        ended_before_the_drop,
        ended_before_the_wait,
        changed_between_polls,
        standing_still,
        never_there,
        wait_outside_is_an_error.only(WithPidfd).if_it(R::HAS_OWN_REACTOR),
        output_called_outside,
        output_polled_outside.if_it(R::HAS_OWN_REACTOR),
        without_io.only(WithPidfd).if_it(R::without_io().is_some()),
    ]
}

fn ended_before_the_drop<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    let runtime = R::new();
    assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
    drop(runtime);
    drop(reaper);
    assert_eq!(orphans().len(), 1);
    drop(hold);
    until_no_orphans();
    Ok(())
}

/// The child ends while there is no runtime.
fn ended_before_the_wait<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    let runtime = R::new();
    assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
    drop(runtime);
    drop(hold);
    assert_eq!(R::new().block_on(reaper)?.code(), Some(7));
    Ok(())
}

fn changed_between_polls<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    for _ in 0..20 {
        assert!(R::new().block_on(poll_once(&mut reaper)).is_none());
    }
    // It ends while the last of them sleeps for it.
    let release = thread::spawn(move || drop(hold));
    assert_eq!(R::new().block_on(reaper)?.code(), Some(7));
    release.join().expect("a drop does not panic");
    Ok(())
}

/// Polled first in a runtime that is there all the time, but does not run until the end.
fn standing_still<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    R::new().block_on(async {
        assert!(poll_once(&mut reaper).await.is_none());
        let status = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let runtime = R::new();
                assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
                drop(hold);
                runtime.block_on(&mut reaper)
            });
            other.join().expect("the other runtime has waited")
        });
        assert_eq!(status?.code(), Some(7));
        Ok(())
    })
}

fn never_there<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::new("sh");
    command.args(["-c", "read nothing; exit 7"]).stdin(std::process::Stdio::piped());
    let mut child = command.spawn()?;
    assert_eq!(child.try_wait()?, None);
    drop(child.stdin.take());
    until(|| "it has not ended".into(), || child.try_wait().expect("it is our child").is_some());
    assert_eq!(child.try_wait()?.and_then(|status| status.code()), Some(7));
    assert_eq!(child.id(), None);

    let mut child = command.spawn()?;
    let hold = child.stdin.take();
    drop(child);
    assert_eq!(orphans().len(), 1);
    drop(hold);
    until_no_orphans();
    Ok(())
}

/// An error about the runtime, not about the child.
fn is_about_the_runtime(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("block_on") && text.contains("here") && error.raw_os_error().is_none()
}

fn wait_outside_is_an_error<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut child = ChildOn::<R>::from_std(child)?;
    for _ in 0..2 {
        let error = block_on_nothing(child.wait()).expect_err("there is no runtime");
        assert!(is_about_the_runtime(&error), "{error}");
    }
    let runtime = R::new();
    assert!(runtime.block_on(poll_once(child.wait())).is_none());
    drop(hold);
    assert_eq!(runtime.block_on(child.wait())?.code(), Some(7));
    // What is known needs no runtime.
    assert_eq!(block_on_nothing(child.wait())?.code(), Some(7));
    Ok(())
}

/// The runtime is needed where it is polled, not where it is called.
fn output_called_outside<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("echo out; exit 3"));
    let output = command.output();
    let output = R::new().block_on(output)?;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"out\n"[..]));
    let limits = OutputLimits::new().time(Duration::from_secs(600)).grace(Duration::ZERO);
    let output = command.output_with(limits);
    assert_eq!(R::new().block_on(output)?.stdout, b"out\n");
    Ok(())
}

/// It is an error, and the child is managed.
fn output_polled_outside<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = CommandOn::<R>::from(flock.command()?);
    let error = block_on_nothing(command.output()).expect_err("there is no runtime");
    assert!(is_about_the_runtime(&error), "{error}");
    assert_eq!(orphans().len(), 1);
    // With a limit that cannot be kept, the child is killed.
    let limits = OutputLimits::new().time(Duration::from_secs(600));
    let error = block_on_nothing(command.output_with(limits)).expect_err("there is no runtime");
    assert!(is_about_the_runtime(&error.error), "{error}");
    until(|| "it runs on".into(), || orphans().len() == 1);
    drop((command, flock));
    until_no_orphans();
    Ok(())
}

/// Tokio panics when it registers; the child is none the worse for it.
fn without_io<R: Runtime>() -> io::Result<()> {
    let runtime = R::without_io().expect("there is such a runtime");
    let (child, hold) = held(7)?;
    let mut wait = reaper::<R, Process>(child);
    for _ in 0..2 {
        let polled = catch_unwind(AssertUnwindSafe(|| runtime.block_on(poll_once(&mut wait))));
        assert!(polled.is_err(), "the runtime has to say that it has no reactor");
    }
    assert!(R::new().block_on(poll_once(&mut wait)).is_none());
    drop(hold);
    assert_eq!(R::new().block_on(wait)?.code(), Some(7));

    let (child, hold) = held(7)?;
    let wait = catch_unwind(AssertUnwindSafe(|| runtime.block_on(reaper::<R, Process>(child))));
    assert!(wait.is_err());
    assert_eq!(orphans().len(), 1);
    drop(hold);
    until_no_orphans();
    // A child that has ended needs no registration.
    let mut dead = StdCommand::new("true").spawn()?;
    dead.wait()?;
    assert!(runtime.block_on(reaper::<R, Process>(dead))?.success());
    Ok(())
}
