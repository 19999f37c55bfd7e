//! Reads a child's output and waits for its exit, all together and within limits.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::isatty;

use super::child::{Child, Owned};
use super::limits::{BoundedOutput, OutputError, OutputLimits};
use super::pipe::{Pipe, ReadEnd, Stderr, Stdout};
use crate::reactor::Reactor;
use crate::reap::scope::ScopeWait;
use crate::reap::timer::Timer;

/// What a read has room for: a full pipe, as Linux makes them.
const ROOM: usize = 64 * 1024;
/// Reads in one poll, after which other tasks have their turn: a fast child could go on without end.
const READS_A_POLL: usize = 16;

/// The timers of the limits, made before the child is started: what can fail there fails without a
/// child.
#[derive(Debug)]
pub(super) struct Prepared<R: Reactor> {
    time: Option<Timer<R>>,
    grace: Option<Timer<R>>,
}

impl<R: Reactor> Prepared<R> {
    /// Outside a runtime they are registered by the first poll.
    pub(super) fn new(limits: &OutputLimits) -> io::Result<Self> {
        let timer = |is_wanted: bool| {
            is_wanted.then(Timer::new).transpose().and_then(|mut timer| {
                if let (Some(timer), Ok(_)) = (&mut timer, R::current()) {
                    timer.register()?;
                }
                Ok(timer)
            })
        };
        Ok(Self { time: timer(limits.time.is_some())?, grace: timer(limits.grace.is_some())? })
    }
}

impl<R: Reactor> Child<R> {
    /// [`wait_with_output`](Self::wait_with_output) within `limits`. Their time begins now.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with_output`](Self::wait_with_output), and `EMFILE`, `ENOSPC` or the like if
    /// no timer can be made or registered. If a limit bounds the child (`time`, `kill_on_excess`),
    /// it is killed by any error: it does not run on without its limit.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub async fn wait_with_output_within(
        self,
        limits: &OutputLimits,
    ) -> Result<BoundedOutput, OutputError> {
        match Prepared::new(limits) {
            Ok(prepared) => self.collect(limits, prepared).await,
            Err(error) => {
                let unlimited = Prepared { time: None, grace: None };
                self.collector(limits, unlimited).fail(error).await
            }
        }
    }

    pub(super) async fn collect(
        self,
        limits: &OutputLimits,
        prepared: Prepared<R>,
    ) -> Result<BoundedOutput, OutputError> {
        let mut collection = self.collector(limits, prepared);
        let collected = match collection.start() {
            Ok(()) => poll_fn(|cx| collection.poll(cx)).await,
            Err(error) => Err(error),
        };
        match collected {
            Ok(()) => Ok(collection.into_output()),
            Err(error) => collection.fail(error).await,
        }
    }

    fn collector(self, limits: &OutputLimits, prepared: Prepared<R>) -> Collection<'_, R> {
        let Self { owned, stdin, stdout, stderr } = self;
        drop(stdin);
        Collection {
            owned,
            limits,
            timers: prepared,
            stdout: Collector::new(stdout.map(Into::into), limits.bytes),
            stderr: Collector::new(stderr.map(Into::into), limits.bytes),
            status: None,
            timed_out: false,
            killed: None,
            complete: false,
        }
    }
}

/// A child, its output and its limits.
struct Collection<'l, R: Reactor> {
    owned: Owned<R>,
    limits: &'l OutputLimits,
    timers: Prepared<R>,
    stdout: Collector<R, Stdout>,
    stderr: Collector<R, Stderr>,
    status: Option<ExitStatus>,
    timed_out: bool,
    /// There once a limit has killed the scope: the wait until nothing of it runs.
    killed: Option<ScopeWait<R>>,
    complete: bool,
}

