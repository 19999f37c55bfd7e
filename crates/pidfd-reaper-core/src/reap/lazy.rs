//! `LazyFd`: a descriptor that is registered by the first operation that has to wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::registered::Registered;
use crate::reactor::{Interest, Reactor};

/// A non-blocking descriptor, not registered until it has to be.
///
/// It can be made outside a runtime and polled in one after another.
#[derive(Debug)]
pub(crate) struct LazyFd<R: Reactor> {
    fd: Arc<OwnedFd>,
    interest: Interest,
    registered: Option<Registered<R>>,
}

impl<R: Reactor> LazyFd<R> {
    pub(crate) fn new(fd: OwnedFd, interest: Interest) -> Self {
        Self { fd: Arc::new(fd), interest, registered: None }
    }

    /// Runs `op` until it answers anything but `WouldBlock`; what it says then is passed on.
    pub(crate) fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut reactor_failed = false;
        loop {
            match &mut self.registered {
                None => match op(self.fd.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let fd = Arc::clone(&self.fd).into();
                        let registered = Registered::with(R::current()?, fd, self.interest)?;
                        self.registered = Some(registered);
                    }
                    done => return Poll::Ready(done),
                },
                // Begun in another runtime, which may never run again.
                Some(registered) if !registered.is_current() => self.registered = None,
                Some(registered) => {
                    let polled = registered.poll_io(cx, |fd| match op(fd) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                        done => Ok(done),
                    });
                    match ready!(polled) {
                        Ok(done) => return Poll::Ready(done),
                        Err(error) if reactor_failed => return Poll::Ready(Err(error)),
                        // The runtime was shut down: once more on the one that polls now.
                        Err(_) => {
                            reactor_failed = true;
                            self.registered = None;
                        }
                    }
                }
            }
        }
    }

    /// The descriptor, taken out of the reactor.
    pub(crate) fn into_owned_fd(self) -> io::Result<OwnedFd> {
        drop(self.registered);
        Arc::try_unwrap(self.fd).or_else(|shared| shared.try_clone())
    }
}

impl<R: Reactor> AsFd for LazyFd<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
