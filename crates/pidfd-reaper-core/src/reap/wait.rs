//! `Wait` and `Kill`: what the reaper calls on a child, so that it can be any kind of child.

use std::fmt;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;

use rustix::io::Errno;

use super::exit_thread::ExitThread;
use crate::kernel::exit::StatusLost;
use crate::kernel::pidfd::Pidfd;

/// A child that can be reaped without blocking.
///
/// Implement it for a child type of your own to have it waited for by a [`Reaper`](crate::Reaper)
/// and, when it is dropped while it runs, by the orphan queue. The queue catches a panic in it.
pub trait Wait: fmt::Debug {
    /// The process's PID.
    fn id(&self) -> u32;

    /// Reaps the child if it has exited, and returns its status; `None` while it runs. It never
    /// blocks, and returns the same status again after that.
    ///
    /// # Errors
    ///
    /// [`StatusLost`] where something else reaped the child: that is final. Any other error means
    /// that the child may still have to be reaped; the orphan queue tries again later.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>>;

    /// A pidfd of the child, to wait for its readiness; by default one is opened by
    /// [`id`](Self::id).
    ///
    /// # Errors
    ///
    /// Those of [`Pidfd::open`]; the child is then waited for without one.
    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        Pidfd::open(self.id()).map(Arc::new)
    }

    /// The thread that waits for the child where there is no pidfd; by default one is started.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    fn exit_thread(&self) -> io::Result<ExitThread> {
        ExitThread::start(self.id())
    }
}

/// A child that can be killed.
pub trait Kill {
    /// Sends `SIGKILL` and returns at once; the child is still to be waited for.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the child was reaped already; else as
    /// kill(2).
    fn kill(&mut self) -> io::Result<()>;
}

impl<W: Wait + ?Sized> Wait for &mut W {
    fn id(&self) -> u32 {
        (**self).id()
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        (**self).try_wait()
    }

    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        (**self).pidfd()
    }

    fn exit_thread(&self) -> io::Result<ExitThread> {
        (**self).exit_thread()
    }
}

impl<K: Kill + ?Sized> Kill for &mut K {
    fn kill(&mut self) -> io::Result<()> {
        (**self).kill()
    }
}

/// The standard library's child waits and kills by PID. [`Process`](crate::Process), which it can be
/// converted into, is safer: it recovers a stolen status and never signals an unrelated process.
impl Wait for Child {
    fn id(&self) -> u32 {
        Child::id(self)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        Child::try_wait(self).map_err(|error| {
            if Errno::from_io_error(&error) == Some(Errno::CHILD) {
                StatusLost::new(Some(Child::id(self))).into()
            } else {
                error
            }
        })
    }
}

impl Kill for Child {
    fn kill(&mut self) -> io::Result<()> {
        Child::kill(self)
    }
}
