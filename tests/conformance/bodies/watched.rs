//! Stops are watched by a thread, which takes nothing of the child's end and goes with it.

use std::io;
use std::os::unix::process::ExitStatusExt;

use futures_lite::future::{block_on as block_on_nothing, poll_once};
use pidfd_reaper::StateChange::{Continued, Stopped};
use pidfd_reaper::{Exit, Signal, orphans};

use super::limits::{Scarcity, without_threads};
use super::stops::{kernel_tells_of_stops, none_yet, stoppable};
use super::{Body, Place, bodies};
use crate::children::{many, until, until_no_orphans, until_state};
use crate::leaks::Snapshot;
use crate::runtimes::Runtime;
use crate::sys::in_a_fork;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        stopped_while_awaited,
        ended_while_stopped,
        ends_are_left_to_their_owners,
        of_an_abandoned_child,
        streams_dropped_before_the_end,
        of_a_child_that_has_ended,
        of_a_stolen_child,
        of_the_parent_in_a_forked_process,
        no_thread_for_the_stops.needs_filters(),
        no_descriptor_for_the_stops.only(Place::WithPidfd),
    ]
    .into_iter()
    .map(|body| body.if_shown(kernel_tells_of_stops))
    .collect()
}

fn stopped_while_awaited<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    let handle = child.handle();
    let mut changes = child.state_changes()?;
    let runtime = R::new();
    runtime.block_on(async {
        assert!(poll_once(child.wait()).await.is_none());
        let task = runtime.spawn(async move { child.wait().await });
        handle.signal(Signal::STOP)?;
        assert_eq!(changes.next().await, Some(Stopped(Signal::STOP)));
        assert_eq!(handle.try_wait()?, None);
        handle.signal(Signal::CONT)?;
        assert_eq!(changes.next().await, Some(Continued));
        drop(hold);
        assert_eq!(task.await?.code(), Some(7));
        // Whoever reaps has ended the stream by then.
        assert_eq!(poll_once(changes.next()).await, Some(None));
        Ok(())
    })
}

fn ended_while_stopped<R: Runtime>() -> io::Result<()> {
    let (mut child, _hold) = stoppable::<R>(7)?;
    let mut changes = child.state_changes()?;
    R::new().block_on(async {
        child.signal(Signal::STOP)?;
        assert_eq!(changes.next().await, Some(Stopped(Signal::STOP)));
        child.start_kill()?;
        assert_eq!(changes.next().await, None);
        let mut late = child.state_changes()?;
        assert_eq!(late.next().await, None);
        assert_eq!(child.wait().await?.signal(), Some(9));
        Ok(())
    })
}

/// The usage goes to whoever reaps: it was not the thread.
fn check(exit: Exit, code: u8) {
    assert_eq!(exit.status.code(), Some(code.into()));
    assert!(exit.usage.is_some(), "{exit:?}");
}

/// Many ends, each looked at by the thread and by whoever owns it, at the same time.
fn ends_are_left_to_their_owners<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    runtime.block_on(async {
        for code in 0..u8::try_from(many(100, 20)).expect("it is small") {
            let (mut child, hold) = stoppable::<R>(code)?;
            let handle = child.handle();
            let mut changes = child.state_changes()?;
            if code % 2 == 0 {
                assert!(poll_once(child.wait()).await.is_none());
            }
            if code % 3 == 0 {
                child.signal(Signal::STOP)?;
                child.signal(Signal::CONT)?;
            }
            drop(hold);
            if code % 5 == 0 {
                drop(child);
                check(handle.wait_with_usage().await?, code);
            } else {
                check(child.wait_with_usage().await?, code);
            }
            while changes.next().await.is_some() {}
        }
        until_no_orphans();
        Ok(())
    })
}

