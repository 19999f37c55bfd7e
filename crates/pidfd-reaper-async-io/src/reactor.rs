//! `AsyncIo`: the reactor of the process that async-io brings, over `Async`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use async_io::Async;
use pidfd_reaper_core::{End, ExitSource, Interest, Reactor, SharedFd, Source};

use crate::ChildPipe;
use crate::exits::Exits;

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
        let source = match interest {
            Interest::Exit => Kind::Exit(Exits::register(fd)?),
            Interest::Writable => Kind::Writable(Waiting::new(fd)?),
            _ => Kind::Readable(Waiting::new(fd)?),
        };
        Ok(AsyncIoSource(source))
    }
}

/// A descriptor registered with async-io.
#[derive(Debug)]
pub struct AsyncIoSource(Kind);

#[derive(Debug)]
enum Kind {
    Readable(Waiting),
    Writable(Waiting),
    Exit(ExitSource<Exits>),
}

/// A pipe or a timer.
#[derive(Debug)]
struct Waiting {
    fd: Async<SharedFd>,
    /// Whether a task has waited: what comes next may be due to an event.
    has_waited: bool,
}

impl Source for AsyncIoSource {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Kind::Readable(waiting) => waiting.poll_io(cx, Async::poll_readable, op),
            Kind::Writable(waiting) => waiting.poll_io(cx, Async::poll_writable, op),
            Kind::Exit(source) => source.poll_io(cx, op),
        }
    }
}

impl Waiting {
    fn new(fd: SharedFd) -> io::Result<Self> {
        Ok(Self { fd: Async::new_nonblocking(fd)?, has_waited: false })
    }

    /// The operation is tried whenever a task comes back: `Async` may well wake it and say
    /// `Pending` again, for an event that belongs to a turn of the reactor that had already begun.
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll_event: impl Fn(&Async<SharedFd>, &mut Context<'_>) -> Poll<io::Result<()>>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if self.has_waited {
                match op(self.fd.get_ref().as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
            }
            self.has_waited = true;
            ready!(poll_event(&self.fd, cx))?;
        }
    }
}
