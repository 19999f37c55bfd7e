//! Waiting: the status comes, once, right, and without work in the meantime.

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child as StdChild, Command as StdCommand, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures_lite::future::{poll_once, zip};
use pidfd_reaper::{Kill, Process, Reaper, Signal};

use super::Place::{WithPidfd, WithoutPidfd};
use super::{Body, bodies};
use crate::children::{
    Flock, Kind, LITTLE, Tracer, held, idle_second, many, myself, reaper, sh, until_no_orphans,
    until_state,
};
use crate::leaks::Snapshot;
use crate::profiles::pidfds_are_here;
use crate::runtimes::Runtime;
use crate::sys;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        exit_codes,
        deaths_by_signals,
        killed,
        waited_for_again,
        given_up_and_taken_up_again,
        a_thousand_at_once.long(),
        stopped_and_continued,
        leader_thread_exits_first,
        traced,
        // It is Linux then. gVisor tells a tracer of a stop as if it were the end.
        traced_by_this_process.if_shown(pidfds_are_here),
        two_waiters,
        waiters_on_tasks,
        on_the_reactor.only(WithPidfd),
        on_a_thread_each.only(WithoutPidfd),
    ]
}

fn exit_codes<R: Runtime>() -> io::Result<()> {
    async fn code<R: Runtime, W: Kind>(code: i32) -> io::Result<()> {
        let child = sh(&format!("exit {code}")).spawn()?;
        assert_eq!(reaper::<R, W>(child).await?.code(), Some(code));
        Ok(())
    }
    R::new().block_on(async {
        for status in [0, 1, 7, 255] {
            code::<R, StdChild>(status).await?;
            code::<R, Process>(status).await?;
        }
        Ok(())
    })
}

fn deaths_by_signals<R: Runtime>() -> io::Result<()> {
    async fn death<R: Runtime, W: Kind>(signal: Signal) -> io::Result<()> {
        let number = signal.as_raw();
        let child = sh(&format!("kill -{number} $$; read nothing")).spawn()?;
        let status = reaper::<R, W>(child).await?;
        assert_eq!((status.signal(), status.code()), (Some(number), None));
        Ok(())
    }
    R::new().block_on(async {
        for signal in [Signal::TERM, Signal::KILL, Signal::SEGV, Signal::ABORT, Signal::USR1] {
            death::<R, StdChild>(signal).await?;
            death::<R, Process>(signal).await?;
        }
        Ok(())
    })
}

fn killed<R: Runtime>() -> io::Result<()> {
    fn kill<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, _hold) = held(0)?;
        R::new().block_on(async {
            let mut reaper = reaper::<R, W>(child);
            assert!(poll_once(&mut reaper).await.is_none());
            reaper.kill()?;
            assert_eq!((&mut reaper).await?.signal(), Some(9));
            let again = reaper.kill().expect_err("it was reaped");
            assert_eq!(again.kind(), io::ErrorKind::InvalidInput);
            Ok(())
        })
    }
    kill::<R, StdChild>()?;
    kill::<R, Process>()
}

fn waited_for_again<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    R::new().block_on(async {
        assert!(poll_once(&mut reaper).await.is_none());
        assert_eq!(reaper.try_wait()?, None);
        drop(hold);
        for _ in 0..3 {
            assert_eq!((&mut reaper).await?.code(), Some(7));
            assert_eq!(reaper.try_wait()?.and_then(|status| status.code()), Some(7));
        }
        Ok(())
    })
}

fn given_up_and_taken_up_again<R: Runtime>() -> io::Result<()> {
    fn thousand<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let mut reaper = reaper::<R, W>(child);
        R::new().block_on(async {
            for _ in 0..1000 {
                let wait = async { (&mut reaper).await };
                assert!(poll_once(wait).await.is_none());
            }
            drop(hold);
            assert_eq!((&mut reaper).await?.code(), Some(7));
            Ok(())
        })
    }
    thousand::<R, StdChild>()?;
    thousand::<R, Process>()
}

fn a_thousand_at_once<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = flock.command()?;
    let runtime = R::new();
    let waits =
        (0..many(1000, 50)).map(|_| Ok(runtime.spawn(reaper::<R, Process>(command.spawn()?))));
    let waits = waits.collect::<io::Result<Vec<_>>>()?;
    runtime.block_on(async {
        // They have their first polls meanwhile.
        reaper::<R, Process>(StdCommand::new("true").spawn()?).await?;
        drop((command, flock));
        for wait in waits {
            assert!(wait.await?.success());
        }
        Ok(())
    })
}

/// The wait goes on through `meanwhile`, a thread, and ends with it; that one's answer comes back.
fn wait_through<R: Runtime, T: Send>(
    wait: impl Future<Output = io::Result<ExitStatus>>,
    meanwhile: impl FnOnce() -> T + Send,
) -> io::Result<(ExitStatus, T)> {
    thread::scope(|scope| {
        let meanwhile = scope.spawn(meanwhile);
        let status = R::new().block_on(wait)?;
        Ok((status, meanwhile.join().expect("it has not panicked")))
    })
}

