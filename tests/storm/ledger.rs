//! What has become of the children so far: counted, and told when it was wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::program::Plan;

/// Why a child's task has not seen it through.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It could not be spawned, so there must be nothing of it.
    Refused(io::Error),
    /// A promise was broken.
    Broken(String),
}

/// The books of one storm.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    spawned: AtomicUsize,
    alive: AtomicUsize,
    most_alive: AtomicUsize,
    refused: AtomicUsize,
    without_pidfd: AtomicUsize,
    tried_again: AtomicUsize,
    /// Those of which the task still owes the end, by runtime and number.
    open: Mutex<BTreeMap<(&'static str, usize), Plan>>,
    broken: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn begins(&self, runtime: &'static str, plan: Plan) {
        lock(&self.open).insert((runtime, plan.number), plan);
    }

    pub(crate) fn spawned(&self) {
        self.spawned.fetch_add(1, Relaxed);
        let alive = self.alive.fetch_add(1, Relaxed) + 1;
        self.most_alive.fetch_max(alive, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn without_pidfd(&self) {
        self.without_pidfd.fetch_add(1, Relaxed);
    }

    pub(crate) fn tried_again(&self) {
        self.tried_again.fetch_add(1, Relaxed);
    }

    pub(crate) fn ends(&self, runtime: &'static str, plan: Plan, end: Result<(), Fault>) {
        lock(&self.open).remove(&(runtime, plan.number));
        if let Err(fault) = end {
            lock(&self.broken).push(format!("{runtime}, {plan:?}: {fault}"));
        }
        self.alive.fetch_sub(1, Relaxed);
    }

    /// All promises that were broken, and the children of which the end was never told.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let owed = |(&(runtime, _), plan): (&_, &Plan)| format!("{runtime}, {plan:?}: never ended");
        let mut complaints = lock(&self.broken).clone();
        complaints.extend(lock(&self.open).iter().map(owed));
        complaints
    }

    /// Whether anything went short: descriptors or processes for a spawn, or a thread for a wait.
    pub(crate) fn went_short(&self) -> bool {
        self.refused.load(Relaxed) + self.tried_again.load(Relaxed) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "not spawned: {error}"),
            Self::Broken(promise) => f.write_str(promise),
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} children, {} alive at once, {} spawns refused, {} seen to have no pidfd, {} waits \
             tried again",
            self.spawned.load(Relaxed),
            self.most_alive.load(Relaxed),
            self.refused.load(Relaxed),
            self.without_pidfd.load(Relaxed),
            self.tried_again.load(Relaxed),
        )
    }
}
