//! Counts how often the waits are polled.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

static POLLS: AtomicU64 = AtomicU64::new(0);

/// How often any wait was polled.
pub(crate) fn count() -> u64 {
    POLLS.load(Ordering::Acquire)
}

/// Counts the polls of `wait`.
pub(crate) async fn counted<F: Future>(wait: F) -> F::Output {
    let mut wait = pin!(wait);
    poll_fn(|cx| {
        let polled = wait.as_mut().poll(cx);
        POLLS.fetch_add(1, Ordering::Release);
        polled
    })
    .await
}
