//! The orphan queue of the process: one small thread that sleeps on the pidfds of all orphans.
//!
//! It needs no runtime, and costs per exit, not per orphan. The thread and its epoll are made for
//! the first orphan and go a little after the last.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use rustix::event::Timespec;
use rustix::event::epoll::Event;

use super::deadline::{Deadline, Deadlines, TIMER_KEY};
use super::orphan::{LastWord, Orphan, OrphanQueue};
use super::wait::Wait;
use crate::kernel::edge::EdgeEpoll;
use crate::kernel::sys;

/// How long the thread stays when nothing is left to do: orphans often come in flocks.
const LINGER: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How many ends, or tries again, are taken in one go.
const BATCH: usize = 64;

/// The queue of this process. One that was forked off has its own, and nothing of its parent's.
pub(crate) fn of_this_process() -> &'static ProcessQueue {
    static FIRST: ProcessQueue = ProcessQueue::new();
    let mut queue = &FIRST;
    for _ in 0..sys::forks() {
        let parents = queue;
        queue = parents.forked.get_or_init(|| {
            parents.forget();
            Box::new(ProcessQueue::new())
        });
    }
    queue
}

/// The [`OrphanQueue`] of the process; see [`orphans`](crate::orphans).
#[derive(Debug)]
pub struct ProcessQueue {
    state: Mutex<State>,
    /// Orphans that were not reaped yet.
    count: AtomicUsize,
    /// Whether there are orphans that nothing watches.
    unwatched: AtomicBool,
    /// The queue of the process that was forked off this one.
    forked: OnceLock<Box<ProcessQueue>>,
}

#[derive(Debug)]
struct State {
    /// There while the thread is.
    epoll: Option<Arc<EdgeEpoll>>,
    /// By the key of their edges. A key is used once: a late edge finds nothing.
    on_epoll: BTreeMap<u64, Orphan>,
    next_key: u64,
    /// Those for which neither a descriptor nor a thread was to be had.
    unwatched: VecDeque<Orphan>,
    deadlines: Deadlines,
}

