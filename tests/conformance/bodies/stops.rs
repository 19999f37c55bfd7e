//! Stops and continuations are told to all who asked, wherever they ask.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command as StdCommand, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on as block_on_nothing, poll_once};
use pidfd_reaper::StateChange::{Continued, Stopped};
use pidfd_reaper::{Signal, StateChanges};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Body, bodies};
use crate::children::{Hold, sh, state_of, until, until_no_orphans, until_state};
use crate::leaks::Snapshot;
use crate::runtimes::{ChildOn, Runtime};
use crate::sys::Disposition;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        stops_are_told,
        told_to_all_by_one_thread,
        begins_with_the_stop_it_is_in,
        a_late_reader_gets_the_last,
        polled_in_two_runtimes,
        polled_without_a_runtime,
        stops_under_any_disposition,
    ]
    .into_iter()
    .map(|body| body.if_shown(kernel_tells_of_stops))
    .collect()
}

/// Whether a `waitid` that blocks learns of a stop, as on Linux. On gVisor it does not.
pub(super) fn kernel_tells_of_stops() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| {
        let mut child = StdCommand::new("sleep").arg("600").spawn().expect("it is there");
        let pid = Pid::from_child(&child);
        let look = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        let (says, said) = mpsc::channel();
        let waits = thread::spawn(move || {
            let _ = says.send(None);
            let seen = waitid(WaitId::Pid(pid), look).ok().flatten();
            let _ = says.send(seen.map(|status| status.stopped()));
        });
        let _ = said.recv();
        kill_process(pid, Signal::STOP).expect("it is our child");
        // Where it is told at all, it is told at once.
        let told = said.recv_timeout(Duration::from_secs(10)) == Ok(Some(true));
        child.kill().expect("it is our child");
        waits.join().expect("it does not panic");
        child.wait().expect("it is our child");
        told
    })
}

/// A child that exits with `code` once its [`Hold`] is dropped, and can be stopped by a terminal's
/// signals: the kernel does not let them stop a group that nobody could continue.
pub(super) fn stoppable<R: Runtime>(code: u8) -> io::Result<(ChildOn<R>, Hold)> {
    let mut command = sh(&format!("read nothing; exit {code}"));
    let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
    let hold = child.stdin.take().expect("it was piped");
    Ok((ChildOn::<R>::from_std(child).map_err(io::Error::from)?, hold))
}

pub(super) async fn none_yet(changes: &mut StateChanges) -> bool {
    poll_once(changes.next()).await.is_none()
}

fn stops_are_told<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    let mut changes = child.state_changes()?;
    R::new().block_on(async {
        assert!(none_yet(&mut changes).await);
        for signal in [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            child.signal(signal)?;
            assert_eq!(changes.next().await, Some(Stopped(signal)));
            assert!(none_yet(&mut changes).await);
            assert_eq!(child.try_wait()?, None);
            child.signal(Signal::CONT)?;
            assert_eq!(changes.next().await, Some(Continued));
            assert!(none_yet(&mut changes).await);
        }
        drop(hold);
        assert_eq!(changes.next().await, None);
        assert_eq!(child.wait().await?.code(), Some(7));
        assert_eq!(changes.next().await, None);
        Ok(())
    })
}

fn told_to_all_by_one_thread<R: Runtime>() -> io::Result<()> {
    let (child, hold) = stoppable::<R>(7)?;
    let runtime = R::new();
    runtime.block_on(async {
        let before = Snapshot::take();
        let streams = (0..10).map(|_| child.handle().state_changes());
        let streams = streams.collect::<io::Result<Vec<_>>>()?;
        assert_eq!(before.more_threads(), 1);
        let mut ours = child.state_changes()?;
        let tasks = streams.into_iter().map(|mut changes| {
            runtime.spawn(async move {
                let seen = [changes.next().await, changes.next().await, changes.next().await];
                (seen, changes)
            })
        });
        let tasks = tasks.collect::<Vec<_>>();
        for (signal, change) in [
            (Signal::STOP, Stopped(Signal::STOP)),
            (Signal::CONT, Continued),
            (Signal::TSTP, Stopped(Signal::TSTP)),
        ] {
            child.signal(signal)?;
            assert_eq!(ours.next().await, Some(change));
        }
        child.signal(Signal::CONT)?;
        assert_eq!(ours.next().await, Some(Continued));
        drop(hold);
        for task in tasks {
            // Each gives what it has not given, in order; one that came late, less of it.
            let (seen, mut changes) = task.await;
            let all = [Stopped(Signal::STOP), Continued, Stopped(Signal::TSTP), Continued];
            let mut rest = all.iter();
            for change in seen.iter().flatten() {
                assert!(rest.any(|other| other == change), "{seen:?}");
            }
            assert!(seen[0].is_some(), "{seen:?}");
            while changes.next().await.is_some() {}
        }
        assert_eq!(child.handle().wait().await?.code(), Some(7));
        Ok(())
    })
}

