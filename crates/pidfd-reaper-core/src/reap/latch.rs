//! `Latch`: tells once, to all who wait, that a thread has seen a child end.

use std::fmt;
use std::sync::PoisonError;

use event_listener::{Event, EventListener};

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

type Then = Box<dyn FnOnce() + Send>;

/// Set once; nobody who asks in the right order misses it.
pub(crate) struct Latch {
    set: AtomicBool,
    waiters: Event,
    then: Mutex<Vec<Then>>,
}

impl Latch {
    pub(crate) fn new() -> Self {
        Self { set: AtomicBool::new(false), waiters: Event::new(), then: Mutex::new(Vec::new()) }
    }

    /// Sets it, wakes all who listen, and does what was asked for.
    pub(crate) fn set(&self) {
        let then = {
            // Under the lock: `then` is stored before this, or its caller sees the latch set.
            let mut then = self.then();
            self.set.store(true, Ordering::SeqCst);
            std::mem::take(&mut *then)
        };
        self.waiters.notify(usize::MAX);
        for then in then {
            then();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Resolves when it is set. Ask [`is_set`](Self::is_set) after making it: what came before is
    /// not told.
    pub(crate) fn listen(&self) -> EventListener {
        self.waiters.listen()
    }

    /// Does `then` when it is set; here and now if it is already.
    pub(crate) fn then_do(&self, then: impl FnOnce() + Send + 'static) {
        let mut slots = self.then();
        if self.is_set() {
            drop(slots);
            then();
        } else {
            slots.push(Box::new(then));
        }
    }

    fn then(&self) -> MutexGuard<'_, Vec<Then>> {
        self.then.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("set", &self.is_set()).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models {
    use event_listener::Listener;
    use loom::thread;

    use super::*;
    use crate::sync::{Arc, AtomicUsize};

    #[test]
    fn no_waiter_misses_it() {
        loom::model(|| {
            let latch = Arc::new(Latch::new());
            let setter = Arc::clone(&latch);
            let setter = thread::spawn(move || setter.set());
            let listener = latch.listen();
            if !latch.is_set() {
                // A deadlock, which loom reports, if the notification went past.
                listener.wait();
            }
            assert!(latch.is_set());
            setter.join().unwrap();
        });
    }

    #[test]
    fn what_was_asked_for_is_done_once() {
        loom::model(|| {
            let latch = Arc::new(Latch::new());
            let setter = Arc::clone(&latch);
            let setter = thread::spawn(move || setter.set());
            let done = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&done);
            latch.then_do(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            setter.join().unwrap();
            assert_eq!(done.load(Ordering::SeqCst), 1);
        });
    }
}
