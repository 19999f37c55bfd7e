//! `Queue`: one small thread that sleeps on the pidfds of all orphans.
//!
//! It needs no runtime, and costs per exit, not per orphan. The thread and its epoll are made for
//! the first orphan and go a little after the last.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;

use super::deadline::{Deadline, Deadlines, TIMER_KEY};
use super::orphan::{LastWord, Orphan};
use super::wait::Wait;
use crate::kernel::sys;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, thread};

/// Where the ends of orphans show: an epoll, or a model of one.
pub(crate) trait Edges: fmt::Debug + Send + Sync + Sized + 'static {
    /// By what an orphan is watched.
    type Handle: fmt::Debug + Send;

    fn new() -> io::Result<Self>;

    fn handle(orphan: &Orphan) -> io::Result<Self::Handle>;

    /// Has an end show under `key`, once, also if it lies in the past.
    fn watch(&self, handle: &Self::Handle, key: u64) -> io::Result<()>;

    /// Has a timer show under `key`.
    fn watch_timer(&self, timer: BorrowedFd<'_>, key: u64) -> io::Result<()>;

    /// Waits for ends, and puts their keys into `keys`; only for a while if it is to `linger`.
    fn wait(&self, keys: &mut Vec<u64>, linger: bool);
}

/// How many orphans are tried again in one go.
const BATCH: usize = 64;

#[derive(Debug)]
pub(crate) struct Queue<E: Edges> {
    state: Mutex<State<E>>,
    /// Orphans that were not reaped yet.
    count: AtomicUsize,
    /// Whether there are orphans that nothing watches.
    unwatched: AtomicBool,
}

#[derive(Debug)]
struct State<E: Edges> {
    /// There while the thread is.
    edges: Option<Arc<E>>,
    /// By the key of their edges. A key is used once: a late edge finds nothing. The handle keeps
    /// the edge, when someone who shares the child reaps it first and gives its pidfd up.
    on_edges: BTreeMap<u64, (Orphan, E::Handle)>,
    next_key: u64,
    /// Those for which neither a descriptor nor a thread was to be had.
    unwatched: VecDeque<Orphan>,
    deadlines: Deadlines,
}

impl<E: Edges> State<E> {
    const fn new() -> Self {
        Self {
            edges: None,
            on_edges: BTreeMap::new(),
            next_key: 0,
            unwatched: VecDeque::new(),
            deadlines: Deadlines::new(),
        }
    }
}