fn begins_with_the_stop_it_is_in<R: Runtime>() -> io::Result<()> {
    let (child, hold) = stoppable::<R>(7)?;
    let id = child.id().expect("it runs");
    R::new().block_on(async {
        // What is over by then is not told.
        child.signal(Signal::STOP)?;
        until_state(id, 'T');
        child.signal(Signal::CONT)?;
        until(|| "it does not go on".into(), || state_of(id) != Some('T'));
        let mut before = child.state_changes()?;
        assert!(none_yet(&mut before).await);
        drop((child, hold, before));
        until_no_orphans();

        let (child, hold) = stoppable::<R>(7)?;
        child.signal(Signal::TSTP)?;
        until_state(child.id().expect("it runs"), 'T');
        let (mut first, mut second) = (child.state_changes()?, child.state_changes()?);
        for changes in [&mut first, &mut second] {
            assert_eq!(poll_once(changes.next()).await, Some(Some(Stopped(Signal::TSTP))));
            assert!(none_yet(changes).await);
        }
        child.signal(Signal::CONT)?;
        assert_eq!(first.next().await, Some(Continued));
        let mut third = child.state_changes()?;
        assert!(none_yet(&mut third).await);
        drop(hold);
        assert_eq!((third.next().await, first.next().await), (None, None));
        assert_eq!((second.next().await, second.next().await), (Some(Continued), None));
        assert_eq!(child.handle().wait().await?.code(), Some(7));
        Ok(())
    })
}

fn a_late_reader_gets_the_last<R: Runtime>() -> io::Result<()> {
    let (child, hold) = stoppable::<R>(7)?;
    let (mut early, mut late) = (child.state_changes()?, child.state_changes()?);
    R::new().block_on(async {
        for _ in 0..10 {
            child.signal(Signal::STOP)?;
            assert_eq!(early.next().await, Some(Stopped(Signal::STOP)));
            child.signal(Signal::CONT)?;
            assert_eq!(early.next().await, Some(Continued));
        }
        drop(hold);
        assert_eq!(early.next().await, None);
        // Kept beyond the end.
        assert_eq!((late.next().await, late.next().await), (Some(Continued), None));
        assert_eq!(child.handle().wait().await?.code(), Some(7));
        Ok(())
    })
}

fn polled_in_two_runtimes<R: Runtime>() -> io::Result<()> {
    let (child, hold) = stoppable::<R>(7)?;
    let mut changes = child.state_changes()?;
    let first = R::new();
    assert!(first.block_on(none_yet(&mut changes)));
    drop(first);
    child.signal(Signal::STOP)?;
    assert_eq!(R::new().block_on(changes.next()), Some(Stopped(Signal::STOP)));
    assert!(R::new().block_on(none_yet(&mut changes)));
    // One that is there all the time, but does not run any more.
    let standing = R::new();
    assert!(standing.block_on(none_yet(&mut changes)));
    child.signal(Signal::CONT)?;
    assert_eq!(R::new().block_on(changes.next()), Some(Continued));
    drop(hold);
    assert_eq!(R::new().block_on(changes.next()), None);
    assert_eq!(R::new().block_on(child.handle().wait())?.code(), Some(7));
    Ok(())
}

fn polled_without_a_runtime<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = stoppable::<R>(7)?;
    let mut changes = child.state_changes()?;
    child.signal(Signal::STOP)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Stopped(Signal::STOP)));
    child.signal(Signal::CONT)?;
    assert_eq!(block_on_nothing(changes.next()), Some(Continued));
    drop(hold);
    assert_eq!(block_on_nothing(changes.next()), None);
    assert_eq!(child.try_wait()?.and_then(|status| status.code()), Some(7));
    Ok(())
}

/// The kernel reaps the child then, at once; its stops are told all the same.
fn stops_under_any_disposition<R: Runtime>() -> io::Result<()> {
    for disposition in
        [Disposition::IGNORED, Disposition::NO_CHILD_WAIT, Disposition::NO_CHILD_STOP]
    {
        disposition.set();
        let (mut child, hold) = stoppable::<R>(7)?;
        let mut changes = child.state_changes()?;
        R::new().block_on(async {
            child.signal(Signal::STOP)?;
            assert_eq!(changes.next().await, Some(Stopped(Signal::STOP)));
            child.signal(Signal::CONT)?;
            assert_eq!(changes.next().await, Some(Continued));
            drop(hold);
            assert_eq!(changes.next().await, None);
            if disposition == Disposition::NO_CHILD_STOP {
                assert_eq!(child.wait().await?.code(), Some(7));
                return Ok(());
            }
            super::thefts::check(child.wait().await, 7)
        })?;
        assert_eq!(Disposition::now(), disposition);
    }
    Ok(())
}
