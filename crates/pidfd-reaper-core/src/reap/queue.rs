//! `Queue`: one thread that sleeps on the pidfds of all orphans.
//!
//! It needs no runtime, and costs per exit, not per orphan. The thread, its epoll and its timer are
//! made for the first orphan and go a little after the last. What drives the queue is a thread, or,
//! where none can be started, the reactor of a runtime.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::deadline::{Deadlines, Target, Ticket};
use super::drive::{Drive, Driven};
use super::orphan::{ArmedDeadline, Asked, Orphan, Timekeeper};
use super::wait::Wait;
use super::wakers::contain;
use crate::kernel::sys;
use crate::reactor::SharedFd;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, thread};

/// Where the exits of orphans show: an epoll with a timer in it, or a model of one.
pub(crate) trait Edges: fmt::Debug + Send + Sync + Sized + 'static {
    /// By what an orphan is watched.
    type Handle: fmt::Debug + Send;

    fn new() -> io::Result<Self>;

    fn handle(orphan: &Orphan) -> io::Result<Self::Handle>;

    /// Has an exit show under `key`, once, also if it lies in the past.
    fn watch(&self, handle: &Self::Handle, key: u64) -> io::Result<()>;

    /// Has [`TIMER`] show once, after `duration`, in place of what was set before. It is `false`
    /// where a filter refuses that: then it never shows.
    fn set_timer(&self, duration: Duration) -> bool;

    /// Waits for exits, and puts their keys into `keys`.
    fn wait(&self, keys: &mut Vec<u64>, patience: Patience) -> io::Result<()>;

    /// The descriptor that a reactor can watch in place of the thread.
    fn fd(this: &Arc<Self>) -> Option<SharedFd>;

    /// Its descriptors are not its own any more: the program has closed them.
    fn disown(&self);

    fn now() -> Instant {
        Instant::now()
    }
}

/// How long to wait for exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Endless,
    /// A little: orphans often come in flocks.
    Linger,
    None,
}

/// The key of the timer; no orphan gets that far.
pub(crate) const TIMER: u64 = u64::MAX;

/// How many orphans that nothing watches are tried again in one go.
const BATCH: usize = 64;
/// The shortest and the longest pause before that.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Queue<E: Edges> {
    state: Mutex<State<E>>,
    /// Orphans that were not reaped yet.
    count: AtomicUsize,
    /// Whether there are orphans that nothing watches.
    has_unwatched: AtomicBool,
}

#[derive(Debug)]
struct State<E: Edges> {
    /// There while something drives the queue, or is about to. Whoever makes them starts that, after
    /// the lock is released; until then others may add to them.
    edges: Option<Arc<E>>,
    /// By the key of their edges. A key is used once: a late edge finds nothing. The handle keeps
    /// the edge, when someone who shares the child reaps it first and gives its pidfd up.
    watched: BTreeMap<u64, (Orphan, E::Handle)>,
    next_key: u64,
    /// Those for which there is neither room in an epoll nor a thread, and those that could not be
    /// asked.
    unwatched: VecDeque<Orphan>,
    pause: Duration,
    deadlines: Deadlines,
    /// Whether the timer is set.
    is_timer_set: bool,
    /// Whether a filter refuses to wait for edges.
    is_refused: bool,
}

impl<E: Edges> State<E> {
    const fn new() -> Self {
        Self {
            edges: None,
            watched: BTreeMap::new(),
            next_key: 0,
            unwatched: VecDeque::new(),
            pause: PAUSE,
            deadlines: Deadlines::new(),
            is_timer_set: false,
            is_refused: false,
        }
    }

    fn is_idle(&self) -> bool {
        self.watched.is_empty() && self.unwatched.is_empty() && self.deadlines.is_empty()
    }

    /// Sets the timer to the time at which there is something to do without an exit.
    ///
    /// Where there is no such time any more, it fires once more, now: the driver may wait for nothing
    /// else, and has to see that it can leave.
    ///
    /// Where the timer cannot be set, nothing would come to a deadline: it returns all targets, to
    /// be killed after the lock is released.
    #[must_use]
    fn set_timer(&mut self) -> Vec<std::sync::Arc<dyn Target>> {
        let Some(edges) = &self.edges else { return Vec::new() };
        let now = E::now();
        let retry = (!self.unwatched.is_empty()).then(|| now + self.pause);
        let next = self.deadlines.next_time(now).into_iter().chain(retry).min();
        let wait = next.map(|at| at.saturating_duration_since(now));
        let wait = wait.or_else(|| self.is_timer_set.then_some(Duration::ZERO));
        let is_set = wait.is_none_or(|wait| edges.set_timer(wait));
        self.is_timer_set = is_set && next.is_some();
        if is_set { Vec::new() } else { self.deadlines.take_all() }
    }

