//! Reads a child's output and waits for its end, all together and within limits.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::child::Owned;
use super::limits::{BoundedOutput, OutputLimits};
use super::pipe::{Pipe, ReadEnd, Stderr, Stdout};
use crate::reactor::Reactor;
use crate::reap::timer::Timer;

/// What a read has room for: a full pipe, as Linux makes them.
const ROOM: usize = 64 * 1024;
/// Reads in one poll, after which other tasks have their turn: a fast child could go on for ever.
const READS_A_POLL: usize = 16;

pub(super) async fn collect<R: Reactor>(
    owned: &mut Owned<R>,
    stdout: Option<Pipe<R, Stdout>>,
    stderr: Option<Pipe<R, Stderr>>,
    limits: &OutputLimits,
) -> io::Result<BoundedOutput> {
    let mut stdout = Collector::new(stdout, limits.bytes);
    let mut stderr = Collector::new(stderr, limits.bytes);
    let mut time = limits.time.map(Timer::<R>::after).transpose()?;
    let mut grace = None;
    let (mut status, mut timed_out, mut killed) = (None, false, false);
    poll_fn(|cx| {
        if status.is_none() {
            if let Poll::Ready(end) = Pin::new(&mut owned.reaper).poll(cx) {
                status = Some(end?);
                grace = limits.grace.map(Timer::<R>::after).transpose()?;
            }
        }
        // Not one after the other: each has to leave its waker.
        let (out, err) = (stdout.poll(cx)?, stderr.poll(cx)?);
        let complete = out.is_ready() && err.is_ready();
        if status.is_none() && !timed_out && fired(time.as_mut(), cx)? {
            timed_out = true;
        }
        let exceeded = limits.kills_on_excess && stdout.excess + stderr.excess > 0;
        if status.is_none() && !killed && (timed_out || exceeded) {
            killed = true;
            owned.kill()?;
        }
        let Some(status) = status else { return Poll::Pending };
        // Whoever still holds a pipe has the grace, what is left of the time, or none after a kill.
        let over = killed || fired(grace.as_mut(), cx)? || fired(time.as_mut(), cx)?;
        if !complete && !over {
            return Poll::Pending;
        }
        // What is in the pipes by now is the child's, whether or not the reactor has told of it.
        stdout.drain()?;
        stderr.drain()?;
        let exit = owned.reaper.exit_with(status)?;
        Poll::Ready(Ok(BoundedOutput {
            exit,
            stdout: std::mem::take(&mut stdout.bytes),
            stderr: std::mem::take(&mut stderr.bytes),
            stdout_excess: stdout.excess,
            stderr_excess: stderr.excess,
            timed_out,
            complete,
        }))
    })
    .await
}

fn fired<R: Reactor>(timer: Option<&mut Timer<R>>, cx: &mut Context<'_>) -> io::Result<bool> {
    match timer.map(|timer| timer.poll(cx)) {
        Some(Poll::Ready(fired)) => fired.map(|()| true),
        Some(Poll::Pending) | None => Ok(false),
    }
}

/// One pipe, until its end, and what came out of it.
struct Collector<R: Reactor, K: ReadEnd> {
    pipe: Option<Pipe<R, K>>,
    bytes: Vec<u8>,
    limit: usize,
    /// How much came beyond the limit.
    excess: u64,
    /// Where the excess goes.
    spill: Vec<u8>,
}

impl<R: Reactor, K: ReadEnd> Collector<R, K> {
    fn new(pipe: Option<Pipe<R, K>>, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        Self { pipe, bytes: Vec::new(), limit, excess: 0, spill: Vec::new() }
    }

    /// Ready at the end of the pipe.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..READS_A_POLL {
            if self.pipe.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.read(|pipe, buf| pipe.poll_append(cx, buf)))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what there is, without waiting, and no more than a pipe holds as others make them.
    fn drain(&mut self) -> io::Result<()> {
        for _ in 0..READS_A_POLL {
            if let Poll::Ready(read) = self.read(Pipe::append_now) {
                read?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        read: impl FnOnce(&mut Pipe<R, K>, &mut Vec<u8>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        let full = self.bytes.len() >= self.limit;
        let buf = if full { &mut self.spill } else { &mut self.bytes };
        if buf.capacity() - buf.len() < ROOM / 2 {
            // Amortised: at least doubles.
            buf.reserve(ROOM);
        }
        match ready!(read(pipe, buf))? {
            // Closed at once, not when the other pipe ends.
            0 => self.pipe = None,
            _ => self.count_excess(),
        }
        Poll::Ready(Ok(()))
    }

    fn count_excess(&mut self) {
        let beyond = self.bytes.len().saturating_sub(self.limit) + self.spill.len();
        self.excess += beyond as u64;
        self.bytes.truncate(self.limit);
        self.spill.clear();
    }
}
