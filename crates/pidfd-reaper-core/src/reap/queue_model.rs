//! The orphan queue under loom: every order in which pushes, ends and its thread can meet.
//!
//! An orphan that is lost shows as a deadlock: the model waits for it to be reaped.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::fallback::Watch;
use super::orphan::Orphan;
use super::queue::{Edges, Queue};
use super::wait::Wait;

/// A child without a process, shared by whoever ends it and the queue.
#[derive(Clone, Debug)]
struct ModelChild(Arc<(Mutex<ChildState>, Condvar)>);

#[derive(Debug, Default)]
struct ChildState {
    ended: bool,
    reaped: bool,
    watched: Option<(ModelEdges, u64)>,
}

loom::lazy_static! {
    /// All children of one run of a model; a child's number is its place.
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

    fn end(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.ended = true;
        if let Some((edges, key)) = &state.watched {
            edges.show(*key);
        }
    }

    fn wait_until_reaped(&self) {
        let mut state = self.0.0.lock().unwrap();
        while !state.reaped {
            state = self.0.1.wait(state).unwrap();
        }
    }

    fn abandon(&self, queue: &'static Queue<ModelEdges>) {
        queue.push(Orphan { child: Box::new(self.clone()), last_word: None });
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
        state.reaped = state.ended;
        self.0.1.notify_all();
        Ok(state.ended.then(|| ExitStatus::from_raw(0)))
    }

    fn watch(&self) -> io::Result<Watch> {
        Err(io::ErrorKind::OutOfMemory.into())
    }
}

/// An epoll of model children.
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
        if state.ended {
            self.show(key);
        }
        state.watched = Some((self.clone(), key));
        Ok(())
    }

    fn watch_timer(&self, _timer: BorrowedFd<'_>, _key: u64) -> io::Result<()> {
        Ok(())
    }

    /// To linger is to go at once: the worst that a timeout can do.
    fn wait(&self, keys: &mut Vec<u64>, linger: bool) {
        let mut shown = self.0.0.lock().unwrap();
        while shown.is_empty() && !linger {
            shown = self.0.1.wait(shown).unwrap();
        }
        *keys = std::mem::take(&mut *shown);
    }
}

fn model(body: impl Fn(&'static Queue<ModelEdges>) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || body(Box::leak(Box::new(Queue::new()))));
}

#[test]
fn an_end_is_seen_whenever_it_comes() {
    model(|queue| {
        let child = ModelChild::start();
        let ending = child.clone();
        let ender = thread::spawn(move || ending.end());
        child.abandon(queue);
        child.wait_until_reaped();
        ender.join().unwrap();
    });
}

#[test]
fn an_orphan_that_comes_as_the_thread_leaves_is_not_lost() {
    model(|queue| {
        for _ in 0..2 {
            let child = ModelChild::start();
            child.end();
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
            child.end();
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
        let ending = first.clone();
        let ender = thread::spawn(move || ending.end());
        let second = ModelChild::start();
        second.end();
        second.abandon(queue);
        first.wait_until_reaped();
        second.wait_until_reaped();
        ender.join().unwrap();
    });
}