    /// The edges, and whether they are new: then something has to drive them.
    fn edges(&mut self) -> io::Result<(Arc<E>, bool)> {
        if let Some(edges) = &self.edges {
            return Ok((Arc::clone(edges), false));
        }
        if self.is_refused {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let edges = Arc::new(E::new()?);
        self.is_timer_set = false;
        Ok((Arc::clone(self.edges.insert(edges)), true))
    }

    /// Gives the edges up, and returns those that they watched; `None` if these were given up before.
    fn give_up(&mut self, edges: &Arc<E>) -> Option<Vec<Orphan>> {
        if !self.edges.as_ref().is_some_and(|now| Arc::ptr_eq(now, edges)) {
            return None;
        }
        self.edges = None;
        let watched = std::mem::take(&mut self.watched);
        Some(watched.into_values().map(|(orphan, _)| orphan).collect())
    }
}

/// What callers do.
impl<E: Edges> Queue<E> {
    /// How many children were abandoned and are not done with.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire) + self.state().deadlines.detached()
    }

    pub(crate) fn push(&'static self, orphan: Orphan) {
        self.retry();
        self.count.fetch_add(1, Ordering::Relaxed);
        self.push_counted(orphan);
    }

    /// Has `target` killed at `at`, unless it is over by then. Without a descriptor for a timer, or
    /// anything that would look at it, it is killed now.
    pub(crate) fn arm(
        &'static self,
        at: Instant,
        target: std::sync::Arc<dyn Target>,
        drive: Option<Drive>,
    ) -> Option<ArmedDeadline> {
        let mut state = self.state();
        let Ok((edges, is_new)) = state.edges() else {
            drop(state);
            target.kill();
            return None;
        };
        let ticket = state.deadlines.add(at, target);
        let due = state.set_timer();
        drop(state);
        if is_new {
            self.start_driver(&edges, drive);
        }
        kill(due);
        Some(ArmedDeadline::new(self, ticket))
    }

    /// Tries again to look after those that nothing watches.
    pub(crate) fn retry(&'static self) {
        if self.has_unwatched.load(Ordering::Relaxed) {
            self.retry_batch();
        }
    }

    fn retry_batch(&'static self) {
        let mut batch = {
            let mut state = self.state();
            let size = state.unwatched.len().min(BATCH);
            state.unwatched.drain(..size).collect::<VecDeque<_>>()
        };
        let mut left = VecDeque::new();
        while let Some(mut orphan) = batch.pop_front() {
            match orphan.ask() {
                Asked::Done => self.done(orphan),
                Asked::Failed => left.push_back(orphan),
                Asked::Runs => {
                    if let Err(orphan) = self.watch(orphan) {
                        // Then nothing watches the others either, but they can be asked.
                        left.push_back(orphan);
                        left.extend(batch.drain(..).filter_map(|mut orphan| match orphan.ask() {
                            Asked::Done => {
                                self.done(orphan);
                                None
                            }
                            Asked::Runs | Asked::Failed => Some(orphan),
                        }));
                    }
                }
            }
        }
        if left.is_empty() {
            let mut state = self.state();
            let due = self.note_unwatched(&mut state);
            drop(state);
            kill(due);
        } else {
            self.keep_unwatched(left);
        }
    }

    fn push_counted(&'static self, orphan: Orphan) {
        if let Err(mut orphan) = self.watch(orphan) {
            // A clone may have reaped it meanwhile, and then there is nothing to watch.
            if orphan.ask() == Asked::Done {
                self.done(orphan);
            } else {
                self.keep_unwatched([orphan]);
            }
        }
    }

    /// Keeps orphans that nothing watches. The driver asks them now and then.
    ///
    /// It may have left while these were taken out to be tried, for it found nothing to do. Then
    /// another is started.
    fn keep_unwatched(&'static self, orphans: impl IntoIterator<Item = Orphan>) {
        let mut state = self.state();
        state.unwatched.extend(orphans);
        let drive = state.unwatched.back().and_then(|orphan| orphan.drive);
        let edges = state.edges();
        let due = self.note_unwatched(&mut state);
        drop(state);
        if let Ok((edges, true)) = edges {
            self.start_driver(&edges, drive);
        }
        kill(due);
    }

