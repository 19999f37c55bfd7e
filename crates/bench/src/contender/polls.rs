//! Counts how often the waits are polled.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

static POLLS: AtomicU64 = AtomicU64::new(0);

/// How often any wait was polled.
pub(crate) fn count() -> u64 {
    POLLS.load(Ordering::Acquire)
}

/// Counts the polls of `wait`, which stays where it is: a task takes hardly more room for it.
pub(crate) fn counted<F: Future>(mut wait: Pin<&mut F>) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let polled = wait.as_mut().poll(cx);
        POLLS.fetch_add(1, Ordering::Release);
        polled
    })
}
