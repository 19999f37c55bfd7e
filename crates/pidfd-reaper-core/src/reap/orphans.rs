//! `ProcessQueue`: the orphan queue of this process, which a process that is forked off does not
//! share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(loom)]
use std::sync::LazyLock;
use std::sync::{Arc, OnceLock};

use super::orphan::{Orphan, OrphanQueue};
use super::queue::{Edges, Queue};
use super::wait::Wait;
use crate::kernel::edge::EdgeEpoll;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::sys;

/// The queue of this process. One that was forked off has its own, and nothing of its parent's.
pub(crate) fn of_this_process() -> &'static ProcessQueue {
    cfg_if::cfg_if! {
        if #[cfg(loom)] {
            static FIRST: LazyLock<ProcessQueue> = LazyLock::new(ProcessQueue::new);
        } else {
            static FIRST: ProcessQueue = ProcessQueue::new();
        }
    }
    let mut queue: &ProcessQueue = &FIRST;
    for _ in 0..sys::forks() {
        let parents = queue;
        queue = parents.forked.get_or_init(|| {
            parents.queue.forget();
            Box::new(ProcessQueue::new())
        });
    }
    queue
}

/// The [`OrphanQueue`] of the process; see [`orphans`](crate::orphans).
#[derive(Debug)]
pub struct ProcessQueue {
    queue: Queue<EdgeEpoll>,
    /// The queue of the process that was forked off this one.
    forked: OnceLock<Box<ProcessQueue>>,
}

impl ProcessQueue {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self { queue: Queue::new(), forked: OnceLock::new() }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self { queue: Queue::new(), forked: OnceLock::new() }
    }

    /// How many abandoned children were not reaped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether every abandoned child was reaped.
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
}

impl OrphanQueue for ProcessQueue {
    fn push(&'static self, orphan: Orphan) {
        self.queue.push(orphan);
    }
}

impl Edges for EdgeEpoll {
    type Handle = Arc<Pidfd>;

    fn new() -> io::Result<Self> {
        Self::new()
    }

    fn handle(orphan: &Orphan) -> io::Result<Arc<Pidfd>> {
        orphan.pidfd()
    }

    fn watch(&self, pidfd: &Arc<Pidfd>, key: u64) -> io::Result<()> {
        self.add(pidfd.as_fd(), key)
    }

    fn watch_timer(&self, timer: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add(timer, key)
    }

    fn wait(&self, keys: &mut Vec<u64>, linger: bool) {
        keys.clear();
        // No other error than an interruption can happen: the descriptor is ours and valid.
        let _ = self.wait(linger.then_some(&LINGER), |key| keys.push(key));
    }
}

/// How long the thread stays when nothing is left to do: orphans often come in flocks.
const LINGER: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
