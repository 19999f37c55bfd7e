//! `Deadlines`: when abandoned children that were asked to end are killed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::process::Signal;

use super::process::Process;
use super::signal::KillScope;
use super::timer;

/// The key of the timer's edges; no orphan gets that far.
pub(crate) const TIMER_KEY: u64 = u64::MAX;

/// When a child that has no handle any more is killed, unless it has ended by then.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) process: Process,
    pub(crate) scope: KillScope,
}

impl Deadline {
    pub(crate) fn carry_out(&self) {
        // An error means that it was reaped meanwhile.
        let _ = self.process.signal_in(self.scope, Signal::KILL);
    }
}

/// Names a deadline, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(Instant, u64);

/// All deadlines, and the one timer that is set to the nearest.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// There while there are deadlines.
    timer: Option<OwnedFd>,
    by_time: BTreeMap<Ticket, Deadline>,
    next: u64,
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self { timer: None, by_time: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// Adds `deadline`, having `watch` see the timer if there was none; on error it is given back.
    pub(crate) fn add(
        &mut self,
        deadline: Deadline,
        watch: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<Ticket, Deadline> {
        if self.timer.is_none() {
            let watched = timer::new_timerfd().and_then(|timer| {
                watch(timer.as_fd())?;
                Ok(timer)
            });
            match watched {
                Ok(timer) => self.timer = Some(timer),
                Err(_) => return Err(deadline),
            }
        }
        let ticket = Ticket(deadline.at, self.next);
        self.next += 1;
        self.by_time.insert(ticket, deadline);
        self.arm();
        Ok(ticket)
    }

    /// Takes one back: its child has ended.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.by_time.remove(&ticket);
        if self.is_empty() {
            // Wakes the thread, which may have nothing left to do.
            self.arm();
        }
    }

    /// Takes those that are due, and sets the timer to the next.
    pub(crate) fn take_due(&mut self) -> Vec<Deadline> {
        let later = self.by_time.split_off(&Ticket(Instant::now(), u64::MAX));
        let due = std::mem::replace(&mut self.by_time, later);
        if self.is_empty() {
            self.timer = None;
        } else {
            self.arm();
        }
        due.into_values().collect()
    }

    fn arm(&self) {
        let now = Instant::now();
        let next = self.by_time.keys().next().map_or(now, |ticket| ticket.0);
        if let Some(timer) = &self.timer {
            // It cannot fail: the time is a valid one, and the descriptor ours.
            let _ = timer::set(timer, next.saturating_duration_since(now));
        }
    }
}
