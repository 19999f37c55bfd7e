//! The orphan queue under loom: every order in which pushes, exits, deadlines and its thread can
//! meet.
//!
//! An orphan or a deadline that is lost shows as a deadlock: the model waits for it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::deadline::Target;
use super::exit_thread::ExitThread;
use super::orphan::{ArmedDeadline, Orphan};
use super::queue::{Edges, Patience, Queue, TIMER};
use super::wait::Wait;
use crate::reactor::SharedFd;

/// A child without a process, shared by whoever ends it and the queue.
#[derive(Clone, Debug)]
struct ModelChild(Arc<(Mutex<ChildState>, Condvar)>);

#[derive(Debug, Default)]
struct ChildState {
    exited: bool,
    reaped: bool,
    killed: bool,
    watched: Option<(ModelEdges, u64)>,
}

loom::lazy_static! {
    /// All children of one run of a model; a child's PID is its place.
    static ref CHILDREN: Mutex<Vec<ModelChild>> = Mutex::new(Vec::new());
    /// How often there are no descriptors.
    static ref REFUSALS: Mutex<usize> = Mutex::new(0);
}

impl ModelChild {
    fn start() -> Self {
        let child = Self(Arc::new((Mutex::new(ChildState::default()), Condvar::new())));
        CHILDREN.lock().unwrap().push(child.clone());
        child
    }

    fn exit(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.exited = true;
        if let Some((edges, key)) = &state.watched {
            edges.show(*key);
        }
    }

    fn wait_until(&self, happened: impl Fn(&ChildState) -> bool) {
        let mut state = self.0.0.lock().unwrap();
        while !happened(&state) {
            state = self.0.1.wait(state).unwrap();
        }
    }

    fn wait_until_reaped(&self) {
        self.wait_until(|state| state.reaped);
    }

    fn abandon(&self, queue: &'static Queue<ModelEdges>) {
        queue.push(Orphan::new(self.clone(), None, None));
    }

    /// With a deadline, which is in the past for the model's clock.
    fn abandon_until(&self, queue: &'static Queue<ModelEdges>) {
        let deadline = self.arm(queue);
        queue.push(Orphan::new(self.clone(), deadline, None));
    }

    fn arm(&self, queue: &'static Queue<ModelEdges>) -> Option<ArmedDeadline> {
        queue.arm(Instant::now(), std::sync::Arc::new(self.clone()), None)
    }
}

impl Wait for ModelChild {
    fn id(&self) -> u32 {
        let children = CHILDREN.lock().unwrap();
        let place = children.iter().position(|child| Arc::ptr_eq(&child.0, &self.0));
        place.unwrap().try_into().unwrap()
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut state = self.0.0.lock().unwrap();
        state.reaped = state.exited;
        self.0.1.notify_all();
        Ok(state.exited.then(|| ExitStatus::from_raw(0)))
    }

    fn exit_thread(&self) -> io::Result<ExitThread> {
        Err(io::ErrorKind::OutOfMemory.into())
    }
}

impl Target for ModelChild {
    fn is_over(&self) -> bool {
        self.0.0.lock().unwrap().exited
    }

    fn kill(&self) {
        self.0.0.lock().unwrap().killed = true;
        self.0.1.notify_all();
        self.exit();
    }
}

/// An epoll of model children, with a timer.
#[derive(Clone, Debug)]
struct ModelEdges(Arc<(Mutex<Vec<u64>>, Condvar)>);

impl ModelEdges {
    fn show(&self, key: u64) {
        self.0.0.lock().unwrap().push(key);
        self.0.1.notify_all();
    }
}

impl Edges for ModelEdges {
    type Handle = ModelChild;

    fn new() -> io::Result<Self> {
        let mut refusals = REFUSALS.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(Self(Arc::new((Mutex::new(Vec::new()), Condvar::new()))))
    }

    fn handle(orphan: &Orphan) -> io::Result<ModelChild> {
        let place = usize::try_from(orphan.id()).unwrap();
        Ok(CHILDREN.lock().unwrap()[place].clone())
    }

