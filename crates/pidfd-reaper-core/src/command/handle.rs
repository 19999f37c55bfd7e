//! `ChildHandle`: one child in many hands.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::kernel::exit::Exit;
use crate::reactor::Reactor;
use crate::reap::process::Process;
use crate::reap::readiness::Readiness;

/// Signals a child and waits for it beside its [`Child`](crate::Child), from as many tasks as like.
///
/// Clones are cheap. All who wait get the same status, also after the `Child` was dropped. A handle
/// owns nothing: dropping it does nothing to the child.
///
/// While several wait at once, each after the first takes a descriptor of its own for that time: a
/// reactor takes one only once.
///
/// ```
/// use pidfd_reaper_core::{Child, Reactor, Signal};
///
/// async fn reload_and_wait<R: Reactor>(child: &Child<R>) -> std::io::Result<()> {
///     let handle = child.handle();
///     handle.signal(Signal::HUP)?;
///     println!("{}", handle.wait().await?);
///     Ok(())
/// }
/// ```
pub struct ChildHandle<R: Reactor> {
    pub(super) process: Process,
    reactor: PhantomData<fn() -> R>,
}

impl<R: Reactor> ChildHandle<R> {
    pub(crate) fn new(process: Process) -> Self {
        Self { process, reactor: PhantomData }
    }

    /// The process's number; `None` once it was reaped.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.own_id()
    }

    /// Sends `signal` to the child.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal`].
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// Sends `signal` to every process of the group that the child leads.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal_group`].
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.process.signal_group(signal)
    }

    /// Sends `SIGKILL` to the child, and returns at once.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal`]: [`InvalidInput`](io::ErrorKind::InvalidInput) once it was
    /// reaped.
    pub fn kill(&self) -> io::Result<()> {
        self.process.signal(Signal::KILL)
    }

    /// Waits for the child's end. Its standard input is not closed: that is its owner's.
    ///
    /// # Errors
    ///
    /// Those of [`Child::wait`](crate::Child::wait).
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again, also in another runtime.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        let (mut process, mut readiness) = (self.process.clone(), Readiness::<R>::Unregistered);
        poll_fn(|cx| readiness.poll_exit(&mut process, cx)).await
    }

    /// Waits as [`wait`](Self::wait) does, and tells what the child has used.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    pub async fn wait_with_usage(&self) -> io::Result<Exit> {
        let status = self.wait().await?;
        self.process.exit_with(status)
    }

    /// The child's end if it is known or can be told without waiting; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Those of [`Process::try_exit`].
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(self.process.try_exit()?.map(|exit| exit.status))
    }
}

impl<R: Reactor> Clone for ChildHandle<R> {
    fn clone(&self) -> Self {
        Self::new(self.process.clone())
    }
}

impl<R: Reactor> fmt::Debug for ChildHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildHandle").field(&self.process).finish()
    }
}
