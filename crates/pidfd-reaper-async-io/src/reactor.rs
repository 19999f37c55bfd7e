//! `AsyncIo`: the reactor of the process that async-io brings, over `Async`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use async_io::Async;
use pidfd_reaper_core::{EdgeEpoll, End, Interest, Reactor, SharedFd, Source};

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
        Ok(AsyncIoSource { watched, interest, ready: false })
    }
}

/// A descriptor registered with async-io.
#[derive(Debug)]
pub struct AsyncIoSource {
    watched: Watched,
    interest: Interest,
    ready: bool,
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
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let was_ready = self.ready;
            if !was_ready {
                ready!(self.watched.poll_event(self.interest, cx))?;
                self.ready = true;
            }
            match op(self.watched.fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    if !was_ready && self.interest == Interest::Readable {
                        self.watched.switch_to_edges()?;
                    }
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

impl Watched {
    fn poll_event(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self, interest) {
            (Self::Itself(fd), Interest::Readable) => fd.poll_readable(cx),
            (Self::Itself(fd), Interest::Writable) => fd.poll_writable(cx),
            (Self::Edges(edges, _), _) => {
                ready!(edges.poll_readable(cx))?;
                edges.get_ref().take()?;
                Poll::Ready(Ok(()))
            }
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