    fn watch(&self, child: &ModelChild, key: u64) -> io::Result<()> {
        let mut state = child.0.0.lock().unwrap();
        if state.exited {
            self.show(key);
        }
        state.watched = Some((self.clone(), key));
        Ok(())
    }

    /// It fires as soon as it is set: the queue finds the deadline in the past, or nothing.
    fn set_timer(&self, _duration: Duration) -> bool {
        self.show(TIMER);
        true
    }

    /// To linger is to go at once: the worst that a timeout can do.
    fn wait(&self, keys: &mut Vec<u64>, patience: Patience) -> io::Result<()> {
        let mut shown = self.0.0.lock().unwrap();
        while shown.is_empty() && patience == Patience::Endless {
            shown = self.0.1.wait(shown).unwrap();
        }
        *keys = std::mem::take(&mut *shown);
        Ok(())
    }

    fn fd(_this: &Arc<Self>) -> Option<SharedFd> {
        None
    }

    fn disown(&self) {}

    /// Every deadline is over.
    fn now() -> Instant {
        Instant::now() + Duration::from_secs(1000)
    }
}

fn model(body: impl Fn(&'static Queue<ModelEdges>) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || body(Box::leak(Box::new(Queue::new()))));
}

#[test]
fn an_exit_is_seen_whenever_it_comes() {
    model(|queue| {
        let child = ModelChild::start();
        let exiting = child.clone();
        let exits = thread::spawn(move || exiting.exit());
        child.abandon(queue);
        child.wait_until_reaped();
        exits.join().unwrap();
    });
}

#[test]
fn an_orphan_that_comes_as_the_thread_leaves_is_not_lost() {
    model(|queue| {
        for _ in 0..2 {
            let child = ModelChild::start();
            child.exit();
            child.abandon(queue);
            child.wait_until_reaped();
        }
    });
}

#[test]
fn two_threads_abandon_at_once() {
    model(|queue| {
        let abandon = move || {
            let child = ModelChild::start();
            child.exit();
            child.abandon(queue);
            child.wait_until_reaped();
        };
        let other = thread::spawn(abandon);
        abandon();
        other.join().unwrap();
    });
}

#[test]
fn what_could_not_be_watched_is_taken_care_of_by_the_next() {
    model(|queue| {
        *REFUSALS.lock().unwrap() = 1;
        let first = ModelChild::start();
        first.abandon(queue);
        assert_eq!(queue.len(), 1);
        let exiting = first.clone();
        let exits = thread::spawn(move || exiting.exit());
        let second = ModelChild::start();
        second.exit();
        second.abandon(queue);
        first.wait_until_reaped();
        second.wait_until_reaped();
        exits.join().unwrap();
    });
}

#[test]
fn a_deadline_is_kept() {
    model(|queue| {
        let child = ModelChild::start();
        child.abandon_until(queue);
        child.wait_until(|state| state.killed);
        child.wait_until_reaped();
    });
}

/// The thread that was started for the first may be leaving: the timer goes with it.
#[test]
fn a_deadline_that_comes_as_the_thread_leaves_is_kept() {
    model(|queue| {
        let first = ModelChild::start();
        first.exit();
        first.abandon(queue);
        first.wait_until_reaped();
        let second = ModelChild::start();
        second.abandon_until(queue);
        second.wait_until(|state| state.killed);
        second.wait_until_reaped();
    });
}

/// Whichever comes first, nothing is left of the deadline: the thread can leave.
#[test]
fn an_exit_and_its_deadline_meet() {
    model(|queue| {
        let child = ModelChild::start();
        let exiting = child.clone();
        let exits = thread::spawn(move || exiting.exit());
        child.abandon_until(queue);
        child.wait_until_reaped();
        exits.join().unwrap();
        let last = ModelChild::start();
        last.exit();
        last.abandon(queue);
        last.wait_until_reaped();
    });
}

/// A queue of somebody else's has the orphan; the deadline is kept here.
#[test]
fn a_deadline_is_kept_for_another_queue() {
    model(|queue| {
        let child = ModelChild::start();
        let deadline = child.arm(queue);
        child.wait_until(|state| state.killed);
        drop(deadline);
    });
}
