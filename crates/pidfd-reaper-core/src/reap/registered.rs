//! `Registered`: a source together with the reactor it is registered with.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::{Context, Poll};

use crate::kernel::fork_guard::ForkGuard;
use crate::reactor::{Interest, Reactor, SharedFd, Source};

/// A source and its reactor, which knows whether it is time to move to another.
#[derive(Debug)]
pub(crate) struct Registered<R: Reactor> {
    reactor: R,
    /// There until the drop.
    source: Option<R::Source>,
    guard: ForkGuard,
}

impl<R: Reactor> Registered<R> {
    pub(crate) fn with(reactor: R, fd: SharedFd, interest: Interest) -> io::Result<Self> {
        let source = Some(reactor.register(fd, interest)?);
        Ok(Self { reactor, source, guard: ForkGuard::new() })
    }

    /// Whether a task that polls here and now would be woken. In a forked process none would be.
    pub(crate) fn is_current(&self) -> bool {
        self.guard.is_here() && self.reactor.is_current()
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

/// A panic during a poll leaves a registration that is polled again or dropped, like any other: what
/// counts is the state of the descriptor. Tokio says the same of its own.
impl<R: Reactor> UnwindSafe for Registered<R> {}
impl<R: Reactor> RefUnwindSafe for Registered<R> {}

impl<R: Reactor> Drop for Registered<R> {
    /// A forked process shares the reactor's epoll with its parent: taking the descriptor out here
    /// would take it out there. So the source is forgotten instead.
    fn drop(&mut self) {
        if !self.guard.is_here() {
            mem::forget(self.source.take());
        }
    }
}
