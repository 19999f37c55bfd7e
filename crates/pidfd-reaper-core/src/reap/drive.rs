//! Drives the orphan queue on a runtime's reactor, where no thread can be started.
//!
//! A thread may be refused for long: by a limit (`RLIMIT_NPROC`, the pids cgroup, `RLIMIT_AS`), by a
//! filter, or because the calling thread has a new PID namespace for its children (`unshare`). A
//! runtime that runs can do what the thread would: its reactor watches the queue's epoll, and the
//! waker of that takes the events.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::registered::Registered;
use crate::reactor::{Interest, Reactor, SharedFd};

/// What the thread would call.
pub(crate) trait Driven: Sync {
    /// Takes the events that there are, until there are none
    /// ([`WouldBlock`](io::ErrorKind::WouldBlock)) or nothing is left to be driven (`Ok`).
    fn turn_without_blocking(&'static self) -> io::Result<()>;

    /// The reactor is gone.
    fn driver_is_gone(&'static self);
}

/// Starts to drive a queue, whose epoll is the descriptor, on the reactor of the calling context.
pub(crate) type Drive = fn(&'static dyn Driven, SharedFd) -> io::Result<()>;

/// [`Drive`] for the reactor `R`.
pub(crate) fn on_reactor<R: Reactor>(
    queue: &'static dyn Driven,
    epoll: SharedFd,
) -> io::Result<()> {
    let registered = Registered::with(R::current()?, epoll, Interest::Readable)?;
    let state = Mutex::new(State { registered: Some(registered), is_woken: false });
    Arc::new(Driver { queue, state }).turn();
    Ok(())
}

/// The waker of the queue's epoll. It is kept by the source that it keeps, until the queue has
/// nothing left to do or the reactor is gone.
struct Driver<R: Reactor> {
    queue: &'static dyn Driven,
    state: Mutex<State<R>>,
}

struct State<R: Reactor> {
    /// Taken out while a thread polls it, and gone at the end.
    registered: Option<Registered<R>>,
    /// Whether it was woken while a thread polls it.
    is_woken: bool,
}

impl<R: Reactor> Driver<R> {
    /// Polls the source. It is polled after the lock is released: that runs foreign code.
    ///
    /// A wake-up that comes while a thread polls is noted, and that thread polls again. So none is
    /// lost, and no two threads poll at once.
    fn turn(self: &Arc<Self>) {
        let Some(mut registered) = self.take() else { return };
        let waker = Waker::from(Arc::clone(self));
        loop {
            let mut cx = Context::from_waker(&waker);
            let polled = registered.poll_io(&mut cx, |_| self.queue.turn_without_blocking());
            match polled {
                Poll::Ready(Ok(())) => return,
                Poll::Ready(Err(_)) => return self.queue.driver_is_gone(),
                Poll::Pending => match self.put_back(registered) {
                    None => return,
                    Some(woken_meanwhile) => registered = woken_meanwhile,
                },
            }
        }
    }

    fn take(&self) -> Option<Registered<R>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_woken = true;
        let registered = state.registered.take()?;
        state.is_woken = false;
        Some(registered)
    }

    fn put_back(&self, registered: Registered<R>) -> Option<Registered<R>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.is_woken) {
            return Some(registered);
        }
        state.registered = Some(registered);
        None
    }
}

impl<R: Reactor> Wake for Driver<R> {
    fn wake(self: Arc<Self>) {
        self.turn();
    }
}
