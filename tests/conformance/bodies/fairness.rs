//! Fairness: a child that is faster than its task keeps no other task and no event waiting.
//!
//! What is measured are counts, which do not depend on the speed of the machine: how many operations
//! a task does before its poll returns. The pipes here never make a reader or a writer wait. One end
//! is a child's pipe as far as the library knows; what a fast child would have written is in it
//! already, in packets (`O_DIRECT`), of which each read takes one.
//!
//! On Tokio the same is done with `tokio::process`, in the same run: it must not be fairer.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pidfd_reaper::{Pipe, Stdin, Stdout};
use rustix::io::write;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::Receiver;
use tokio::process as theirs;
use tokio::task::coop::has_budget_remaining;

use super::handles::held_child;
use super::{Body, bodies};
use crate::children::until_state;
use crate::runtimes::{PipeOn, Runtime, TokioCurrent};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        reading_yields,
        writing_yields,
        collecting_output_yields,
        an_event_reaches_a_task_that_reads,
        takes_of_the_budget.if_it(is_tokio::<R>()),
        // With worker threads another thread drives meanwhile, and there is nothing to count.
        output_gives_the_driver_its_turn.if_it(R::NAME == TokioCurrent::NAME),
    ]
}

fn is_tokio<R: Runtime>() -> bool {
    R::NAME.starts_with("tokio")
}

/// As many as the largest pipe holds, and more than Tokio's budget (128).
const PACKETS: usize = 256;
/// How many operations of a pipe are done in a row.
const MOST_IN_A_ROW: usize = 64;

/// Both ends of a pipe with a megabyte of room.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT)?;
    fcntl_setpipe_size(&write_end, 1 << 20)?;
    Ok((read_end, write_end))
}

/// The end of a pipe that has all the packets, and then its end.
fn full() -> io::Result<OwnedFd> {
    let (read_end, write_end) = pipe()?;
    for _ in 0..PACKETS {
        write(&write_end, b"!")?;
    }
    Ok(read_end)
}

/// Does `operation` until it returns zero: how many times at most in one poll.
async fn most_in_a_poll(
    mut operation: impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>>,
) -> io::Result<usize> {
    let mut most = 0;
    poll_fn(|cx| {
        let mut done = 0;
        loop {
            match operation(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(most)),
                Poll::Ready(Ok(_)) => done += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            most = most.max(done);
        }
    })
    .await
}

/// Ours, and that of `tokio::process` where it can be had; else what the library promises.
fn compare(name: &str, ours: usize, theirs: Option<usize>) {
    eprintln!("{name}: {ours}, with tokio::process {theirs:?}");
    assert!(ours <= MOST_IN_A_ROW, "{name}: {ours} in one poll");
    assert!(theirs.is_none_or(|theirs| ours <= theirs), "{name}: {ours}, theirs: {theirs:?}");
}

fn reader<R: Runtime>(fd: OwnedFd) -> impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut pipe = Pipe::<R::Reactor, Stdout>::from_std(ChildStdout::from(fd));
    move |cx| pipe.poll_read(cx, &mut [0; 8])
}

/// In the context of Tokio.
fn their_reader(
    fd: OwnedFd,
) -> io::Result<impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>>> {
    let mut pipe = theirs::ChildStdout::from_std(ChildStdout::from(fd))?;
    Ok(move |cx: &mut Context<'_>| {
        let (mut room, pipe) = ([0; 8], Pin::new(&mut pipe));
        let mut buf = ReadBuf::new(&mut room);
        pipe.poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    })
}

fn reading_yields<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let ours = most_in_a_poll(reader::<R>(full()?)).await?;
        let theirs = if is_tokio::<R>() {
            Some(most_in_a_poll(their_reader(full()?)?).await?)
        } else {
            None
        };
        compare("reads", ours, theirs);
        // The same of one that has waited before.
        let (read_end, write_end) = pipe()?;
        let mut read = reader::<R>(read_end);
        assert!(poll_fn(|cx| Poll::Ready(read(cx))).await.is_pending());
        for _ in 0..PACKETS {
            write(&write_end, b"!")?;
        }
        drop(write_end);
        compare("reads after a wait", most_in_a_poll(read).await?, theirs);
        Ok(())
    })
}

fn writing_yields<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let (_read_end, write_end) = pipe()?;
        let mut left = PACKETS;
        let mut pipe = Pipe::<R::Reactor, Stdin>::from_std(ChildStdin::from(write_end));
        let ours = most_in_a_poll(|cx| {
            if left == 0 {
                return Poll::Ready(Ok(0));
            }
            let written = pipe.poll_write(cx, b"!");
            left -= usize::from(written.is_ready());
            written
        });
        let ours = ours.await?;
        let theirs = if is_tokio::<R>() {
            let (_read_end, write_end) = self::pipe()?;
            let mut left = PACKETS;
            let mut pipe = theirs::ChildStdin::from_std(ChildStdin::from(write_end))?;
            let theirs = most_in_a_poll(|cx| {
                if left == 0 {
                    return Poll::Ready(Ok(0));
                }
                let written = Pin::new(&mut pipe).poll_write(cx, b"!");
                left -= usize::from(written.is_ready());
                written
            });
            Some(theirs.await?)
        } else {
            None
        };
        compare("writes", ours, theirs);
        Ok(())
    })
}

/// How many polls `future` takes.
async fn polls<T>(future: impl Future<Output = T>) -> (usize, T) {
    let (mut polls, mut future) = (0, pin!(future));
    let output = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (polls, output)
}

