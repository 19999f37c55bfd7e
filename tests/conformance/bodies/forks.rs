//! Forks without an exec: the new process starts afresh, and its parent notices nothing.

use std::fs::File;
use std::io;
use std::process::{Child as StdChild, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on as block_on_nothing, poll_once};
use pidfd_reaper::{ChildSet, KillScope, Process, Signal, orphans};

use super::{Body, bodies};
use crate::children::{held, many, reaper, sh, until, until_no_orphans};
use crate::leaks::{Snapshot, has_children};
use crate::runtimes::{CommandOn, Runtime};
use crate::sys::{alarm, in_a_fork, in_a_raw_clone};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        forked_without_a_runtime,
        forked_with_a_runtime.if_it(R::HAS_OWN_REACTOR),
        inherited_handles_dropped_in_a_fork,
        inherited_handles_used_in_a_fork,
        inherited_handles_used_in_a_raw_clone,
        inherited_handle_dropped_while_its_lock_was_held.long(),
        inherited_descriptors_of_the_queue,
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

/// Every call is an error at once, and does nothing to the parent's child.
fn inherited_handles_used_in_a_fork<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let mut child = command.stdin(Stdio::piped()).kill_scope(KillScope::Group).spawn()?;
    let hold = child.stdin.take();
    let handle = child.handle();
    let mut set = ChildSet::<R::Reactor>::new();
    let (member, member_hold) = super::handles::held_child::<R>(8)?;
    set.add(member);
    // Both were begun.
    assert!(runtime.block_on(poll_once(child.wait())).is_none());
    assert!(runtime.block_on(async { poll_once(set.next()).await.is_none() }));
    in_a_fork(|| {
        alarm(20);
        let refused = |result: io::Result<()>| {
            let error = result.expect_err("the child is the parent's");
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("forked"), "{error}");
        };
        refused(block_on_nothing(child.wait()).map(drop));
        refused(block_on_nothing(handle.wait()).map(drop));
        refused(block_on_nothing(handle.wait_scope()).map(drop));
        refused(block_on_nothing(child.kill()));
        refused(block_on_nothing(child.terminate(Duration::ZERO)).map(drop));
        refused(child.start_kill());
        refused(child.signal(Signal::KILL));
        refused(child.signal_group(Signal::KILL));
        refused(handle.kill());
        refused(child.try_wait().map(drop));
        assert_eq!((child.id(), handle.id()), (None, None));
        assert!(format!("{child:?} {set:?}").contains("inherited"));
        let ended = block_on_nothing(set.next()).expect("the member");
        refused(ended.result.map(drop));
        assert!(block_on_nothing(set.next()).is_none());
    });
    assert_eq!(child.try_wait()?, None);
    drop((hold, member_hold));
    assert_eq!(runtime.block_on(child.wait())?.code(), Some(7));
    let ended = runtime.block_on(set.next()).expect("the member");
    assert_eq!(ended.result?.code(), Some(8));
    Ok(())
}

fn inherited_handles_used_in_a_raw_clone<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let hold = child.stdin.take();
    let handle = child.handle();
    assert!(R::new().block_on(poll_once(child.wait())).is_none());
    let mut child = Some(child);
    in_a_raw_clone(|| {
        drop(child.take());
        assert!(handle.id().is_none());
    });
    let mut child = child.expect("here");
    assert_eq!(child.try_wait()?, None);
    drop(hold);
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
    Ok(())
}

/// By another thread of the parent.
fn inherited_handle_dropped_while_its_lock_was_held<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let hold = child.stdin.take();
    let (handle, stops) = (child.handle(), AtomicBool::new(false));
    let mut child = Some(child);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::Relaxed) {
                assert_eq!(handle.try_wait().expect("it is our child"), None);
            }
        });
        let stop = Stop(&stops);
        for _ in 0..many(100, 20) {
            in_a_fork(|| {
                alarm(20);
                drop(child.take());
            });
        }
        drop(stop);
    });
    drop(hold);
    assert_eq!(R::new().block_on(child.expect("here").wait())?.code(), Some(7));
    Ok(())
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// They are closed by the fork. What the program opens under the same numbers stays open.
fn inherited_descriptors_of_the_queue<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    let (orphan, hold) = held(7)?;
    drop(reaper::<R, Process>(orphan));
    let of_the_queue = before.more_descriptors("anon_inode");
    in_a_fork(|| {
        assert_eq!(before.more_descriptors("eventpoll"), 0);
        let files: Vec<_> =
            (0..10).map(|_| File::open("/dev/null").expect("it is there")).collect();
        assert!(orphans().is_empty());
        use_without_a_runtime::<R>().expect("as in any process");
        for file in files {
            assert!(rustix::fs::fstat(&file).is_ok());
        }
    });
    assert_eq!(before.more_descriptors("anon_inode"), of_the_queue);
    drop(hold);
    until_no_orphans();
    Ok(())
}
