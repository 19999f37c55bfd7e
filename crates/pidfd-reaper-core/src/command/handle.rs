//! `ChildHandle`: a handle to a child for any number of tasks.

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
use crate::reap::scope::ScopeWait;

/// A cloneable handle to signal and wait for a child from any number of tasks, beside its
/// [`Child`](crate::Child).
///
/// Clones are cheap. All waits return the same status, also after the `Child` was dropped. A handle
/// owns nothing: dropping it does nothing to the child. It knows the child's
/// [scope](crate::Command::kill_scope).
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

    /// The process's PID; `None` once a call has returned its exit. See
    /// [`Child::id`](crate::Child::id).
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

    /// Sends `signal` to all that is left of the child's [scope](crate::Command::kill_scope): to the
    /// group and, if it has left that, to the child itself.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if nothing is left.
    /// - `EPERM` if the child runs as another user.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn signal_scope(&self, signal: Signal) -> io::Result<()> {
        self.process.signal_scope(signal)
    }

    /// Sends `signal` to every process of the group that the child leads.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal_group`].
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.process.signal_group(signal)
    }

    /// Sends `SIGKILL` to what is left of the child's [scope](crate::Command::kill_scope), and
    /// returns at once.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if nothing is left: the child was reaped, and
    ///   its group, if that is its scope, is empty. Before Linux 6.9 also once the `Child` was
    ///   dropped and the leader of the group has exited: then the group is out of reach.
    /// - `EPERM` if the child runs as another user.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn kill(&self) -> io::Result<()> {
        self.process.signal_scope(Signal::KILL)
    }

    /// Waits for the child's exit. Its standard input is not closed: that is its owner's.
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
        let guard = process.guard();
        poll_fn(|cx| readiness.poll_exit(&mut process, guard, cx)).await
    }

    /// Waits until the child has exited and nothing of its [scope](crate::Command::kill_scope) runs,
    /// as [`Child::wait_scope`](crate::Child::wait_scope) does.
    ///
    /// # Errors
    ///
    /// Those of [`Child::wait`](crate::Child::wait).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    pub async fn wait_scope(&self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        let mut scope = ScopeWait::<R>::new(self.process.clone());
        poll_fn(|cx| scope.poll(cx)).await?;
        Ok(status)
    }

    /// Waits as [`wait`](Self::wait) does, and returns what the child has used as well.
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

    /// The child's status if it has exited; `None` while it runs.
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