impl ProcessQueue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                epoll: None,
                on_epoll: BTreeMap::new(),
                next_key: 0,
                unwatched: VecDeque::new(),
                deadlines: Deadlines::new(),
            }),
            count: AtomicUsize::new(0),
            unwatched: AtomicBool::new(false),
            forked: OnceLock::new(),
        }
    }

    /// How many abandoned children were not reaped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
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
        if !self.unwatched.load(Ordering::Relaxed) {
            return;
        }
        let mut batch = {
            let mut state = self.state();
            let size = state.unwatched.len().min(BATCH);
            state.unwatched.drain(..size).collect::<VecDeque<_>>()
        };
        while let Some(mut orphan) = batch.pop_front() {
            if !orphan.runs() {
                self.reaped(&orphan);
            } else if let Err(orphan) = self.watch(orphan) {
                // Then there is nothing for the others either, but they can be asked.
                batch.retain_mut(|orphan| {
                    let runs = orphan.runs();
                    if !runs {
                        self.reaped(orphan);
                    }
                    runs
                });
                batch.push_back(orphan);
                break;
            }
        }
        let mut state = self.state();
        state.unwatched.append(&mut batch);
        self.unwatched.store(!state.unwatched.is_empty(), Ordering::Relaxed);
    }

    /// Has `orphan` watched by the thread, or by one of its own; gives it back where neither can
    /// be.
    fn watch(&'static self, orphan: Orphan) -> Result<(), Orphan> {
        let orphan = match orphan.pidfd() {
            Ok(pidfd) => {
                let mut state = self.state();
                let key = state.next_key;
                // Of a child that has ended by now, `add` makes an edge as well.
                match self.epoll(&mut state).and_then(|epoll| epoll.add(pidfd.as_fd(), key)) {
                    Ok(()) => {
                        state.next_key += 1;
                        state.on_epoll.insert(key, orphan);
                        return Ok(());
                    }
                    Err(_) => orphan,
                }
            }
            Err(_) => orphan,
        };
        let Ok(watch) = orphan.watch() else {
            return Err(orphan);
        };
        watch.on_end(move || self.reap(orphan));
        Ok(())
    }

    /// The epoll, and with it the thread, which is started if there is none.
    fn epoll(&'static self, state: &mut State) -> io::Result<Arc<EdgeEpoll>> {
        if let Some(epoll) = &state.epoll {
            return Ok(Arc::clone(epoll));
        }
        let epoll = Arc::new(EdgeEpoll::new()?);
        let watched = Arc::clone(&epoll);
        thread::Builder::new()
            .name("orphans".into())
            .stack_size(crate::THREAD_STACK)
            .spawn(move || self.run(&watched))?;
        Ok(Arc::clone(state.epoll.insert(epoll)))
    }

    /// The thread.
    fn run(&'static self, epoll: &EdgeEpoll) {
        sys::block_signals_in_this_thread();
        let mut events = Vec::with_capacity(BATCH);
        let mut timeout = None;
        loop {
            // It cannot fail: descriptor and buffer are ours and valid.
            let _ = epoll.wait(&mut events, timeout.as_ref());
            self.reap_ended(&events);
            let mut state = self.state();
            let idle = state.on_epoll.is_empty() && state.deadlines.is_empty();
            if idle && timeout.is_some() && events.is_empty() {
                state.epoll = None;
                return;
            }
            timeout = idle.then_some(LINGER);
        }
    }

    fn reap_ended(&self, events: &[Event]) {
        let (mut ended, mut due) = (Vec::new(), Vec::new());
        let mut state = self.state();
        for event in events {
            match event.data.u64() {
                TIMER_KEY => due = state.deadlines.take_due(),
                key => ended.extend(state.on_epoll.remove_entry(&key)),
            }
        }
        drop(state);
        due.iter().for_each(Deadline::carry_out);
        // Outside of the lock: a reaping takes microseconds, and drops should not wait for many.
        ended.retain_mut(|(_, orphan)| {
            // A tracer may hold the zombie; the next edge comes when it lets go.
            let held = orphan.runs();
            if !held {
                self.reaped(orphan);
            }
            held
        });
        self.state().on_epoll.extend(ended);
    }

    /// Reaps an orphan whose own thread has seen it end.
    fn reap(&'static self, mut orphan: Orphan) {
        if orphan.runs() {
            self.push_counted(orphan);
        } else {
            self.reaped(&orphan);
        }
    }

    /// What `push` does once the orphan is counted.
    fn push_counted(&'static self, orphan: Orphan) {
        if let Err(orphan) = self.watch(orphan) {
            self.state().unwatched.push_back(orphan);
            self.unwatched.store(true, Ordering::Relaxed);
        }
    }

    fn reaped(&self, orphan: &Orphan) {
        if let Some(LastWord::Set(ticket)) = orphan.last_word {
            self.state().deadlines.cancel(ticket);
        }
        self.count.fetch_sub(1, Ordering::Release);
    }

    /// Sets the orphan's deadline. If there is no descriptor or thread for that, its time is over
    /// now.
    fn set_deadline(&'static self, deadline: Deadline) -> Option<LastWord> {
        let mut state = self.state();
        let set = match self.epoll(&mut state) {
            Ok(epoll) => state.deadlines.add(deadline, &epoll),
            Err(_) => Err(deadline),
        };
        drop(state);
        set.map(LastWord::Set).map_err(|deadline| deadline.carry_out()).ok()
    }

    /// In the process that was forked off: closes its copies of the parent's descriptors.
    fn forget(&self) {
        // If a thread of the parent held the lock in the moment of the fork, they stay open.
        if let Ok(mut state) = self.state.try_lock() {
            state.epoll = None;
            state.on_epoll.clear();
            state.unwatched.clear();
            state.deadlines.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrphanQueue for ProcessQueue {
    fn push(&'static self, mut orphan: Orphan) {
        self.retry();
        orphan.last_word = match orphan.last_word.take() {
            Some(LastWord::ToBeSet(deadline)) => self.set_deadline(deadline),
            other => other,
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        self.push_counted(orphan);
    }
}
