//! `Reaper`: a child with a future of its end, that no drop leaves a zombie of.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use super::deadline::Deadline;
use super::orphan::{Orphan, OrphanQueue};
use super::process::Process;
use super::readiness::Readiness;
use super::wait::{Kill, Wait};
use crate::kernel::sys;
use crate::reactor::Reactor;
use crate::trace::{self, By};

/// Owns a child: awaited, it gives the child's status; dropped, it has the child reaped when it
/// ends.
///
/// The child may be a [`std::process::Child`], a [`Process`](crate::Process), or anything that
/// implements [`Wait`]. `R` says on which runtime it is awaited; making a `Reaper` needs none.
/// Nothing is registered before the first poll.
///
/// ```
/// use pidfd_reaper_core::{Process, Reactor, Reaper};
///
/// async fn run<R: Reactor>() -> std::io::Result<()> {
///     let child = std::process::Command::new("sleep").arg("1").spawn()?;
///     let mut reaper = Reaper::<R, _>::new(Process::try_from(child)?);
///     println!("{} runs", reaper.id());
///     println!("and has ended: {}", (&mut reaper).await?);
///     Ok(())
/// }
/// ```
///
/// # Cancel safety
///
/// Await `&mut reaper`: the future may be dropped at any time and taken up again, in the same
/// runtime or another, and nothing is lost. Awaited again after the end it gives the same status.
///
/// # Errors
///
/// A wait that fails leaves the child in place, and may be tried again: where there is no runtime
/// ([`Reactor::current`]), or, without a pidfd, no thread to be had.
/// [`StatusLost`](crate::StatusLost) is final.
///
/// # Drop
///
/// A child that still runs goes to the orphan queue ([`Reactor::orphans`]), and is reaped when it
/// ends, also when no runtime runs any more. It is not killed. The drop does not block.
pub struct Reaper<R: Reactor, W: Wait + Send + 'static> {
    /// There until the drop or [`into_inner`](Reaper::into_inner).
    child: Option<W>,
    readiness: Readiness<R>,
    status: Option<ExitStatus>,
    forks: u32,
}

impl<R: Reactor, W: Wait + Send + 'static> Reaper<R, W> {
    /// Takes over `child`, which may have ended already. It does nothing yet, and cannot fail.
    pub fn new(child: W) -> Self {
        Self::with(child, Readiness::Unregistered)
    }

    fn with(child: W, readiness: Readiness<R>) -> Self {
        super::orphans::of_this_process().retry();
        Self { child: Some(child), readiness, status: None, forks: sys::forks() }
    }

    /// Reaps the child if it has ended, without blocking; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Those of [`Wait::try_wait`]; no runtime is needed.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
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

    /// Gives the child back; nobody waits for it any more.
    #[must_use]
    pub fn into_inner(mut self) -> W {
        self.readiness = Readiness::Unregistered;
        let Some(child) = self.child.take() else { unreachable!("{THERE}") };
        child
    }

    /// What the drop does: the child goes to the orphan queue, unless its end is known.
    fn abandon(&mut self, abandon: impl FnOnce(W, &'static dyn OrphanQueue)) {
        // Out of the reactor before the reaping: it raises a hang-up on a pidfd that is still
        // registered.
        self.readiness = Readiness::Unregistered;
        let Some(child) = self.child.take() else {
            return;
        };
        if !self.is_done() && self.is_of_this_process() {
            abandon(child, R::orphans());
        }
    }

    /// Whether its end is known: nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.status.is_some()
    }

    /// In a process that was forked off, the child is the parent's, which looks after it.
    pub(crate) fn is_of_this_process(&self) -> bool {
        sys::forks() == self.forks
    }

    fn child_mut(&mut self) -> &mut W {
        self.child.as_mut().expect(THERE)
    }
}

/// Of a child that this library has started.
impl<R: Reactor> Reaper<R, Process> {
    pub(crate) fn of_started(process: Process) -> Self {
        let readiness = Readiness::of_started(process.id());
        Self::with(process, readiness)
    }

    /// What the drop does, with a time until which the child has to end.
    pub(crate) fn abandon_until(&mut self, deadline: Option<Deadline>) {
        self.abandon(|process, queue| Orphan::abandon_process(process, deadline, queue));
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
        let polled = this.readiness.poll_exit(this.child.as_mut().expect(THERE), cx);
        if let Poll::Ready(Ok(status)) = polled {
            this.status = Some(status);
        }
        polled
    }
}

impl<R: Reactor, W: Wait + Kill + Send + 'static> Kill for Reaper<R, W> {
    /// Never needs the runtime.
    fn kill(&mut self) -> io::Result<()> {
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

impl<R: Reactor, W: Wait + Send + 'static> DerefMut for Reaper<R, W> {
    fn deref_mut(&mut self) -> &mut W {
        self.child_mut()
    }
}

impl<R: Reactor, W: Wait + Send + 'static> Drop for Reaper<R, W> {
    fn drop(&mut self) {
        self.abandon(Orphan::abandon);
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
