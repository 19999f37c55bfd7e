//! Reads a child's output and waits for its end, all together.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::Output;
use std::task::{Context, Poll};

use super::pipe::{Pipe, ReadEnd, Stderr, Stdout};
use crate::reactor::Reactor;
use crate::reap::process::Process;
use crate::reap::reaper::Reaper;

/// What the first read of a pipe has room for: a full pipe, as Linux makes them.
const ROOM: usize = 64 * 1024;
/// Reads in one poll, after which other tasks have their turn: a fast child could go on for ever.
const READS_A_POLL: usize = 16;

pub(super) async fn collect<R: Reactor>(
    reaper: &mut Reaper<R, Process>,
    stdout: Option<Pipe<R, Stdout>>,
    stderr: Option<Pipe<R, Stderr>>,
) -> io::Result<Output> {
    let mut stdout = Collector::new(stdout);
    let mut stderr = Collector::new(stderr);
    let mut status = None;
    poll_fn(|cx| {
        if status.is_none() {
            if let Poll::Ready(end) = Pin::new(&mut *reaper).poll(cx) {
                status = Some(end?);
            }
        }
        // Not one after the other: each has to leave its waker.
        let (out, err) = (stdout.poll(cx)?, stderr.poll(cx)?);
        let Some(status) = status else {
            return Poll::Pending;
        };
        if out.is_pending() || err.is_pending() {
            return Poll::Pending;
        }
        let (stdout, stderr) = (stdout.take(), stderr.take());
        Poll::Ready(Ok(Output { status, stdout, stderr }))
    })
    .await
}

/// One pipe, until its end, and what came out of it.
struct Collector<R: Reactor, K: ReadEnd> {
    pipe: Option<Pipe<R, K>>,
    bytes: Vec<u8>,
}

impl<R: Reactor, K: ReadEnd> Collector<R, K> {
    fn new(pipe: Option<Pipe<R, K>>) -> Self {
        Self { pipe, bytes: Vec::new() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        for _ in 0..READS_A_POLL {
            if self.bytes.capacity() - self.bytes.len() < ROOM / 2 {
                // Amortised: at least doubles.
                self.bytes.reserve(ROOM);
            }
            match pipe.poll_append(cx, &mut self.bytes) {
                Poll::Ready(Ok(0)) => {
                    // Closed at once, not when the other pipe ends.
                    self.pipe = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}