    #[must_use]
    fn note_unwatched(&self, state: &mut State<E>) -> Vec<std::sync::Arc<dyn Target>> {
        let has_unwatched = !state.unwatched.is_empty();
        self.has_unwatched.store(has_unwatched, Ordering::Relaxed);
        state.pause = if has_unwatched { state.pause } else { PAUSE };
        state.set_timer()
    }

    /// Has `orphan` watched by the driver, or by a thread of its own; returns it where neither can
    /// be.
    fn watch(&'static self, orphan: Orphan) -> Result<(), Orphan> {
        if let Ok(handle) = E::handle(&orphan) {
            let drive = orphan.drive;
            let mut state = self.state();
            let key = state.next_key;
            if let Ok((edges, is_new)) = state.edges() {
                let watched = edges.watch(&handle, key);
                if watched.is_ok() {
                    state.next_key += 1;
                    state.watched.insert(key, (orphan, handle));
                    drop(state);
                    if is_new {
                        self.start_driver(&edges, drive);
                    }
                    return Ok(());
                }
                if is_new {
                    // Others cannot have added to them: the lock was held all the while.
                    state.edges = None;
                }
            }
        }
        let Ok(thread) = orphan.exit_thread() else {
            return Err(orphan);
        };
        thread.on_return(move || self.reap(orphan));
        Ok(())
    }

    /// Starts what drives new edges. Where nothing can, those that were added to them are watched by
    /// nothing, and the deadlines are over now.
    fn start_driver(&'static self, edges: &Arc<E>, drive: Option<Drive>) {
        let driven = Arc::clone(edges);
        let builder = thread::Builder::new().name("orphans".into());
        if sys::with_signals_blocked(|| builder.spawn(move || self.run(&driven))).is_ok() {
            return;
        }
        let fd = E::fd(edges);
        if drive.zip(fd).is_none_or(|(drive, fd)| drive(self, fd).is_err()) {
            self.lost_driver(edges);
        }
    }

    fn lost_driver(&self, edges: &Arc<E>) {
        let mut state = self.state();
        let Some(orphans) = state.give_up(edges) else { return };
        state.unwatched.extend(orphans);
        let mut due = self.note_unwatched(&mut state);
        due.extend(state.deadlines.take_all());
        drop(state);
        kill(due);
    }

    /// Reaps an orphan whose own thread has returned.
    ///
    /// One that cannot be reaped then is not given another thread from here: that could return at
    /// once as well, and so on. The next call of the library, or the timer, tries again.
    fn reap(&'static self, mut orphan: Orphan) {
        match orphan.ask() {
            Asked::Done => self.done(orphan),
            Asked::Runs | Asked::Failed => self.keep_unwatched([orphan]),
        }
    }

