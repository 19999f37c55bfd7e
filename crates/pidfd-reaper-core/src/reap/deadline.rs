//! `Deadlines`: when abandoned children that were asked to exit are killed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::Process;

/// What is killed at a deadline.
pub(crate) trait Target: fmt::Debug + Send + Sync {
    /// Whether nothing of it runs: there is nothing to kill.
    fn is_over(&self) -> bool;

    fn kill(&self);
}

/// The scope of a child without a handle.
#[derive(Debug)]
pub(crate) struct AbandonedScope(pub(crate) Process);

impl Target for AbandonedScope {
    fn is_over(&self) -> bool {
        // What of it is kept, a pidfd or a zombie, is given up then.
        self.0.is_scope_empty() && self.0.release()
    }

    fn kill(&self) {
        // An error means that it is empty, or that it runs as another user.
        let _ = self.0.signal_scope(Signal::KILL);
        self.0.release();
    }
}

/// Names a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(Instant, u64);

/// All deadlines, by time.
#[derive(Debug)]
pub(crate) struct Deadlines {
    by_time: BTreeMap<Ticket, Entry>,
    next: u64,
    /// How many have no orphan any more.
    detached: usize,
    /// The pause before those are looked at again.
    pause: Duration,
}

#[derive(Debug)]
struct Entry {
    target: Arc<dyn Target>,
    /// Whether the orphan was reaped, and the rest of its group has its grace.
    is_detached: bool,
}

const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self { by_time: BTreeMap::new(), next: 0, detached: 0, pause: PAUSE }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// How many have no orphan any more.
    pub(crate) fn detached(&self) -> usize {
        self.detached
    }

    pub(crate) fn add(&mut self, at: Instant, target: Arc<dyn Target>) -> Ticket {
        let ticket = Ticket(at, self.next);
        self.next += 1;
        self.by_time.insert(ticket, Entry { target, is_detached: false });
        ticket
    }

    /// Its orphan was reaped: from now on the target is looked at, since no event shows when the last
    /// of a group has exited. It is returned to be looked at for the first time.
    pub(crate) fn detach(&mut self, ticket: Ticket) -> Option<Arc<dyn Target>> {
        let entry = self.by_time.get_mut(&ticket)?;
        self.detached += usize::from(!entry.is_detached);
        entry.is_detached = true;
        self.pause = PAUSE;
        Some(Arc::clone(&entry.target))
    }

    /// When there is something to do again.
    pub(crate) fn next_time(&self, now: Instant) -> Option<Instant> {
        let first = self.by_time.keys().next()?.0;
        Some(if self.detached > 0 { first.min(now + self.pause) } else { first })
    }

    /// Takes all, to carry them out now.
    pub(crate) fn take_all(&mut self) -> Vec<Arc<dyn Target>> {
        self.detached = 0;
        std::mem::take(&mut self.by_time).into_values().map(|entry| entry.target).collect()
    }

    /// Takes those that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Arc<dyn Target>> {
        let later = self.by_time.split_off(&Ticket(now, u64::MAX));
        let due = std::mem::replace(&mut self.by_time, later);
        self.detached -= due.values().filter(|entry| entry.is_detached).count();
        due.into_values().map(|entry| entry.target).collect()
    }

    /// Those without an orphan, to look at them after the lock is released. They stay in here until
    /// they are [removed](Self::remove): a queue with deadlines is not left by its thread.
    pub(crate) fn looked_at(&mut self) -> Vec<(Ticket, Arc<dyn Target>)> {
        if self.detached == 0 {
            return Vec::new();
        }
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
        let detached = self.by_time.iter().filter(|(_, entry)| entry.is_detached);
        detached.map(|(ticket, entry)| (*ticket, Arc::clone(&entry.target))).collect()
    }

    /// Removes one that is over.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let removed = self.by_time.remove(&ticket);
        self.detached -= usize::from(removed.is_some_and(|entry| entry.is_detached));
    }
}
