//! The exit set under loom: every order in which polls, exits, dispatches and drops can meet.
//!
//! A wake-up that is lost shows as a deadlock: the model's task sleeps until it is woken.

use std::io;
use std::mem;
use std::task::{Wake, Waker};

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::exit_set::{Epoll, Key, Readiness, Table};

/// A task that sleeps until it is woken.
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
        while !mem::take(&mut *woken) {
            woken = self.1.wait(woken).unwrap();
        }
    }

    /// Waits for the exit of `key`, as a source does.
    fn wait_for(self: &std::sync::Arc<Self>, table: &Table<ModelEpoll>, key: Key) -> Readiness {
        let waker = Waker::from(std::sync::Arc::clone(self));
        loop {
            match table.poll(key, &waker) {
                Readiness::Pending => self.sleep(),
                done => return done,
            }
        }
    }
}

/// An epoll in which a pidfd is a number. Its driver sleeps until there is an event.
#[derive(Default)]
struct ModelEpoll(Mutex<ModelState>, Condvar);

#[derive(Default)]
struct ModelState {
    watched: Vec<(usize, u64)>,
    exited: Vec<usize>,
    ready: Vec<u64>,
    is_over: bool,
}

impl ModelEpoll {
    fn exit(&self, fd: usize) {
        let mut state = self.0.lock().unwrap();
        state.exited.push(fd);
        let keys: Vec<_> =
            state.watched.iter().filter(|(at, _)| *at == fd).map(|(_, key)| *key).collect();
        state.ready.extend(keys);
        self.1.notify_all();
    }

    /// Whether there is something to dispatch; else the driver is to return.
    fn wait(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        while state.ready.is_empty() && !state.is_over {
            state = self.1.wait(state).unwrap();
        }
        !state.ready.is_empty()
    }

    fn end(&self) {
        self.0.lock().unwrap().is_over = true;
        self.1.notify_all();
    }
}

impl Epoll for ModelEpoll {
    type Fd = usize;

    fn add_oneshot(&self, fd: &usize, key: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.watched.push((*fd, key));
        if state.exited.contains(fd) {
            state.ready.push(key);
            self.1.notify_all();
        }
        Ok(())
    }

    fn rearm(&self, fd: &usize, key: u64) -> io::Result<()> {
        self.add_oneshot(fd, key)
    }

    /// What was reported and not taken goes with it.
    fn remove(&self, fd: &usize) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let gone: Vec<_> =
            state.watched.iter().filter(|(at, _)| at == fd).map(|(_, key)| *key).collect();
        state.watched.retain(|(at, _)| at != fd);
        state.ready.retain(|key| !gone.contains(key));
        Ok(())
    }

    /// The lock is released before the wakers run, as the kernel's is.
    fn take(&self, each: impl FnMut(u64)) -> io::Result<()> {
        let ready = mem::take(&mut self.0.lock().unwrap().ready);
        ready.into_iter().for_each(each);
        Ok(())
    }
}

fn model(body: impl Fn(&Arc<Table<ModelEpoll>>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Arc::new(Table::new(ModelEpoll::default()));
        let driven = Arc::clone(&table);
        let driver = thread::spawn(move || {
            while driven.epoll.wait() {
                driven.dispatch().unwrap();
            }
        });
        body(&table);
        table.epoll.end();
        driver.join().unwrap();
    });
}

fn exits(table: &Arc<Table<ModelEpoll>>, fd: usize) -> thread::JoinHandle<()> {
    let table = Arc::clone(table);
    thread::spawn(move || table.epoll.exit(fd))
}

#[test]
fn an_exit_wakes_its_task_whenever_it_comes() {
    model(|table| {
        let exit = exits(table, 1);
        let key = table.insert(&1).unwrap();
        assert_eq!(std::sync::Arc::new(Task::default()).wait_for(table, key), Readiness::Ready);
        exit.join().unwrap();
        table.epoll.remove(&1).unwrap();
        table.remove(key);
    });
}

/// A wait that is cancelled as its exit comes leaves the next owner of the slot alone.
#[test]
fn a_cancelled_wait_and_its_exit_meet() {
    model(|table| {
        let key = table.insert(&1).unwrap();
        let exit = exits(table, 1);
        assert_ne!(table.poll(key, Waker::noop()), Readiness::Closed);
        table.epoll.remove(&1).unwrap();
        table.remove(key);
        let next = table.insert(&2).unwrap();
        assert_eq!(table.poll(next, Waker::noop()), Readiness::Pending);
        exit.join().unwrap();
        table.epoll.exit(2);
        assert_eq!(std::sync::Arc::new(Task::default()).wait_for(table, next), Readiness::Ready);
    });
}

#[test]
fn closing_wakes_all() {
    model(|table| {
        let key = table.insert(&1).unwrap();
        let closed = Arc::clone(table);
        let closes = thread::spawn(move || closed.close());
        assert_eq!(std::sync::Arc::new(Task::default()).wait_for(table, key), Readiness::Closed);
        closes.join().unwrap();
    });
}

/// The task that polls last is woken, with another waker than the one before.
#[test]
fn the_latest_waker_is_woken() {
    model(|table| {
        let key = table.insert(&1).unwrap();
        let first = std::sync::Arc::new(Task::default());
        let exit = exits(table, 1);
        let was_ready = table.poll(key, &Waker::from(first)) == Readiness::Ready;
        if !was_ready {
            let second = std::sync::Arc::new(Task::default());
            assert_eq!(second.wait_for(table, key), Readiness::Ready);
        }
        exit.join().unwrap();
    });
}