/// What callers do.
impl<E: Edges> Queue<E> {
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn push(&'static self, mut orphan: Orphan) {
        self.retry();
        orphan.last_word = match orphan.last_word.take() {
            Some(LastWord::ToBeSet(deadline)) => self.set_deadline(deadline),
            other => other,
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        self.push_counted(orphan);
    }

    /// Tries again to look after those that nothing watches.
    pub(crate) fn retry(&'static self) {
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
                batch.retain_mut(|orphan| orphan.runs() || self.reaped(orphan));
                batch.push_back(orphan);
                break;
            }
        }
        let mut state = self.state();
        state.unwatched.append(&mut batch);
        self.unwatched.store(!state.unwatched.is_empty(), Ordering::Relaxed);
    }

    /// In a process that was forked off: closes its copies of the parent's descriptors.
    pub(crate) fn forget(&self) {
        // If a thread of the parent held the lock in the moment of the fork, they stay open.
        if let Ok(mut state) = self.state.try_lock() {
            *state = State::new();
        }
    }

    fn push_counted(&'static self, orphan: Orphan) {
        if let Err(mut orphan) = self.watch(orphan) {
            // A clone may have reaped it meanwhile, and then there is nothing to watch.
            if !orphan.runs() {
                self.reaped(&orphan);
                return;
            }
            self.state().unwatched.push_back(orphan);
            self.unwatched.store(true, Ordering::Relaxed);
        }
    }

    /// Has `orphan` watched by the thread, or by one of its own; gives it back where neither can
    /// be.
    fn watch(&'static self, orphan: Orphan) -> Result<(), Orphan> {
        if let Ok(handle) = E::handle(&orphan) {
            let mut state = self.state();
            let key = state.next_key;
            if self.edges(&mut state).and_then(|edges| edges.watch(&handle, key)).is_ok() {
                state.next_key += 1;
                state.on_edges.insert(key, (orphan, handle));
                return Ok(());
            }
        }
        let Ok(watch) = orphan.watch() else {
            return Err(orphan);
        };
        watch.on_end(move || self.reap(orphan));
        Ok(())
    }

    /// The edges, and with them the thread, which is started if there is none.
    fn edges(&'static self, state: &mut State<E>) -> io::Result<Arc<E>> {
        if let Some(edges) = &state.edges {
            return Ok(Arc::clone(edges));
        }
        let edges = Arc::new(E::new()?);
        let watched = Arc::clone(&edges);
        thread::Builder::new()
            .name("orphans".into())
            .stack_size(crate::THREAD_STACK)
            .spawn(move || self.run(&watched))?;
        Ok(Arc::clone(state.edges.insert(edges)))
    }

    /// Sets the orphan's deadline. Without a descriptor or a thread for that, its time is over now.
    fn set_deadline(&'static self, deadline: Deadline) -> Option<LastWord> {
        let mut state = self.state();
        let set = match self.edges(&mut state) {
            Ok(edges) => state.deadlines.add(deadline, |fd| edges.watch_timer(fd, TIMER_KEY)),
            Err(_) => Err(deadline),
        };
        drop(state);
        set.map(LastWord::Set).map_err(|deadline| deadline.carry_out()).ok()
    }

    /// Counts one that was reaped; the answer is that it does not run.
    fn reaped(&self, orphan: &Orphan) -> bool {
        if let Some(LastWord::Set(ticket)) = orphan.last_word {
            self.state().deadlines.cancel(ticket);
        }
        self.count.fetch_sub(1, Ordering::Release);
        false
    }

    /// Reaps an orphan whose own thread has seen it end.
    fn reap(&'static self, mut orphan: Orphan) {
        if orphan.runs() || self.reaped(&orphan) {
            self.push_counted(orphan);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread does.
impl<E: Edges> Queue<E> {
    fn run(&'static self, edges: &E) {
        sys::block_signals_in_this_thread();
        let mut keys = Vec::new();
        // The orphan that it was started for may be nowhere to be seen: no room in the epoll.
        let mut linger = true;
        loop {
            edges.wait(&mut keys, linger);
            self.reap_ended(&keys);
            let mut state = self.state();
            let idle = state.on_edges.is_empty() && state.deadlines.is_empty();
            if idle && linger && keys.is_empty() {
                // From here on, who comes starts another.
                state.edges = None;
                return;
            }
            linger = idle;
        }
    }

    fn reap_ended(&self, keys: &[u64]) {
        let (mut ended, mut due) = (Vec::new(), Vec::new());
        let mut state = self.state();
        for key in keys {
            match *key {
                TIMER_KEY => due = state.deadlines.take_due(),
                key => ended.extend(state.on_edges.remove_entry(&key)),
            }
        }
        drop(state);
        // Outside of the lock: a reaping takes microseconds, and drops should not wait for many.
        due.iter().for_each(Deadline::carry_out);
        // A tracer may hold a zombie; the next edge comes when it lets go.
        ended.retain_mut(|(_, (orphan, _))| orphan.runs() || self.reaped(orphan));
        self.state().on_edges.extend(ended);
    }
}

impl<E: Edges> Queue<E> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        let unwatched = AtomicBool::new(false);
        Self { state: Mutex::new(State::new()), count: AtomicUsize::new(0), unwatched }
    }

    /// loom's types are not const.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let unwatched = AtomicBool::new(false);
        Self { state: Mutex::new(State::new()), count: AtomicUsize::new(0), unwatched }
    }
}
