//! `Orphan` and `OrphanQueue`: who looks after a child that was abandoned alive.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use super::deadline::{Deadline, Ticket};
use super::fallback::Watch;
use super::process::Process;
use super::wait::Wait;
use crate::kernel::pidfd::Pidfd;
use crate::trace::{self, By};

/// Takes abandoned children, and reaps each when it ends.
///
/// The library brings one for the process ([`orphans`](crate::orphans)). Another is given by a
/// [`Reactor`](crate::Reactor) that knows better, or by a test.
pub trait OrphanQueue: fmt::Debug + Sync {
    /// Takes over `orphan`, which may have ended by now. It is called from a `Drop`: it must not
    /// block for long, nor panic.
    fn push(&'static self, orphan: Orphan);
}

/// A child that was abandoned alive: what is left to do is to reap it, and perhaps to kill it
/// before.
#[derive(Debug)]
pub struct Orphan {
    pub(crate) child: Box<dyn Wait + Send>,
    pub(crate) last_word: Option<LastWord>,
}

/// What was asked for in the drop of a child that has a time to end by itself.
#[derive(Debug)]
pub(crate) enum LastWord {
    ToBeSet(Deadline),
    Set(Ticket),
}

impl Orphan {
    /// Reaps `child` if it has ended by now, else hands it to `queue`.
    pub(crate) fn abandon(mut child: impl Wait + Send + 'static, queue: &'static dyn OrphanQueue) {
        if runs(&mut child) {
            trace::orphaned(child.id());
            queue.push(Self { child: Box::new(child), last_word: None });
        }
    }

    /// Hands `process` to `queue`; one that has a pidfd without asking it first, for that shows its
    /// end, also if it lies in the past.
    pub(crate) fn abandon_process(
        mut process: Process,
        deadline: Option<Deadline>,
        queue: &'static dyn OrphanQueue,
    ) {
        if process.has_pidfd() || runs(&mut process) {
            trace::orphaned(process.id());
            let last_word = deadline.map(LastWord::ToBeSet);
            queue.push(Self { child: Box::new(process), last_word });
        }
    }

    /// Reaps it if it has ended; whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        runs(&mut *self.child)
    }
}

fn runs(child: &mut dyn Wait) -> bool {
    let end = child.try_wait().transpose();
    if let Some(end) = &end {
        trace::reaped(child.id(), By::OrphanQueue, end);
    }
    end.is_none()
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

    fn watch(&self) -> io::Result<Watch> {
        self.child.watch()
    }
}