impl<R: Reactor> Collection<'_, R> {
    fn start(&mut self) -> io::Result<()> {
        self.timers
            .time
            .as_mut()
            .zip(self.limits.time)
            .map_or(Ok(()), |(timer, time)| timer.set(time))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_wait(cx)?;
        // Not one after the other: each has to leave its waker.
        let (out, err) = (self.stdout.poll(cx)?, self.stderr.poll(cx)?);
        self.complete = out.is_ready() && err.is_ready();
        let time_is_over = fired(self.timers.time.as_mut(), cx)?;
        self.timed_out |= time_is_over && self.status.is_none();
        let exceeded = self.limits.kills_on_excess && self.stdout.excess + self.stderr.excess > 0;
        if (time_is_over || exceeded) && !self.is_over() {
            self.kill()?;
            // It may have been reaped by the kill's look at it.
            self.poll_wait(cx)?;
        }
        if self.status.is_none() {
            return Poll::Pending;
        }
        if let Some(killed) = &mut self.killed {
            // What still holds a pipe then is not waited for.
            ready!(killed.poll(cx))?;
        } else if !self.complete && !fired(self.timers.grace.as_mut(), cx)? {
            return Poll::Pending;
        }
        // What is in the pipes by now is the child's, whether or not the reactor has reported it.
        self.stdout.drain()?;
        self.stderr.drain()?;
        Poll::Ready(Ok(()))
    }

    /// Notes the child's exit, from which on others that hold a pipe have their time.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.status.is_none() {
            if let Poll::Ready(exit) = Pin::new(&mut self.owned.reaper).poll(cx) {
                self.status = Some(exit?);
                if let Some((timer, grace)) = self.timers.grace.as_mut().zip(self.limits.grace) {
                    timer.set(grace)?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is nothing left for a limit to end.
    fn is_over(&self) -> bool {
        self.killed.is_some() || (self.status.is_some() && self.complete)
    }

    fn kill(&mut self) -> io::Result<()> {
        let process = self.owned.process().clone();
        process.signal_what_is_left(Signal::KILL)?;
        self.killed = Some(ScopeWait::killing(process));
        Ok(())
    }

    /// After an error: kills a child that was to be bounded, so that it does not run on without its
    /// limit, and returns what there is.
    async fn fail(mut self, error: io::Error) -> Result<BoundedOutput, OutputError> {
        let mut exit = self.exit();
        if self.limits.bounds_the_child() && self.kill().is_ok() && exit.is_none() {
            let status = poll_fn(|cx| Pin::new(&mut self.owned.reaper).poll(cx)).await;
            self.status = status.ok();
            exit = self.exit();
        }
        // What is in the pipes is the child's; that they cannot be read may be the error.
        let _ = (self.stdout.drain(), self.stderr.drain());
        let (stdout, stderr) = (self.stdout.bytes, self.stderr.bytes);
        Err(OutputError { error, exit, stdout, stderr })
    }

    fn exit(&self) -> Option<crate::Exit> {
        self.owned.reaper.exit_with(self.status?).ok()
    }

    fn into_output(self) -> BoundedOutput {
        let exit = self.exit().expect("it was collected until the exit was known");
        BoundedOutput {
            exit,
            stdout: self.stdout.bytes,
            stderr: self.stderr.bytes,
            stdout_excess: self.stdout.excess,
            stderr_excess: self.stderr.excess,
            timed_out: self.timed_out,
            complete: self.complete,
        }
    }
}

/// An error means that the timer cannot be waited for: no limit is kept any more.
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
        R::yield_now(cx);
        Poll::Pending
    }

    /// Reads what there is, without waiting, and no more than a pipe holds.
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
        match ready!(read(pipe, buf)) {
            // Closed at once, not when the other pipe ends.
            Ok(0) => self.pipe = None,
            Ok(_) => self.count_excess(),
            Err(error) if is_end_of_terminal(pipe, &error) => self.pipe = None,
            Err(error) => return Poll::Ready(Err(error)),
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

/// The master of a pseudoterminal ends with `EIO` once no process has its other end open.
fn is_end_of_terminal<R: Reactor, K: ReadEnd>(pipe: &Pipe<R, K>, error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error()) && isatty(pipe)
}