    /// Counts one that is done with. Its drop is foreign code, and may detach its deadline, so it
    /// comes before the count: at no time do both miss it.
    fn done(&self, orphan: Orphan) {
        contain(|| drop(orphan));
        self.count.fetch_sub(1, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver does.
impl<E: Edges> Queue<E> {
    /// The thread.
    ///
    /// # Start and stop
    ///
    /// The thread leaves under the lock, after it has seen that there is nothing to do, and takes
    /// the edges, with the timer in them, out of the state. Whoever adds an orphan or a deadline
    /// does it under the same lock: either before, and then the thread does not leave, or after, and
    /// then there are no edges and new ones are made, with a new thread and a new timer. If the timer
    /// outlived the thread, a deadline could be set on one that nothing waits for.
    ///
    /// It leaves only after a wait in which nothing came (`Linger`). An edge that came together with
    /// the end of that wait belongs to an orphan that is still in the state, so the state is not
    /// idle.
    fn run(&'static self, edges: &Arc<E>) {
        let mut keys = Vec::new();
        // The orphan that it was started for may not be there: no room in the epoll.
        let mut patience = Patience::Linger;
        loop {
            if let Err(error) = edges.wait(&mut keys, patience) {
                self.lost_edges(edges, &error);
                return self.sleep_and_look();
            }
            self.turn(&keys);
            let mut state = self.state();
            let is_idle = state.is_idle();
            if is_idle && patience == Patience::Linger && keys.is_empty() {
                state.edges = None;
                return;
            }
            patience = if is_idle { Patience::Linger } else { Patience::Endless };
        }
    }

    fn turn(&'static self, keys: &[u64]) {
        let mut ended = Vec::new();
        {
            let mut state = self.state();
            ended.extend(keys.iter().filter_map(|key| state.watched.remove_entry(key)));
        }
        // After the lock is released: a reaping takes microseconds, and drops should not wait for
        // many.
        let (mut runs, mut failed) = (Vec::new(), Vec::new());
        for (key, (mut orphan, handle)) in ended {
            match orphan.ask() {
                Asked::Done => self.done(orphan),
                // A tracer holds the zombie; the next edge comes when it lets go.
                Asked::Runs => runs.push((key, (orphan, handle))),
                Asked::Failed => failed.push(orphan),
            }
        }
        if !runs.is_empty() {
            self.state().watched.extend(runs);
        }
        if !failed.is_empty() {
            self.keep_unwatched(failed);
        }
        if keys.contains(&TIMER) {
            self.timer_has_fired();
        }
    }

    fn timer_has_fired(&'static self) {
        let (due, detached) = {
            let mut state = self.state();
            state.is_timer_set = false;
            state.pause = LONGEST_PAUSE.min(2 * state.pause);
            (state.deadlines.take_due(E::now()), state.deadlines.looked_at())
        };
        kill(due);
        for (ticket, target) in detached {
            if contain(|| target.is_over()).unwrap_or(true) {
                self.state().deadlines.remove(ticket);
            }
        }
        self.retry();
        let due = self.state().set_timer();
        kill(due);
    }

    /// Waiting for edges has failed: the program has closed their descriptor, or a filter refuses.
    ///
    /// In the first case new edges are made; what had the old number is not closed, for it may be
    /// the program's. In the second, each orphan gets a thread of its own.
    fn lost_edges(&'static self, edges: &Arc<E>, error: &io::Error) {
        let mut state = self.state();
        if is_closed(error) {
            edges.disown();
        } else {
            state.is_refused = true;
        }
        let orphans = state.give_up(edges);
        drop(state);
        for orphan in orphans.unwrap_or_default() {
            self.push_counted(orphan);
        }
        let mut state = self.state();
        if !state.is_idle() {
            let edges = state.edges();
            let due = state.set_timer();
            drop(state);
            if let Ok((edges, true)) = edges {
                self.start_driver(&edges, None);
            }
            kill(due);
        }
    }

    /// The thread, where no edges can be had in place of those that were lost: it sleeps, and looks
    /// at what no other thread waits for.
    fn sleep_and_look(&'static self) {
        loop {
            let pause = {
                let state = self.state();
                if state.edges.is_some() || state.is_idle() {
                    return;
                }
                let next = state.deadlines.next_time(E::now());
                next.map_or(LONGEST_PAUSE, |at| at.saturating_duration_since(E::now()))
                    .clamp(PAUSE, LONGEST_PAUSE)
            };
            std::thread::sleep(pause);
            self.timer_has_fired();
        }
    }
}

impl<E: Edges> Driven for Queue<E> {
    fn turn_without_blocking(&'static self) -> io::Result<()> {
        let mut keys = Vec::new();
        loop {
            let Some(edges) = self.state().edges.clone() else { return Ok(()) };
            if let Err(error) = edges.wait(&mut keys, Patience::None) {
                self.lost_edges(&edges, &error);
                // This thread is the reactor's, and must not sleep.
                let mut state = self.state();
                let nothing_drives = state.edges.is_none();
                let due = if nothing_drives { state.deadlines.take_all() } else { Vec::new() };
                drop(state);
                kill(due);
                return Ok(());
            }
            if keys.is_empty() {
                let mut state = self.state();
                if state.is_idle() {
                    state.edges = None;
                    return Ok(());
                }
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.turn(&keys);
        }
    }

    fn driver_is_gone(&'static self) {
        let edges = self.state().edges.clone();
        if let Some(edges) = edges {
            self.lost_driver(&edges);
        }
    }
}

impl<E: Edges> Timekeeper for Queue<E> {
    fn orphan_is_gone(&self, ticket: Ticket) {
        let target = self.state().deadlines.detach(ticket);
        let is_over = target.is_none_or(|target| contain(|| target.is_over()).unwrap_or(true));
        let mut state = self.state();
        if is_over {
            state.deadlines.remove(ticket);
        }
        // Also wakes the thread, which may have nothing left to do.
        let due = state.set_timer();
        drop(state);
        kill(due);
    }
}

/// Whether `error` means that the program has closed the descriptor, or has put another in its place.
pub(super) fn is_closed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL))
}

fn kill(due: Vec<std::sync::Arc<dyn Target>>) {
    for target in due {
        contain(|| target.kill());
    }
}

impl<E: Edges> Queue<E> {
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn new() -> Self {
        let (count, has_unwatched) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { state: Mutex::new(State::new()), count, has_unwatched }
    }

    /// loom's types are not const.
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        let (count, has_unwatched) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { state: Mutex::new(State::new()), count, has_unwatched }
    }
}
