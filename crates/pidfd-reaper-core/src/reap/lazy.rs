//! `LazyFd`: a descriptor that is made non-blocking and registered by the first operation that has
//! to wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::ioctl_fionbio;

use super::registered::Registered;
use crate::reactor::{Interest, Reactor};

/// A descriptor that nothing is done to until it has to be.
///
/// It can be made outside a runtime and polled in one after another. It is small: most are handed
/// on, or never there.
#[derive(Debug)]
pub(crate) enum LazyFd<R: Reactor> {
    /// As it came.
    Blocking(Arc<OwnedFd>),
    Nonblocking(Arc<OwnedFd>),
    Waiting(Box<Waiting<R>>),
}

/// A descriptor that was registered, and is out of the reactor before it is closed.
#[derive(Debug)]
pub(crate) struct Waiting<R: Reactor> {
    registered: Registered<R>,
    fd: Arc<OwnedFd>,
}

impl<R: Reactor> LazyFd<R> {
    /// Takes over one that is in blocking mode, as far as is known.
    pub(crate) fn blocking(fd: OwnedFd) -> Self {
        Self::Blocking(Arc::new(fd))
    }

    /// Takes over one that is in non-blocking mode, or is never read.
    pub(crate) fn nonblocking(fd: OwnedFd) -> Self {
        Self::Nonblocking(Arc::new(fd))
    }

    /// Runs `op` until it answers anything but `WouldBlock`; what it says then is passed on.
    pub(crate) fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut reactor_failed = false;
        loop {
            match self {
                Self::Blocking(fd) => {
                    ioctl_fionbio(&*fd, true)?;
                    *self = Self::Nonblocking(Arc::clone(fd));
                }
                Self::Nonblocking(fd) => match op(fd.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let shared = Arc::clone(fd).into();
                        let registered = Registered::with(R::current()?, shared, interest)?;
                        let fd = Arc::clone(fd);
                        *self = Self::Waiting(Box::new(Waiting { registered, fd }));
                    }
                    done => return Poll::Ready(done),
                },
                // Begun in another runtime, which may never run again.
                Self::Waiting(waiting) if !waiting.registered.is_current() => {
                    *self = Self::Nonblocking(Arc::clone(&waiting.fd));
                }
                Self::Waiting(waiting) => {
                    let polled = waiting.registered.poll_io(cx, |fd| match op(fd) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                        done => Ok(done),
                    });
                    match ready!(polled) {
                        Ok(done) => return Poll::Ready(done),
                        Err(error) if reactor_failed => return Poll::Ready(Err(error)),
                        // The runtime was shut down: once more on the one that polls now.
                        Err(_) => {
                            reactor_failed = true;
                            *self = Self::Nonblocking(Arc::clone(&waiting.fd));
                        }
                    }
                }
            }
        }
    }

    /// The descriptor, out of the reactor and in blocking mode.
    pub(crate) fn into_owned_fd(self) -> io::Result<OwnedFd> {
        let fd = match self {
            Self::Blocking(fd) => fd,
            Self::Nonblocking(fd) => blocking_again(fd)?,
            Self::Waiting(waiting) => blocking_again(waiting.fd)?,
        };
        Arc::try_unwrap(fd).or_else(|shared| shared.try_clone())
    }
}

impl<R: Reactor> AsFd for LazyFd<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Blocking(fd) | Self::Nonblocking(fd) => fd.as_fd(),
            Self::Waiting(waiting) => waiting.fd.as_fd(),
        }
    }
}

fn blocking_again(fd: Arc<OwnedFd>) -> io::Result<Arc<OwnedFd>> {
    ioctl_fionbio(&fd, false)?;
    Ok(fd)
}
