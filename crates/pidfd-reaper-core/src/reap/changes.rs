//! `StateChanges`: the stops and continuations of one child, told to all who asked for them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener};
use rustix::process::Signal;

use crate::kernel::sys;

/// What has happened to a child that did not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateChange {
    /// This signal has stopped it: `SIGSTOP`, `SIGTSTP`, `SIGTTIN` or `SIGTTOU`.
    Stopped(Signal),
    /// It was stopped, and `SIGCONT` has made it go on.
    Continued,
}

/// What has happened to the child since the stream was made, as
/// [`Child::state_changes`](crate::Child::state_changes) gives it.
///
/// A stream that is asked late gives the last change only: it keeps nothing but which of them it
/// has given. So does the kernel, whose last change replaces one that nobody has taken.
pub struct StateChanges {
    news: Arc<News>,
    /// The number of the last change that was given.
    given: u64,
    listener: Option<EventListener>,
}

impl StateChanges {
    /// Begins with the stop that the child is in.
    pub(super) fn of(news: Arc<News>) -> Self {
        let now = *news.now();
        let is_stopped = !now.ended && matches!(now.change, Some(StateChange::Stopped(_)));
        Self { news, given: now.number - u64::from(is_stopped), listener: None }
    }

    /// The stream of a child that has ended.
    pub(super) fn ended() -> Self {
        let news = Arc::new(News::default());
        news.end();
        Self::of(news)
    }

    /// Waits for the next change; `None` once the child has ended.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again, also in another runtime: what was not given
    /// is given then.
    pub async fn next(&mut self) -> Option<StateChange> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What [`next`](Self::next) polls. No runtime is needed: a thread wakes the task.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<StateChange>> {
        loop {
            let now = *self.news.now();
            if now.number > self.given {
                self.given = now.number;
                return Poll::Ready(now.change);
            }
            if now.ended || !self.news.is_of_this_process() {
                return Poll::Ready(None);
            }
            if let Some(listener) = &mut self.listener {
                ready!(Pin::new(listener).poll(cx));
                self.listener = None;
            } else {
                // Asked again after this: what came before is not told to it.
                self.listener = Some(self.news.event.listen());
            }
        }
    }
}

impl fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = *self.news.now();
        f.debug_struct("StateChanges")
            .field("last", &now.change)
            .field("given", &(now.number == self.given))
            .field("ended", &now.ended)
            .finish_non_exhaustive()
    }
}

/// The last change of a child, for all its streams.
pub(crate) struct News {
    now: Mutex<Now>,
    event: Event,
    forks: u32,
}

#[derive(Clone, Copy, Default)]
struct Now {
    change: Option<StateChange>,
    /// How many changes there were.
    number: u64,
    ended: bool,
}

impl News {
    pub(super) fn tell(&self, change: StateChange) {
        let mut now = self.now();
        let number = now.number + 1;
        *now = Now { change: Some(change), number, ..*now };
        drop(now);
        self.event.notify(usize::MAX);
    }

    pub(super) fn end(&self) {
        self.now().ended = true;
        self.event.notify(usize::MAX);
    }

    /// In a process that was forked off there is no thread that tells, and no such child.
    fn is_of_this_process(&self) -> bool {
        sys::forks() == self.forks
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for News {
    fn default() -> Self {
        Self { now: Mutex::default(), event: Event::new(), forks: sys::forks() }
    }
}
