//! Wakes a task after Tokio's I/O driver has had its turn, also if its waker polls in place.
//!
//! [`yield_now`](task::yield_now) puts the waker on the scheduler's list, which is woken after the
//! driver's turn. Tokio borrows that list while it wakes: a waker of another executor that polls its
//! task in place, which then yields again, would put itself on a list that is borrowed, and Tokio
//! panics. The tasks of Tokio's own never do that, since their wakers only schedule.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use tokio::runtime::Handle;
use tokio::task;

thread_local! {
    /// Whether this thread is in a wake-up from the list.
    static IS_WAKING: Cell<bool> = const { Cell::new(false) };
}

/// Wakes `waker` after the driver's turn; outside a runtime, now.
pub(crate) fn wake(waker: &Waker) {
    let waker = waker.clone();
    if !IS_WAKING.get() {
        let deferred = Waker::from(Arc::new(Deferred(waker)));
        let yielded = pin!(task::yield_now()).poll(&mut Context::from_waker(&deferred));
        debug_assert!(yielded.is_pending(), "the first poll never is ready");
    } else if let Ok(runtime) = Handle::try_current() {
        // Instead of the list: a task that the scheduler runs in its next round.
        runtime.spawn(async move { waker.wake() });
    } else {
        waker.wake();
    }
}

/// What is put on the list.
struct Deferred(Waker);

impl Wake for Deferred {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _waking = Waking(IS_WAKING.replace(true));
        self.0.wake_by_ref();
    }
}

/// Restores what was before, also after a panic.
struct Waking(bool);

impl Drop for Waking {
    fn drop(&mut self) {
        IS_WAKING.set(self.0);
    }
}
