//! `ExitThread`: a thread that blocks in `waitid` until one child exits, where there is no pidfd.
//!
//! It waits for that child only, and with `WNOWAIT`: it leaves the zombie, with its status and its
//! PID, to the child's owner. No signal is involved, so no other code can take it away.

use std::fmt;
use std::io;
use std::sync::PoisonError;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions};

use super::thread;
use super::wakers::{Wakers, contain, wake_all};
use crate::kernel::fork_guard::ForkGuard;
use crate::kernel::sys::{self, Target};
use crate::kernel::{self, retry};
use crate::sync::{Arc, Mutex, MutexGuard};

/// A thread that waits for the exit of one child, and leaves the reaping to others.
///
/// It returns when the child exits. Clones share the thread. See `WNOWAIT` in
/// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
#[derive(Clone)]
pub struct ExitThread(Arc<Shared>);

struct Shared {
    pid: Pid,
    guard: ForkGuard,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How the `waitid` of the thread has ended.
    outcome: Option<Result<(), Errno>>,
    wakers: Wakers,
    then: Vec<Box<dyn FnOnce() + Send>>,
}

impl ExitThread {
    /// Starts the thread for the child `pid`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` or `ENOMEM` if the thread cannot be started (`RLIMIT_NPROC`, the pids cgroup): try
    /// again later. `EINVAL` if `pid` is no PID.
    pub fn start(pid: u32) -> io::Result<Self> {
        let pid = kernel::pid(pid).ok_or(Errno::INVAL)?;
        let this = Self::not_started(pid);
        let shared = Arc::clone(&this.0);
        thread::start("wait", pid, move || {
            const EXIT: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOWAIT);
            let waited = retry(|| sys::waitid(Target::Pid(pid), EXIT));
            shared.finish(waited.map(drop));
        })?;
        Ok(this)
    }

    fn not_started(pid: Pid) -> Self {
        let (guard, state) = (ForkGuard::new(), Mutex::new(State::default()));
        Self(Arc::new(Shared { pid, guard, state }))
    }

    /// Whether the thread has returned: the child has exited, or cannot be waited for by PID.
    #[must_use]
    pub fn has_returned(&self) -> bool {
        self.0.guard.is_here() && self.0.state().outcome.is_some()
    }

    /// What one waiter polls.
    pub(crate) fn listen(&self) -> ExitListener {
        ExitListener { thread: self.clone(), key: None }
    }

    /// Runs `then` on the thread before it returns; here and now if it has returned.
    pub(crate) fn on_return(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state();
        if state.outcome.is_some() {
            drop(state);
            then();
        } else {
            state.then.push(Box::new(then));
        }
    }
}

impl Shared {
    /// Publishes the outcome, does what was asked for, and wakes all who wait.
    ///
    /// The outcome is stored, and the wakers are taken, under one lock. So a waiter that registers
    /// either finds the outcome or is among those that are woken, and `on_return` finds the outcome
    /// or has its closure run here. All of that is foreign code and runs after the lock is released.
    fn finish(&self, outcome: Result<(), Errno>) {
        let (then, wakers) = {
            let mut state = self.state();
            state.outcome = Some(outcome);
            (std::mem::take(&mut state.then), state.wakers.take())
        };
        for then in then {
            contain(then);
        }
        wake_all(wakers);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiter of an [`ExitThread`].
#[derive(Debug)]
pub(crate) struct ExitListener {
    thread: ExitThread,
    key: Option<u64>,
}

impl ExitListener {
    /// Ready when the thread has returned: `ECHILD` if there is no such child, another error if a
    /// filter refuses `waitid`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        let waker = cx.waker().clone();
        let mut state = self.thread.0.state();
        if let Some(outcome) = state.outcome {
            drop(state);
            return Poll::Ready(outcome);
        }
        let replaced = state.wakers.register(&mut self.key, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for ExitListener {
    fn drop(&mut self) {
        // In a forked process the lock may be held by a thread that is not there.
        if self.key.is_some() && self.thread.0.guard.is_here() {
            let waker = self.thread.0.state().wakers.remove(self.key);
            drop(waker);
        }
    }
}

impl fmt::Debug for ExitThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitThread")
            .field("pid", &self.0.pid)
            .field("has_returned", &self.has_returned())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::task::{Wake, Waker};

    use loom::sync::Condvar;
    use loom::thread;

    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    /// A task that sleeps until it is woken; a wake-up that is lost shows as a deadlock.
    #[derive(Default)]
    struct Task(Mutex<bool>, Condvar);

    impl Wake for Task {
        fn wake(self: std::sync::Arc<Self>) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }

    impl Task {
        fn sleep(&self) {
            let mut woken = self.0.lock().unwrap();
            while !*woken {
                woken = self.1.wait(woken).unwrap();
            }
        }
    }

    fn thread() -> ExitThread {
        ExitThread::not_started(Pid::INIT)
    }

    #[test]
    fn a_listener_never_misses_the_return() {
        loom::model(|| {
            let thread = thread();
            let shared = Arc::clone(&thread.0);
            let returns = thread::spawn(move || shared.finish(Ok(())));
            let task = std::sync::Arc::new(Task::default());
            let waker = Waker::from(std::sync::Arc::clone(&task));
            let mut listener = thread.listen();
            if listener.poll(&mut Context::from_waker(&waker)).is_pending() {
                task.sleep();
                assert!(listener.poll(&mut Context::from_waker(&waker)).is_ready());
            }
            returns.join().unwrap();
        });
    }

    #[test]
    fn a_listener_may_be_dropped_at_any_time() {
        loom::model(|| {
            let thread = thread();
            let shared = Arc::clone(&thread.0);
            let returns = thread::spawn(move || shared.finish(Ok(())));
            let mut listener = thread.listen();
            let _ = listener.poll(&mut Context::from_waker(Waker::noop()));
            drop(listener);
            returns.join().unwrap();
        });
    }

    #[test]
    fn what_was_asked_for_is_done_once() {
        loom::model(|| {
            let thread = thread();
            let shared = Arc::clone(&thread.0);
            let returns = thread::spawn(move || shared.finish(Ok(())));
            let done = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&done);
            thread.on_return(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            returns.join().unwrap();
            assert_eq!(done.load(Ordering::SeqCst), 1);
        });
    }
}
