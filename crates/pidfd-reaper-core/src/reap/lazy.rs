//! `LazyFd`: a descriptor that is made non-blocking and registered by the first operation that has
//! to wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionbio;

use super::registered::Registered;
use crate::kernel::{is_refusal, retry};
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
                Self::Blocking(_) => self.make_nonblocking()?,
                Self::Nonblocking(fd) => {
                    // A registered source takes of the task's budget by itself.
                    ready!(R::poll_budget(cx));
                    match op(fd.as_fd()) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.register(interest)?;
                        }
                        done => return Poll::Ready(done),
                    }
                }
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

    pub(crate) fn make_nonblocking(&mut self) -> io::Result<()> {
        if let Self::Blocking(fd) = self {
            set_nonblocking(fd.as_fd(), true)?;
            *self = Self::Nonblocking(Arc::clone(fd));
        }
        Ok(())
    }

    /// Registers it now, if it is not registered.
    pub(crate) fn register(&mut self, interest: Interest) -> io::Result<()> {
        if let Self::Blocking(fd) | Self::Nonblocking(fd) = self {
            let fd = Arc::clone(fd);
            let shared = Arc::clone(&fd).into();
            let registered = Registered::with(R::current()?, shared, interest)?;
            *self = Self::Waiting(Box::new(Waiting { registered, fd }));
        }
        Ok(())
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
    set_nonblocking(fd.as_fd(), false)?;
    Ok(fd)
}

/// By `ioctl`, one system call; by `fcntl` where a filter refuses that.
fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    match retry(|| ioctl_fionbio(fd, nonblocking)) {
        Err(errno) if is_refusal(errno) => {
            let flags = retry(|| fcntl_getfl(fd))?;
            let set = if nonblocking {
                flags | OFlags::NONBLOCK
            } else {
                flags.difference(OFlags::NONBLOCK)
            };
            Ok(retry(|| fcntl_setfl(fd, set))?)
        }
        done => Ok(done?),
    }
}
