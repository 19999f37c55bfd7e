//! `Reaper`: a child as a future of its exit, which leaves no zombie when it is dropped.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use super::drive;
use super::orphan::{ArmedDeadline, Orphan, OrphanQueue};
use super::process::Process;
use super::readiness::Readiness;
use super::wait::{Kill, Wait};
use crate::kernel::fork_guard::ForkGuard;
use crate::reactor::Reactor;
use crate::trace::{self, By};

/// Owns a child: awaited, it returns the child's status; dropped, it has the child reaped when that
/// exits.
///
/// The child may be a [`std::process::Child`], a [`Process`](crate::Process), or anything that
/// implements [`Wait`]. `R` is the runtime on which it is awaited; making a `Reaper` needs none.
/// Nothing is registered before the first poll. It dereferences to the child, which cannot be
/// replaced: the registration belongs to it.
///
/// ```
/// use pidfd_reaper_core::{Process, Reactor, Reaper};
///
/// async fn run<R: Reactor>() -> std::io::Result<()> {
///     let child = std::process::Command::new("sleep").arg("1").spawn()?;
///     let mut reaper = Reaper::<R, _>::new(Process::try_from(child)?);
///     println!("{} runs", reaper.id());
///     println!("and has exited: {}", (&mut reaper).await?);
///     Ok(())
/// }
/// ```
///
/// # Cancel safety
///
/// Await `&mut reaper`: the future may be dropped at any time and taken up again, in the same
/// runtime or another, and nothing is lost. Awaited again after the exit it returns the same status.
///
/// # Errors
///
/// A wait that fails leaves the child in place, and may be tried again: where there is no runtime
/// ([`Reactor::current`]), or where neither the pidfd nor a timer can be registered and no thread be
/// started. [`StatusLost`](crate::StatusLost) is final. In a forked process it is
/// [`Unsupported`](io::ErrorKind::Unsupported): the child is its parent's.
///
/// # Drop
///
/// A child that still runs goes to the orphan queue ([`Reactor::orphans`]), and is reaped when it
/// exits, also when no runtime runs any more. It is not killed. The drop does not block.
pub struct Reaper<R: Reactor, W: Wait + Send + 'static> {
    /// There until the drop or [`into_inner`](Reaper::into_inner).
    child: Option<W>,
    readiness: Readiness<R>,
    status: Option<ExitStatus>,
    guard: ForkGuard,
}

impl<R: Reactor, W: Wait + Send + 'static> Reaper<R, W> {
    /// Takes over `child`, which may have exited. It does nothing yet, and cannot fail.
    pub fn new(child: W) -> Self {
        Self::with(child, Readiness::Unregistered)
    }

    fn with(child: W, readiness: Readiness<R>) -> Self {
        super::orphans::of_this_process().retry();
        Self { child: Some(child), readiness, status: None, guard: ForkGuard::new() }
    }

    /// Reaps the child if it has exited, without blocking; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Those of [`Wait::try_wait`]; no runtime is needed.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guard.check(self.id())?;
        if self.status.is_none() {
            let end = self.child_mut().try_wait().transpose();
            if let Some(end) = &end {
                trace::reaped(self.id(), By::Waiter, end);
            }
            self.status = end.transpose()?;
        }
        if self.status.is_some() {
            self.readiness = Readiness::Unregistered;
        }
        Ok(self.status)
    }

    /// Returns the child; it is not waited for any more.
    #[must_use]
    pub fn into_inner(mut self) -> W {
        self.readiness = Readiness::Unregistered;
        let Some(child) = self.child.take() else { unreachable!("{THERE}") };
        child
    }

    /// What the drop does: the child goes to the orphan queue, unless its exit is known.
    fn abandon(&mut self, abandon: impl FnOnce(W, &'static dyn OrphanQueue)) {
        // Out of the reactor before the reaping, which raises a hang-up on a pidfd that is still
        // registered.
        self.readiness = Readiness::Unregistered;
        let Some(child) = self.child.take() else {
            return;
        };
        if self.status.is_none() && self.guard.is_here() {
            abandon(child, R::orphans());
        }
    }

    fn child_mut(&mut self) -> &mut W {
        self.child.as_mut().expect(THERE)
    }
}

/// Of a child that this library has started.
impl<R: Reactor> Reaper<R, Process> {
    pub(crate) fn from_spawned(process: Process) -> Self {
        let readiness = Readiness::of_spawned(process.id());
        Self::with(process, readiness)
    }

    /// What the drop does, with the deadline until which the child has to exit.
    pub(crate) fn abandon_until(&mut self, deadline: Option<ArmedDeadline>) {
        let drive = Some(drive::on_reactor::<R> as drive::Drive);
        self.abandon(|process, queue| Orphan::abandon_process(process, deadline, queue, drive));
    }

    /// Hands the registration over to another waiter: a set that polls for this child.
    pub(crate) fn take_readiness(&mut self) -> Readiness<R> {
        std::mem::replace(&mut self.readiness, Readiness::Unregistered)
    }
}

const THERE: &str = "the child is there until the drop";

impl<R: Reactor, W: Wait + Send + Unpin + 'static> Future for Reaper<R, W> {
    type Output = io::Result<ExitStatus>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(status) = this.status {
            return Poll::Ready(Ok(status));
        }
        let child = this.child.as_mut().expect(THERE);
        let polled = this.readiness.poll_exit(child, this.guard, cx);
        if let Poll::Ready(Ok(status)) = polled {
            this.status = Some(status);
        }
        polled
    }
}

impl<R: Reactor, W: Wait + Kill + Send + 'static> Kill for Reaper<R, W> {
    /// Never needs the runtime.
    fn kill(&mut self) -> io::Result<()> {
        self.guard.check(self.id())?;
        if self.status.is_some() {
            let message = "the child was reaped already: no signal was sent";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.child_mut().kill()
    }
}

impl<R: Reactor, W: Wait + Send + 'static> Deref for Reaper<R, W> {
    type Target = W;

    fn deref(&self) -> &W {
        self.child.as_ref().expect(THERE)
    }
}

impl<R: Reactor, W: Wait + Send + 'static> Drop for Reaper<R, W> {
    fn drop(&mut self) {
        let drive = Some(drive::on_reactor::<R> as drive::Drive);
        self.abandon(|child, queue| Orphan::abandon(child, queue, drive));
    }
}

impl<R: Reactor, W: Wait + Send + 'static> fmt::Debug for Reaper<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper")
            .field("child", &self.child)
            .field("readiness", &self.readiness)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
