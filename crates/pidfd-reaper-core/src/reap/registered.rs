//! `Registered`: a source together with the reactor it is registered with.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use crate::kernel::sys;
use crate::reactor::{Interest, Reactor, SharedFd, Source};

/// A source and its reactor, which knows whether it is time to move to another.
#[derive(Debug)]
pub(crate) struct Registered<R: Reactor> {
    reactor: R,
    /// There until the drop.
    source: Option<R::Source>,
    forks: u32,
}

impl<R: Reactor> Registered<R> {
    pub(crate) fn with(reactor: R, fd: SharedFd, interest: Interest) -> io::Result<Self> {
        let source = Some(reactor.register(fd, interest)?);
        Ok(Self { reactor, source, forks: sys::forks() })
    }

    /// Whether a task that polls here and now would be woken.
    pub(crate) fn is_current(&self) -> bool {
        self.reactor.is_current()
    }

    pub(crate) fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let source = self.source.as_mut().expect("only the drop takes it");
        source.poll_io(cx, op)
    }
}

impl<R: Reactor> Drop for Registered<R> {
    /// In a process that was forked off, the reactor's epoll is still the parent's too, and taking
    /// the descriptor out here would take it out there: the source is forgotten instead.
    fn drop(&mut self) {
        if sys::forks() != self.forks {
            mem::forget(self.source.take());
        }
    }
}
