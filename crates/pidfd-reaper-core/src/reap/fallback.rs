//! What stands in for readiness where there is no pidfd: a thread that blocks in `waitid`.
//!
//! It asks for the one child only, and with `WNOWAIT`: it learns of the exit and leaves the zombie,
//! with its status and its number, to the child's owner. No signal is involved, so nobody can take
//! it away.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use event_listener::{Event, EventListener};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::kernel::{self, sys};

/// A thread that waits for the end of one child, and leaves the reaping to others.
///
/// It goes when the child ends. Clones share the thread. See `WNOWAIT` in
/// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

struct Shared {
    pid: Pid,
    ended: AtomicBool,
    waiters: Event,
    /// What the orphan queue wants done, on the thread, when the child has ended.
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Watch {
    /// Starts the thread for the child `pid`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` or `ENOMEM` if no thread can be made (`RLIMIT_NPROC`, the pids cgroup): try again
    /// later. `EINVAL` if `pid` is no number of a process.
    pub fn start(pid: u32) -> io::Result<Self> {
        let pid = kernel::pid(pid).ok_or(Errno::INVAL)?;
        let shared = Arc::new(Shared {
            pid,
            ended: AtomicBool::new(false),
            waiters: Event::new(),
            then: Mutex::new(None),
        });
        let watched = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("wait-{pid}"))
            .stack_size(crate::THREAD_STACK)
            .spawn(move || watched.run())
            .map_err(|error| no_thread(&error, pid))?;
        Ok(Self(shared))
    }

    /// Whether the child has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Resolves when the child ends. Ask [`has_ended`](Self::has_ended) after making it: an end
    /// before is not told.
    #[must_use]
    pub fn listen(&self) -> EventListener {
        self.0.waiters.listen()
    }

    /// Runs `then` on the thread when the child has ended; here and now if it has already.
    pub(crate) fn on_end(&self, then: impl FnOnce() + Send + 'static) {
        let mut slot = self.0.then();
        if self.has_ended() {
            drop(slot);
            then();
        } else {
            *slot = Some(Box::new(then));
        }
    }
}

impl Shared {
    fn run(&self) {
        sys::block_signals_in_this_thread();
        // An error means that there is no such child: something else has reaped it, and its owner
        // will see.
        let _ = retry_on_intr(|| {
            waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        });
        let then = {
            let mut slot = self.then();
            self.ended.store(true, Ordering::Release);
            slot.take()
        };
        self.waiters.notify(usize::MAX);
        if let Some(then) = then {
            then();
        }
    }

    fn then(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn FnOnce() + Send>>> {
        self.then.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_thread(error: &io::Error, pid: Pid) -> io::Error {
    let message = format!(
        "child {pid} has no pidfd, and no thread can be made to wait for it: {error} \
         (RLIMIT_NPROC? the pids cgroup?); the child is untouched, wait again later"
    );
    io::Error::new(error.kind(), message)
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("pid", &self.0.pid)
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