/// Only the queue reaps it, and the thread goes with it.
fn of_an_abandoned_child<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    let (child, hold) = stoppable::<R>(7)?;
    let (handle, mut changes) = (child.handle(), child.state_changes()?);
    drop(child);
    assert_eq!(orphans().len(), 1);
    R::new().block_on(async {
        handle.signal(Signal::STOP)?;
        assert_eq!(changes.next().await, Some(Stopped(Signal::STOP)));
        assert_eq!(orphans().len(), 1);
        handle.signal(Signal::CONT)?;
        assert_eq!(changes.next().await, Some(Continued));
        drop(hold);
        assert_eq!(changes.next().await, None);
        io::Result::Ok(())
    })?;
    until_no_orphans();
    check(R::new().block_on(handle.wait_with_usage())?, 7);
    before.wait_until_nothing_is_left();
    Ok(())
}

/// The thread stays with the child, and does not reap it.
fn streams_dropped_before_the_end<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    let (mut child, hold) = stoppable::<R>(7)?;
    drop((child.state_changes()?, child.state_changes()?));
    assert_eq!(before.more_threads(), 1);
    drop(hold);
    until(|| "the thread is still there".into(), || before.more_threads() == 0);
    until_state(child.id().expect("it was not reaped"), 'Z');
    check(R::new().block_on(child.wait_with_usage())?, 7);
    Ok(())
}

fn of_a_child_that_has_ended<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    drop(hold);
    until_state(child.id().expect("nobody has asked"), 'Z');
    let mut zombie = child.state_changes()?;
    R::new().block_on(async {
        assert_eq!(zombie.next().await, None);
        assert_eq!(child.wait().await?.code(), Some(7));
        let mut reaped = child.state_changes()?;
        assert_eq!((reaped.next().await, zombie.next().await), (None, None));
        Ok(())
    })
}

fn of_a_stolen_child<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    let pid = child.id().expect("it runs");
    let mut changes = child.state_changes()?;
    R::new().block_on(async {
        assert!(none_yet(&mut changes).await);
        drop(hold);
        super::thefts::steal(pid);
        assert_eq!(changes.next().await, None);
        super::thefts::check(child.wait().await, 7)?;
        // Nobody has asked the record since.
        let (mut child, hold) = stoppable::<R>(7)?;
        drop(hold);
        super::thefts::steal(child.id().expect("the record knows no end"));
        assert_eq!(child.state_changes()?.next().await, None);
        super::thefts::check(child.wait().await, 7)
    })
}

/// There is neither the thread nor the child there: the streams end, and the parent's go on.
fn of_the_parent_in_a_forked_process<R: Runtime>() -> io::Result<()> {
    let (child, hold) = stoppable::<R>(7)?;
    let mut changes = child.state_changes()?;
    in_a_fork(|| {
        assert_eq!(block_on_nothing(changes.next()), None);
        let error = child.state_changes().expect_err("the child is the parent's");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    });
    child.signal(Signal::STOP)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Stopped(Signal::STOP)));
    child.signal(Signal::CONT)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Continued));
    drop(hold);
    assert_eq!(R::new().block_on(child.handle().wait())?.code(), Some(7));
    Ok(())
}

fn no_thread_for_the_stops<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    child.signal(Signal::STOP)?;
    until_state(child.id().expect("it runs"), 'T');
    let handle = child.handle();
    without_threads(|| {
        for _ in 0..2 {
            let error = handle.state_changes().expect_err("there is no thread");
            assert_eq!(error.kind(), io::Error::from_raw_os_error(libc::EAGAIN).kind());
            assert!(error.to_string().contains("thread"), "{error}");
        }
    });
    // Nothing was taken.
    let mut changes = child.state_changes()?;
    assert_eq!(block_on_nothing(changes.next()), Some(Stopped(Signal::STOP)));
    child.signal(Signal::CONT)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Continued));
    drop(hold);
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
    Ok(())
}

fn no_descriptor_for_the_stops<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    let scarcity = Scarcity::of_descriptors_but(0)?;
    let mut changes = child.state_changes()?;
    drop(scarcity);
    child.signal(Signal::STOP)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Stopped(Signal::STOP)));
    child.signal(Signal::CONT)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Continued));
    drop(hold);
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
    assert_eq!(block_on_nothing(changes.next()), None);
    Ok(())
}
