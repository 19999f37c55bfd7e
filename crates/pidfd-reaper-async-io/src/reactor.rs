//! `AsyncIo`: the reactor of the process that async-io brings, over `Async`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use async_io::Async;
use pidfd_reaper_core::{EdgeEpoll, End, Interest, Reactor, SharedFd, Source};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ChildPipe;

/// The reactor of async-io: one for the process, there from anywhere.
#[derive(Clone, Copy, Debug)]
pub struct AsyncIo;

impl Reactor for AsyncIo {
    type Source = AsyncIoSource;
    type Pipe<K: End> = ChildPipe<K>;

    fn current() -> io::Result<Self> {
        Ok(Self)
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<AsyncIoSource> {
        let watched = Watched::Itself(Async::new_nonblocking(fd)?);
        Ok(AsyncIoSource { watched, interest, has_waited: false })
    }
}

/// A descriptor registered with async-io.
#[derive(Debug)]
pub struct AsyncIoSource {
    watched: Watched,
    interest: Interest,
    /// Whether a task has waited: what comes next may be due to an event.
    has_waited: bool,
}

/// async-io asks for one event at a time, by level: the next is there at once for as long as the
/// descriptor is ready, and a zombie that a tracer holds would make it spin.
#[derive(Debug)]
enum Watched {
    Itself(Async<SharedFd>),
    /// The edges of a descriptor that was ready in vain once.
    Edges(Async<EdgeEpoll>, SharedFd),
}

impl Source for AsyncIoSource {
    /// The operation is tried whenever a task comes back: `Async` may well wake it and say
    /// `Pending` again, for an event that belongs to a turn of the reactor that had already begun.
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if self.has_waited {
                if let Some(done) = self.watched.try_op(self.interest, &mut op) {
                    return Poll::Ready(done);
                }
            }
            self.has_waited = true;
            ready!(self.watched.poll_event(self.interest, cx))?;
        }
    }
}

impl Watched {
    /// `None` if the operation would block.
    fn try_op<T>(
        &mut self,
        interest: Interest,
        op: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        if let Self::Edges(edges, fd) = self {
            // Before the operation: an edge that comes during it stays.
            return match edges.get_ref().take() {
                Ok(_) => unless_blocked(op(fd.as_fd())),
                Err(error) => Some(Err(error)),
            };
        }
        let done = unless_blocked(op(self.fd()));
        if done.is_some() || interest == Interest::Writable || !is_readable(self.fd()) {
            return done;
        }
        // It may have become so just now. Else it is in vain.
        unless_blocked(op(self.fd())).or_else(|| self.switch_to_edges().err().map(Err))
    }

    fn poll_event(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self, interest) {
            (Self::Itself(fd), Interest::Readable) => fd.poll_readable(cx),
            (Self::Itself(fd), Interest::Writable) => fd.poll_writable(cx),
            (Self::Edges(edges, _), _) => edges.poll_readable(cx),
        }
    }

    fn switch_to_edges(&mut self) -> io::Result<()> {
        if let Self::Itself(registered) = self {
            let fd = registered.get_ref().clone();
            let edges = EdgeEpoll::new()?;
            edges.add(fd.as_fd(), 0)?;
            *self = Self::Edges(Async::new_nonblocking(edges)?, fd);
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Itself(registered) => registered.get_ref().as_fd(),
            Self::Edges(_, fd) => fd.as_fd(),
        }
    }
}

fn unless_blocked<T>(done: io::Result<T>) -> Option<io::Result<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        done => Some(done),
    }
}

/// An error is as good as a no: it shows in the operation.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
