//! What stands in for readiness where there is no pidfd: a thread that blocks in `waitid`.
//!
//! It asks for the one child only, and with `WNOWAIT`: it learns of the exit and leaves the zombie,
//! with its status and its number, to the child's owner. No signal is involved, so nobody can take
//! it away.

use std::fmt;
use std::io;
use std::sync::Arc;

use event_listener::EventListener;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::latch::Latch;
use super::thread;
use crate::kernel;

/// A thread that waits for the end of one child, and leaves the reaping to others.
///
/// It goes when the child ends. Clones share the thread. See `WNOWAIT` in
/// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
#[derive(Clone)]
pub struct Watch(Arc<Watched>);

struct Watched {
    pid: Pid,
    ended: Latch,
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
        let watched = Arc::new(Watched { pid, ended: Latch::new() });
        let told = Arc::clone(&watched);
        thread::start("wait", pid, "it has no pidfd, so that a thread waits for it", move || {
            // An error means that there is no such child: something else has reaped it, as its
            // owner will see.
            let _ = retry_on_intr(|| {
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            });
            told.ended.set();
        })?;
        Ok(Self(watched))
    }

    /// Whether the child has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.is_set()
    }

    /// Resolves when the child ends. Ask [`has_ended`](Self::has_ended) after making it: an end
    /// before is not told.
    #[must_use]
    pub fn listen(&self) -> EventListener {
        self.0.ended.listen()
    }

    /// Runs `then` on the thread when the child has ended; here and now if it has already.
    pub(crate) fn on_end(&self, then: impl FnOnce() + Send + 'static) {
        self.0.ended.then_do(then);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("pid", &self.0.pid)
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
