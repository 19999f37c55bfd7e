//! `StateChanges`: the stops and continuations of one child, published to all who asked for them.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustix::process::Signal;

use super::wakers::{Wakers, wake_all};
use crate::kernel::fork_guard::ForkGuard;

/// What has happened to a child other than its exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateChange {
    /// This signal has stopped it: `SIGSTOP`, `SIGTSTP`, `SIGTTIN` or `SIGTTOU`.
    Stopped(Signal),
    /// It was stopped, and `SIGCONT` has continued it.
    Continued,
}

/// What has happened to the child since the stream was made, as
/// [`Child::state_changes`](crate::Child::state_changes) gives it.
///
/// A stream that is polled late returns the last change only: it keeps nothing but which of them it
/// has returned. So does the kernel, whose last change replaces one that was not collected.
pub struct StateChanges {
    broadcast: Arc<Broadcast>,
    /// The number of the last change that was returned.
    returned: u64,
    key: Option<u64>,
}

impl StateChanges {
    /// Begins with the stop that the child is in.
    pub(super) fn new(broadcast: Arc<Broadcast>) -> Self {
        let now = broadcast.state().snapshot;
        let is_stopped = !now.exited && matches!(now.change, Some(StateChange::Stopped(_)));
        Self { broadcast, returned: now.number - u64::from(is_stopped), key: None }
    }

    /// The stream of a child that has exited.
    pub(super) fn exited() -> Self {
        let broadcast = Arc::new(Broadcast::default());
        broadcast.publish_exit();
        Self::new(broadcast)
    }

    /// Waits for the next change; `None` once the child has exited.
    ///
    /// In a process that was forked from the child's parent it is `None` at once.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again, also in another runtime: what was not
    /// returned is returned then.
    pub async fn next(&mut self) -> Option<StateChange> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What [`next`](Self::next) polls. It needs no runtime: a thread wakes the task.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<StateChange>> {
        if !self.broadcast.guard.is_here() {
            return Poll::Ready(None);
        }
        let waker = cx.waker().clone();
        let mut state = self.broadcast.state();
        let now = state.snapshot;
        if now.number > self.returned {
            self.returned = now.number;
            drop(state);
            return Poll::Ready(now.change);
        }
        if now.exited {
            drop(state);
            return Poll::Ready(None);
        }
        let replaced = state.wakers.register(&mut self.key, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for StateChanges {
    fn drop(&mut self) {
        // In a forked process the lock may be held by a thread that is not there.
        if self.key.is_some() && self.broadcast.guard.is_here() {
            let waker = self.broadcast.state().wakers.remove(self.key);
            drop(waker);
        }
    }
}

impl fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("StateChanges");
        if self.broadcast.guard.is_here() {
            let now = self.broadcast.state().snapshot;
            f.field("last", &now.change)
                .field("returned", &(now.number == self.returned))
                .field("exited", &now.exited);
        }
        f.finish_non_exhaustive()
    }
}

/// The last change of a child, for all its streams.
pub(crate) struct Broadcast {
    state: Mutex<State>,
    guard: ForkGuard,
}

#[derive(Default)]
struct State {
    snapshot: Snapshot,
    wakers: Wakers,
}

#[derive(Clone, Copy, Default)]
struct Snapshot {
    change: Option<StateChange>,
    /// How many changes there were.
    number: u64,
    exited: bool,
}

impl Broadcast {
    /// Must not be called under the child's lock: it wakes.
    pub(super) fn publish(&self, change: StateChange) {
        self.update(|now| {
            now.change = Some(change);
            now.number += 1;
        });
    }

    /// Must not be called under the child's lock: it wakes.
    pub(super) fn publish_exit(&self) {
        self.update(|now| now.exited = true);
    }

    fn update(&self, update: impl FnOnce(&mut Snapshot)) {
        let wakers = {
            let mut state = self.state();
            update(&mut state.snapshot);
            state.wakers.take()
        };
        wake_all(wakers);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self { state: Mutex::default(), guard: ForkGuard::new() }
    }
}
