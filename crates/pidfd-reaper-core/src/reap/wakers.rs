//! `Wakers`: the tasks that wait for one thing.
//!
//! A waker is foreign code. Its `wake` may poll the task in place, drop it with the child that it
//! owns, or panic; its `clone` and `drop` may do the same. So a waker is cloned before a lock of this
//! library is taken, and woken and dropped after the lock is released: what it calls may take that
//! lock.

use std::collections::BTreeMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// A key for each task that waits. It lives under the lock of whatever the tasks wait for.
#[derive(Default)]
pub(crate) struct Wakers {
    by_key: BTreeMap<u64, Waker>,
    next_key: u64,
}

impl Wakers {
    /// Registers `waker` under `key`, or under a new one.
    ///
    /// Drop the waker that it replaces after the lock is released.
    #[must_use]
    pub(crate) fn register(&mut self, key: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next_key += 1;
            self.next_key
        });
        self.by_key.insert(key, waker)
    }

    /// Drop the waker after the lock is released.
    #[must_use]
    pub(crate) fn remove(&mut self, key: Option<u64>) -> Option<Waker> {
        self.by_key.remove(&key?)
    }

    /// Takes all, to be [woken](wake_all) after the lock is released.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        mem::take(&mut self.by_key).into_values()
    }
}

/// Wakes each; one that panics keeps no other from being woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}

/// Runs foreign code on a thread that has more to do. Whether it has not panicked.
///
/// The panic hook has printed the panic by then. Its payload is forgotten: the drop of that could
/// panic again.
pub(crate) fn contain<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(foreign)).map_err(mem::forget).ok()
}
