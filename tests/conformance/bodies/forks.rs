//! Forks without an exec: the new process starts afresh, and its parent notices nothing.

use std::io;
use std::process::{Child as StdChild, Stdio};

use futures_lite::future::poll_once;
use pidfd_reaper::{Process, orphans};

use super::{Body, bodies};
use crate::children::{held, reaper, sh, until, until_no_orphans};
use crate::leaks::has_children;
use crate::runtimes::{CommandOn, Runtime};
use crate::sys::in_a_fork;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        forked_without_a_runtime,
        forked_with_a_runtime.if_it(R::HAS_OWN_REACTOR),
        inherited_handles_dropped_in_a_fork,
    ]
}

/// What needs no runtime: children asked, and abandoned.
fn use_without_a_runtime<R: Runtime>() -> io::Result<()> {
    assert!(orphans().is_empty());
    assert!(!has_children());
    let (child, hold) = held(7)?;
    let mut awaited = reaper::<R, Process>(child);
    assert_eq!(awaited.try_wait()?, None);
    drop(hold);
    until(|| "it has not ended".into(), || awaited.try_wait().expect("it is our child").is_some());
    let (child, hold) = held(7)?;
    let (second, second_hold) = held(7)?;
    drop(reaper::<R, Process>(child));
    drop(reaper::<R, StdChild>(second));
    assert_eq!(orphans().len(), 2);
    drop((hold, second_hold));
    until_no_orphans();
    assert!(!has_children());
    Ok(())
}

/// The parent has a child that it awaits, and an orphan, before and after.
fn around_a_fork<R: Runtime>(body: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let runtime = R::new();
    let (child, hold) = held(7)?;
    let mut awaited = reaper::<R, Process>(child);
    assert!(runtime.block_on(poll_once(&mut awaited)).is_none());
    let (orphan, orphan_hold) = held(7)?;
    drop(reaper::<R, Process>(orphan));
    in_a_fork(|| body().expect("as in any process"));
    assert_eq!(orphans().len(), 1);
    assert!(runtime.block_on(poll_once(&mut awaited)).is_none());
    drop((hold, orphan_hold));
    assert_eq!(runtime.block_on(awaited)?.code(), Some(7));
    until_no_orphans();
    Ok(())
}

fn forked_without_a_runtime<R: Runtime>() -> io::Result<()> {
    around_a_fork::<R>(|| {
        use_without_a_runtime::<R>()?;
        // A fork of the fork.
        in_a_fork(|| use_without_a_runtime::<R>().expect("as in any process"));
        use_without_a_runtime::<R>()
    })
}

fn forked_with_a_runtime<R: Runtime>() -> io::Result<()> {
    around_a_fork::<R>(|| {
        let (child, hold) = held(9)?;
        let mut wait = reaper::<R, Process>(child);
        let runtime = R::new();
        assert!(runtime.block_on(poll_once(&mut wait)).is_none());
        drop(hold);
        assert_eq!(runtime.block_on(wait)?.code(), Some(9));
        let output = runtime.block_on(async { CommandOn::<R>::from(sh("echo")).output().await })?;
        assert_eq!(output.stdout, b"\n");
        use_without_a_runtime::<R>()
    })
}

/// The memory is a copy, but the descriptors and the epoll behind them are shared.
fn inherited_handles_dropped_in_a_fork<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let (child, hold) = held(7)?;
    let mut awaited = Some(reaper::<R, Process>(child));
    let (second, second_hold) = held(7)?;
    let mut never_polled = Some(reaper::<R, StdChild>(second));
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let child = command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut to_be_killed = Some(child);
    assert!(runtime.block_on(poll_once(awaited.as_mut().expect("it is there"))).is_none());
    let third = to_be_killed.as_mut().expect("it is there");
    let third_hold = third.stdin.take();
    assert!(runtime.block_on(poll_once(third.wait())).is_none());

    in_a_fork(|| {
        drop((awaited.take(), never_polled.take(), to_be_killed.take()));
        assert!(orphans().is_empty());
        use_without_a_runtime::<R>().expect("as in any process");
    });

    let (mut awaited, never_polled) = (awaited.expect("here"), never_polled.expect("here"));
    let mut to_be_killed = to_be_killed.expect("here");
    assert!(runtime.block_on(poll_once(&mut awaited)).is_none());
    assert_eq!(to_be_killed.try_wait()?, None);
    drop((hold, second_hold, third_hold));
    assert_eq!(runtime.block_on(awaited)?.code(), Some(7));
    assert_eq!(runtime.block_on(to_be_killed.wait())?.code(), Some(7));
    assert_eq!(runtime.block_on(never_polled)?.code(), Some(7));
    Ok(())
}
