//! A reactor whose sources fail in the midst of a wait, with errors that are its own.

use std::io;
use std::os::fd::BorrowedFd;
use std::process::Child as StdChild;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures_lite::future::poll_once;
use pidfd_reaper::{
    Command, End, Interest, OutputLimits, Pidfd, Pipe, Process, Reactor, Reaper, SharedFd, Source,
    exit_status, orphans,
};

use super::Place::WithPidfd;
use super::strangers::await_as_a_stranger;
use super::{Body, bodies};
use crate::children::{Flock, Kind, held, sh, until_no_orphans};
use crate::leaks::Snapshot;
use crate::runtimes::Runtime;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        source_fails_once.only(WithPidfd),
        source_fails_again_and_again.only(WithPidfd),
        source_fails_at_the_end.only(WithPidfd),
        source_of_a_pipe_fails_once,
        source_of_a_pipe_fails_again_and_again,
        source_of_a_stranger_fails.only(WithPidfd),
    ]
}

/// The reactor `R`, whose sources fail for as long as there are [`FAILURES`].
#[derive(Clone, Debug)]
pub(super) struct Failing<R>(R);

#[derive(Debug)]
pub(super) struct FailingSource<S>(S);

/// How many calls are still to fail.
static FAILURES: AtomicU32 = AtomicU32::new(0);

pub(super) const FOR_EVER: u32 = u32::MAX;

pub(super) fn fail(times: u32) {
    FAILURES.store(times, Ordering::SeqCst);
}

/// How many have failed of so many.
fn failed(times: u32) -> u32 {
    times - FAILURES.load(Ordering::SeqCst)
}

impl<R: Reactor> Reactor for Failing<R> {
    type Source = FailingSource<R::Source>;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        R::current().map(Self)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<Self::Source> {
        self.0.register(fd, interest).map(FailingSource)
    }
}

impl<S: Source> Source for FailingSource<S> {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let one_less = |failures: u32| failures.checked_sub(1);
        if FAILURES.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EIO)));
        }
        self.0.poll_io(cx, op)
    }
}

/// The waiting begins, then its source fails so often, and then the child ends. Returns how many
/// have failed, and how many threads there were more in the end.
fn fails_while_awaited<R: Runtime, W: Kind>(times: u32) -> io::Result<(u32, usize)> {
    let (child, hold) = held(7)?;
    let child = W::try_from(child).expect("nobody else has waited for it");
    let mut reaper = Reaper::<Failing<R::Reactor>, _>::new(child);
    R::new().block_on(async {
        let before = Snapshot::take();
        assert!(poll_once(&mut reaper).await.is_none());
        fail(times);
        for _ in 0..5 {
            assert!(poll_once(&mut reaper).await.is_none());
        }
        let threads = before.more_threads();
        drop(hold);
        assert_eq!((&mut reaper).await?.code(), Some(7));
        let failed = failed(times);
        fail(0);
        // The same again.
        assert_eq!((&mut reaper).await?.code(), Some(7));
        Ok((failed, threads))
    })
}

/// Then it is registered once more.
fn source_fails_once<R: Runtime>() -> io::Result<()> {
    assert_eq!(fails_while_awaited::<R, Process>(1)?, (1, 0));
    assert_eq!(fails_while_awaited::<R, StdChild>(1)?, (1, 0));
    Ok(())
}

/// Then a thread waits, and the sources are left alone.
fn source_fails_again_and_again<R: Runtime>() -> io::Result<()> {
    let before = Snapshot::take();
    assert_eq!(fails_while_awaited::<R, Process>(FOR_EVER)?, (2, 1));
    before.wait_until_nothing_is_left();
    assert_eq!(fails_while_awaited::<R, StdChild>(FOR_EVER)?, (2, 1));
    Ok(())
}

/// When the child's end wakes the task: the status is there all the same.
fn source_fails_at_the_end<R: Runtime>() -> io::Result<()> {
    fn fails<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let child = W::try_from(child).expect("nobody else has waited for it");
        let mut reaper = Reaper::<Failing<R::Reactor>, _>::new(child);
        R::new().block_on(async {
            assert!(poll_once(&mut reaper).await.is_none());
            let pid = reaper.id();
            drop(hold);
            crate::children::until_state(pid, 'Z');
            fail(FOR_EVER);
            assert_eq!((&mut reaper).await?.code(), Some(7));
            assert_eq!(failed(FOR_EVER), 1);
            fail(0);
            Ok(())
        })
    }
    fails::<R, Process>()?;
    fails::<R, StdChild>()
}

fn source_of_a_pipe_fails_once<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_by_pipe::<R>()?;
    R::new().block_on(async {
        let stdout = child.stdout.as_mut().expect("it was piped");
        let mut bytes = Vec::with_capacity(16);
        let mut read =
            std::pin::pin!(std::future::poll_fn(|cx| stdout.poll_append(cx, &mut bytes)));
        assert!(poll_once(&mut read).await.is_none());
        fail(1);
        assert!(poll_once(&mut read).await.is_none());
        assert_eq!(failed(1), 1);
        drop(hold);
        read.await?;
        assert_eq!(bytes, b"out\n");
        assert_eq!(child.wait().await?.code(), Some(7));
        Ok(())
    })
}

type PipedChild<R> = pidfd_reaper::Child<Failing<<R as Runtime>::Reactor>>;

/// A child that writes and exits with 7 once its input is closed.
fn held_by_pipe<R: Runtime>() -> io::Result<(PipedChild<R>, impl Sized)> {
    let mut command = Command::<Failing<R::Reactor>>::from(sh("read nothing; echo out; exit 7"));
    let piped = std::process::Stdio::piped;
    let mut child = command.stdin(piped()).stdout(piped()).spawn()?;
    let hold = child.stdin.take();
    Ok((child, hold))
}

/// Then the output cannot be collected, which is told; the child goes the way of one dropped.
fn source_of_a_pipe_fails_again_and_again<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = Command::<Failing<R::Reactor>>::from(flock.command()?);
    fail(FOR_EVER);
    let limits = OutputLimits::new();
    let output = R::new().block_on(async { command.output_with(limits).await });
    assert_eq!(output.expect_err("no pipe can be read").error.raw_os_error(), Some(libc::EIO));
    fail(0);
    assert_eq!(orphans().len(), 1);
    drop((command, flock));
    until_no_orphans();
    Ok(())
}

fn source_of_a_stranger_fails<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held(7)?;
    let pidfd = Pidfd::open(child.id())?;
    R::new().block_on(async {
        {
            let mut wait = std::pin::pin!(exit_status::<Failing<R::Reactor>>(&pidfd));
            assert!(poll_once(&mut wait).await.is_none());
            fail(1);
            assert!(poll_once(&mut wait).await.is_none());
            fail(FOR_EVER);
            let error = poll_once(&mut wait).await.expect("it is told at once");
            assert_eq!(error.expect_err("it fails twice").raw_os_error(), Some(libc::EIO));
            fail(0);
        }
        // It may be called again.
        await_as_a_stranger::<Failing<R::Reactor>>(&pidfd, hold).await
    })?;
    assert_eq!(child.wait()?.code(), Some(7));
    Ok(())
}
