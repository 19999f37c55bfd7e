//! `ProcessQueue`: the orphan queue of this process, which a forked process does not share.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
#[cfg(all(test, loom))]
use std::sync::LazyLock;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use super::deadline::Target;
use super::drive::Drive;
use super::orphan::{ArmedDeadline, Orphan, OrphanQueue};
use super::queue::{Edges, Patience, Queue, TIMER, is_closed};
use super::timer;
use super::wait::Wait;
use crate::kernel::edge::EdgeEpoll;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::sys::generation::{close_on_fork, generation, keep_on_fork};
use crate::reactor::SharedFd;
use crate::sync::Arc;

/// The queue of this process. A forked process has its own, and nothing of its parent's.
///
/// Its parent's queue stays in its memory as it was: its lock may be held, and its descriptors were
/// closed by the fork.
pub(crate) fn of_this_process() -> &'static ProcessQueue {
    cfg_if::cfg_if! {
        if #[cfg(all(test, loom))] {
            static FIRST: LazyLock<ProcessQueue> = LazyLock::new(ProcessQueue::new);
        } else {
            static FIRST: ProcessQueue = ProcessQueue::new();
        }
    }
    let mut queue: &ProcessQueue = &FIRST;
    let here = generation();
    while !queue.is_of(here) {
        queue = queue.forked.get_or_init(|| Box::new(ProcessQueue::new()));
    }
    queue
}

/// The [`OrphanQueue`] of the process; see [`orphans`](crate::orphans).
#[derive(Debug)]
pub struct ProcessQueue {
    queue: Queue<QueueEpoll>,
    /// Of the process that uses it; zero before.
    generation: AtomicU32,
    /// The queue of the process that was forked from this one.
    forked: OnceLock<Box<ProcessQueue>>,
}

impl ProcessQueue {
    #[cfg(not(all(test, loom)))]
    const fn new() -> Self {
        Self { queue: Queue::new(), generation: AtomicU32::new(0), forked: OnceLock::new() }
    }

    #[cfg(all(test, loom))]
    fn new() -> Self {
        Self { queue: Queue::new(), generation: AtomicU32::new(0), forked: OnceLock::new() }
    }

    fn is_of(&self, generation: u32) -> bool {
        match self.generation.load(Ordering::Relaxed) {
            0 => {
                let taken = self.generation.compare_exchange(
                    0,
                    generation,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                taken.is_ok() || taken == Err(generation)
            }
            taken => taken == generation,
        }
    }

    /// How many abandoned children are not done with.
    ///
    /// That is until they are reaped; with a grace period for a whole group
    /// ([`terminate_on_drop`](crate::Command::terminate_on_drop)), until the group is empty or was
    /// killed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether all abandoned children are done with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tries again to look after orphans for which there was neither a descriptor nor a thread.
    ///
    /// Every spawn, wait and drop does this by itself. Without such orphans it reads one atomic.
    pub fn retry(&'static self) {
        self.queue.retry();
    }

    /// Has `target` killed at `at`, or now if nothing could do it then.
    pub(crate) fn arm(
        &'static self,
        at: Instant,
        target: std::sync::Arc<dyn Target>,
        drive: Option<Drive>,
    ) -> Option<ArmedDeadline> {
        self.queue.arm(at, target, drive)
    }
}

impl OrphanQueue for ProcessQueue {
    fn push(&'static self, orphan: Orphan) {
        self.queue.push(orphan);
    }
}

/// An epoll of pidfds, and of a timer.
#[derive(Debug)]
struct QueueEpoll {
    /// There until the drop.
    fds: Option<(EdgeEpoll, OwnedFd)>,
    is_disowned: AtomicBool,
}

impl QueueEpoll {
    fn fds(&self) -> &(EdgeEpoll, OwnedFd) {
        self.fds.as_ref().expect("only the drop takes them")
    }
}

impl Edges for QueueEpoll {
    type Handle = std::sync::Arc<Pidfd>;

    fn new() -> io::Result<Self> {
        let (epoll, timer) = (EdgeEpoll::new()?, timer::new_timerfd()?);
        epoll.add(timer.as_fd(), TIMER)?;
        close_on_fork([epoll.as_fd().as_raw_fd(), timer.as_raw_fd()]);
        Ok(Self { fds: Some((epoll, timer)), is_disowned: AtomicBool::new(false) })
    }

    fn handle(orphan: &Orphan) -> io::Result<Self::Handle> {
        orphan.pidfd()
    }

    fn watch(&self, pidfd: &Self::Handle, key: u64) -> io::Result<()> {
        self.fds().0.add(pidfd.as_fd(), key)
    }

    fn set_timer(&self, duration: Duration) -> bool {
        // That the program has closed the descriptor shows in the wait.
        timer::set(&self.fds().1, duration).map_or_else(|error| is_closed(&error), |()| true)
    }

    fn wait(&self, keys: &mut Vec<u64>, patience: Patience) -> io::Result<()> {
        const LINGER: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        keys.clear();
        let timeout = match patience {
            Patience::Endless => None,
            Patience::Linger => Some(&LINGER),
            Patience::None => Some(&NONE),
        };
        match self.fds().0.wait(timeout, |key| keys.push(key)) {
            // Signals are blocked in the thread: a tracer or a filter does that.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if patience != Patience::None {
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            waited => waited,
        }
    }

    fn fd(this: &Arc<Self>) -> Option<SharedFd> {
        cfg_if::cfg_if! {
            if #[cfg(all(test, loom))] {
                let _ = this;
                None
            } else {
                Some(SharedFd::of_queue(Arc::clone(this)))
            }
        }
    }

    fn disown(&self) {
        self.is_disowned.store(true, Ordering::Relaxed);
    }
}

impl AsFd for QueueEpoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fds().0.as_fd()
    }
}

impl Drop for QueueEpoll {
    fn drop(&mut self) {
        let Some((epoll, timer)) = self.fds.take() else { return };
        keep_on_fork([epoll.as_fd().as_raw_fd(), timer.as_raw_fd()]);
        if self.is_disowned.load(Ordering::Relaxed) {
            mem::forget((epoll, timer));
        }
    }
}