/// A child whose output is in the pipes already is collected in as many turns as with Tokio, or more.
fn collecting_output_yields<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let (mut child, hold) = held_child::<R>(7)?;
        drop(hold);
        until_state(child.id().expect("it was not reaped"), 'Z');
        child.stdout = Some(stdout::<R>(full()?));
        let (ours, output) = polls(child.wait_with_output()).await;
        assert_eq!(output?.stdout.len(), PACKETS);
        // Each poll reads 16 times.
        assert!(ours > PACKETS / 16, "{ours} polls");
        if is_tokio::<R>() {
            let mut pipe = theirs::ChildStdout::from_std(ChildStdout::from(full()?))?;
            let mut bytes = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut bytes);
            let (theirs, read) = polls(read).await;
            assert_eq!(read?, PACKETS);
            eprintln!("polls: {ours}, with tokio::process {theirs}");
            assert!(ours >= theirs, "{ours} polls, theirs: {theirs}");
        }
        Ok(())
    })
}

fn stdout<R: Runtime>(fd: OwnedFd) -> PipeOn<R, Stdout> {
    Pipe::from_std(ChildStdout::from(fd)).into()
}

/// A task that reads without end sees the exit of a child all the same: the reactor has its turn.
///
/// What it reads, it has written before. Without a pidfd a thread wakes it.
fn an_event_reaches_a_task_that_reads<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_child::<R>(7)?;
    let mut hold = Some(hold);
    let (read_end, write_end) = pipe()?;
    let mut read = reader::<R>(read_end);
    write(&write_end, b"!")?;
    let status = R::new().block_on(async {
        let mut wait = pin!(child.wait());
        poll_fn(|cx| {
            if let Poll::Ready(status) = wait.as_mut().poll(cx) {
                return Poll::Ready(status);
            }
            hold = None;
            while let Poll::Ready(read) = read(cx) {
                assert_eq!(read?, 1);
                write(&write_end, b"!")?;
            }
            Poll::Pending
        })
        .await
    })?;
    assert_eq!(status.code(), Some(7));
    Ok(())
}

/// Reads take of the budget of the whole task, as they do with `tokio::process`.
fn takes_of_the_budget<R: Runtime>() -> io::Result<()> {
    /// Reads 60 times of each, which is no cause to yield by itself: how often until the budget is
    /// used up.
    async fn reads(
        mut pipes: Vec<impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>>>,
    ) -> io::Result<usize> {
        // Registered, and ready.
        for read in &mut pipes {
            poll_fn(&mut *read).await?;
        }
        tokio::task::yield_now().await;
        let mut done = 0;
        poll_fn(|cx| {
            assert!(has_budget_remaining());
            for read in &mut pipes {
                for _ in 0..60 {
                    match read(cx) {
                        Poll::Ready(read) => assert_eq!(read?, 1),
                        Poll::Pending => {
                            assert!(!has_budget_remaining(), "it yields after {done} reads");
                            return Poll::Ready(Ok(done));
                        }
                    }
                    done += 1;
                }
            }
            panic!("{done} reads took nothing of the budget");
        })
        .await
    }
    R::new().block_on(async {
        let pipes = (0..4).map(|_| Ok(reader::<R>(full()?)));
        let ours = reads(pipes.collect::<io::Result<Vec<_>>>()?).await?;
        let pipes = (0..4).map(|_| their_reader(full()?));
        let theirs = reads(pipes.collect::<io::Result<Vec<_>>>()?).await?;
        assert_eq!(ours, theirs);
        Ok(())
    })
}

/// How often events are delivered while output is collected: as often as with `tokio::process`, or
/// more. A task that only wakes itself would be polled again before the driver has its turn.
fn output_gives_the_driver_its_turn<R: Runtime>() -> io::Result<()> {
    /// Each event takes a turn of the driver.
    async fn count_events(count: Arc<AtomicUsize>) -> io::Result<()> {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let events = Receiver::from_owned_fd(read_end)?;
        loop {
            write(&write_end, b"!")?;
            events.readable().await?;
            // Until it would block: only then does Tokio wait for the next event.
            while events.try_read(&mut [0; 8]).is_ok() {}
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    let runtime = R::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (sends, ends) = tokio::sync::oneshot::channel::<()>();
    let counted = Arc::clone(&count);
    let counts = runtime.spawn(futures_lite::future::or(count_events(counted), async {
        let _ = ends.await;
        Ok(())
    }));
    // A task: `block_on` gives the driver its turn between any two polls of its own future.
    let collects = runtime.spawn(async move {
        let (mut child, hold) = held_child::<R>(7)?;
        drop(hold);
        until_state(child.id().expect("it was not reaped"), 'Z');
        child.stdout = Some(stdout::<R>(full()?));
        // The other task has its first poll.
        tokio::task::yield_now().await;
        let before = count.load(Ordering::Relaxed);
        assert_eq!(child.wait_with_output().await?.stdout.len(), PACKETS);
        let ours = count.load(Ordering::Relaxed) - before;

        let mut pipe = theirs::ChildStdout::from_std(ChildStdout::from(full()?))?;
        let before = count.load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut bytes).await?;
        let theirs = count.load(Ordering::Relaxed) - before;
        eprintln!("events: {ours}, with tokio::process {theirs}");
        assert!(ours >= theirs && ours >= PACKETS / 16 / 2, "{ours} events, theirs: {theirs}");
        drop(sends);
        counts.await
    });
    runtime.block_on(collects)
}
