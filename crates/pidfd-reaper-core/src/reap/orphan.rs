//! `Orphan` and `OrphanQueue`: an abandoned child, and what looks after it.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use super::deadline::Ticket;
use super::drive::Drive;
use super::exit_thread::ExitThread;
use super::process::Process;
use super::wait::Wait;
use super::wakers::contain;
use crate::kernel::exit::StatusLost;
use crate::kernel::pidfd::Pidfd;
use crate::trace::{self, By};

/// Takes abandoned children, and reaps each when it exits.
///
/// The library brings one for the process ([`orphans`](crate::orphans)). Another is given by a
/// [`Reactor`](crate::Reactor) that knows better, or by a test.
pub trait OrphanQueue: fmt::Debug + Sync {
    /// Takes over `orphan`, which may have exited by now. It is called from a `Drop`: it must not
    /// block for long, nor panic.
    fn push(&'static self, orphan: Orphan);
}

/// A child that was dropped while it ran: what is left to do is to reap it.
///
/// A queue waits for it through its [`Wait`], and drops it once [`try_wait`](Wait::try_wait) has
/// returned its status or [`StatusLost`]. If the child was asked to exit within a grace period
/// ([`terminate_on_drop`](crate::Command::terminate_on_drop)), this library kills it after that,
/// whichever queue has it.
#[derive(Debug)]
pub struct Orphan {
    child: Box<dyn Wait + Send>,
    /// Its drop detaches the deadline.
    _deadline: Option<ArmedDeadline>,
    pub(crate) drive: Option<Drive>,
}

/// What an orphan answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was reaped, or its status is lost: it is done with.
    Done,
    Runs,
    /// It may have exited, but could not be asked: again later.
    Failed,
}

impl Orphan {
    pub(crate) fn new(
        child: impl Wait + Send + 'static,
        deadline: Option<ArmedDeadline>,
        drive: Option<Drive>,
    ) -> Self {
        Self { child: Box::new(child), _deadline: deadline, drive }
    }

    /// Reaps `child` if it has exited by now, else hands it to `queue`.
    pub(crate) fn abandon(
        mut child: impl Wait + Send + 'static,
        queue: &'static dyn OrphanQueue,
        drive: Option<Drive>,
    ) {
        if ask(&mut child) != Asked::Done {
            trace::orphaned(child.id());
            queue.push(Self::new(child, None, drive));
        }
    }

    /// Hands `process` to `queue`. One that has a pidfd is not asked first: the pidfd shows the exit
    /// also if it lies in the past.
    pub(crate) fn abandon_process(
        process: Process,
        deadline: Option<ArmedDeadline>,
        queue: &'static dyn OrphanQueue,
        drive: Option<Drive>,
    ) {
        let has_pidfd = process.has_pidfd();
        let mut abandoned = Abandoned { process, has_deadline: deadline.is_some() };
        if has_pidfd || ask(&mut abandoned) != Asked::Done {
            trace::orphaned(abandoned.id());
            queue.push(Self::new(abandoned, deadline, drive));
        }
    }

    /// Reaps it if it has exited.
    pub(crate) fn ask(&mut self) -> Asked {
        ask(&mut *self.child)
    }
}

/// Reaps `child` if it has exited. A panic of it is contained: it is asked once more, and given up
/// if it panics again.
fn ask(child: &mut dyn Wait) -> Asked {
    for _ in 0..2 {
        let asked = contain(|| match child.try_wait() {
            Ok(None) => Asked::Runs,
            Err(error) if !StatusLost::is(&error) => Asked::Failed,
            end => {
                trace::reaped(child.id(), By::OrphanQueue, &end.map(Option::unwrap_or_default));
                Asked::Done
            }
        });
        if let Some(asked) = asked {
            return asked;
        }
    }
    Asked::Done
}

impl Wait for Orphan {
    fn id(&self) -> u32 {
        self.child.id()
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        self.child.pidfd()
    }

    fn exit_thread(&self) -> io::Result<ExitThread> {
        self.child.exit_thread()
    }
}

/// A child of the library's without a handle.
#[derive(Debug)]
struct Abandoned {
    process: Process,
    has_deadline: bool,
}

impl Wait for Abandoned {
    fn id(&self) -> u32 {
        self.process.id()
    }

    /// The zombie of a group's leader is not kept for those who still have a handle: there would be
    /// no end to it. A deadline keeps it for its own time.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.process.try_wait()?;
        if status.is_some() && !self.has_deadline {
            self.process.reap_zombie();
        }
        Ok(status)
    }

    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        self.process.pidfd()
    }

    fn exit_thread(&self) -> io::Result<ExitThread> {
        self.process.exit_thread()
    }
}

/// Keeps the deadlines of the process's queue.
pub(crate) trait Timekeeper: fmt::Debug + Sync {
    /// The orphan of this deadline was reaped, or its queue has dropped it.
    fn orphan_is_gone(&self, ticket: Ticket);
}

/// The deadline of an orphan, whichever queue has that.
#[derive(Debug)]
pub(crate) struct ArmedDeadline {
    keeper: &'static dyn Timekeeper,
    ticket: Ticket,
}

impl ArmedDeadline {
    pub(crate) fn new(keeper: &'static dyn Timekeeper, ticket: Ticket) -> Self {
        Self { keeper, ticket }
    }
}

impl Drop for ArmedDeadline {
    fn drop(&mut self) {
        self.keeper.orphan_is_gone(self.ticket);
    }
}

/// When the grace period of `grace` is over; `None` if the clock does not reach that.
pub(crate) fn after(grace: std::time::Duration) -> Option<Instant> {
    Instant::now().checked_add(grace)
}