fn stopped_and_continued<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let process = Process::try_from(child)?;
    let released = AtomicBool::new(false);
    let wait = async {
        let status = Reaper::<R::Reactor, _>::new(process.clone()).await;
        assert!(released.load(Ordering::SeqCst), "it was stopped, and has not ended");
        status
    };
    let (status, spent) = wait_through::<R, _>(wait, || {
        process.signal(Signal::STOP).unwrap();
        until_state(process.id(), 'T');
        let spent = idle_second();
        process.signal(Signal::CONT).unwrap();
        until_state(process.id(), 'S');
        released.store(true, Ordering::SeqCst);
        drop(hold);
        spent
    })?;
    assert_eq!(status.code(), Some(7));
    assert!(spent < LITTLE, "the wait took {spent:?} of the processor");
    Ok(())
}

/// The kernel tells the tracer of a stop where it was asked for an end.
fn traced_by_this_process<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let pid = child.id();
    let mut reaper = reaper::<R, Process>(child);
    let runtime = R::new();
    sys::seize(pid)?;
    reaper.signal(Signal::STOP)?;
    until_state(pid, 't');
    assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
    assert!(reaper.try_wait()?.is_none());
    sys::let_go(pid)?;
    drop(hold);
    assert_eq!(runtime.block_on(reaper)?.code(), Some(7));
    Ok(())
}

fn leader_thread_exits_first<R: Runtime>() -> io::Result<()> {
    let mut command = myself("leader")?;
    let mut child = command.stdin(std::process::Stdio::piped()).spawn()?;
    let hold = child.stdin.take();
    let pid = child.id();
    let released = AtomicBool::new(false);
    let wait = async {
        let status = reaper::<R, Process>(child).await;
        assert!(released.load(Ordering::SeqCst), "only its first thread has ended");
        status
    };
    let (status, spent) = wait_through::<R, _>(wait, || {
        until_state(pid, 'Z');
        let spent = idle_second();
        released.store(true, Ordering::SeqCst);
        drop(hold);
        spent
    })?;
    assert_eq!(status.code(), Some(9));
    assert!(spent < LITTLE, "the wait took {spent:?} of the processor");
    Ok(())
}

fn traced<R: Runtime>() -> io::Result<()> {
    fn trace<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let tracer = Tracer::of(pid)?;
        let wait = reaper::<R, W>(child);
        let (status, spent) = wait_through::<R, _>(wait, || {
            drop(hold);
            until_state(pid, 'Z');
            let spent = idle_second();
            tracer.end();
            spent
        })?;
        assert_eq!(status.code(), Some(7));
        assert!(spent < LITTLE, "the wait took {spent:?} of the processor");
        Ok(())
    }
    trace::<R, StdChild>()?;
    trace::<R, Process>()
}

fn two_waiters<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let process = Process::try_from(child)?;
    let [mut first, mut second] = [process.clone(), process].map(Reaper::<R::Reactor, _>::new);
    R::new().block_on(async {
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        drop(hold);
        let (first, second) = zip(first, second).await;
        assert_eq!((first?.code(), second?.code()), (Some(7), Some(7)));
        Ok(())
    })
}

fn waiters_on_tasks<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let process = Process::try_from(child)?;
    let runtime = R::new();
    let waits: Vec<_> =
        (0..10).map(|_| runtime.spawn(Reaper::<R::Reactor, _>::new(process.clone()))).collect();
    runtime.block_on(async {
        let mut last = Reaper::<R::Reactor, _>::new(process.clone());
        assert!(poll_once(&mut last).await.is_none());
        // Signalled while the others wait.
        process.signal(Signal::CONT)?;
        drop(hold);
        for wait in waits {
            assert_eq!(wait.await?.code(), Some(7));
        }
        assert_eq!(last.await?.code(), Some(7));
        Ok(())
    })
}

/// How many threads it takes to wait for ten children twice, and to look after ten abandoned ones.
fn threads_for<R: Runtime, W: Kind>() -> io::Result<(usize, usize)> {
    let flock = Flock::new()?;
    let mut command = flock.command()?;
    let mut start = || Ok(reaper::<R, W>(command.spawn()?));
    let mut awaited = (0..10).map(|_| start()).collect::<io::Result<Vec<_>>>()?;
    let abandoned = (0..10).map(|_| start()).collect::<io::Result<Vec<_>>>()?;
    let runtime = R::new();
    let before = Snapshot::take();
    for _ in 0..2 {
        for reaper in &mut awaited {
            assert!(runtime.block_on(poll_once(reaper)).is_none());
        }
    }
    let for_waits = before.more_threads();
    drop(abandoned);
    let for_orphans = before.more_threads() - for_waits;
    drop((command, flock));
    for reaper in awaited {
        assert!(runtime.block_on(reaper)?.success());
    }
    until_no_orphans();
    Ok((for_waits, for_orphans))
}

fn on_the_reactor<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    assert_eq!(threads_for::<R, StdChild>()?, (0, 1));
    before.wait_until_nothing_is_left();
    assert_eq!(threads_for::<R, Process>()?, (0, 1));
    Ok(())
}

fn on_a_thread_each<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    assert_eq!(threads_for::<R, StdChild>()?, (10, 10));
    before.wait_until_nothing_is_left();
    assert_eq!(threads_for::<R, Process>()?, (10, 10));
    Ok(())
}
