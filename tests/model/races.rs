//! A clone reaps the child between two system calls of another clone.
//!
//! That instant is found by a reactor and a queue that do it themselves when they are called.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pidfd_reaper::{
    End, Interest, KernelSupport, Orphan, OrphanQueue, Pipe, Process, Reactor, Reaper, SharedFd,
    Source, orphans,
};

use crate::child::{CODE, TestChild};

thread_local! {
    /// The child and a clone of its process; each test runs on a thread of its own.
    static OTHER: RefCell<Option<(TestChild, Process)>> = const { RefCell::new(None) };
}

fn spawn() -> Process {
    let (child, process) = TestChild::spawn();
    OTHER.set(Some((child, process.clone())));
    process
}

fn the_other_reaps() {
    let (mut child, process) = OTHER.take().expect("it is reaped once");
    child.let_exit();
    assert!(process.try_exit().expect("nobody steals it").is_some());
}

/// The other clone reaps before each registration, for which there is no descriptor left then.
#[derive(Clone, Copy, Debug)]
struct Meddler;

impl Reactor for Meddler {
    type Source = Never;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        Ok(Self)
    }

    fn register(&self, _fd: SharedFd, _interest: Interest) -> io::Result<Never> {
        the_other_reaps();
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    fn orphans() -> &'static dyn OrphanQueue {
        &Self
    }
}

/// The other clone reaps before the queue gets the orphan.
impl OrphanQueue for Meddler {
    fn push(&'static self, orphan: Orphan) {
        the_other_reaps();
        orphans().push(orphan);
    }
}

/// No descriptor is ever registered.
#[derive(Clone, Copy, Debug)]
enum Never {}

impl Source for Never {
    fn poll_io<T>(
        &mut self,
        _cx: &mut Context<'_>,
        _op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match *self {}
    }
}

#[test]
fn whoever_waits_gets_the_status_that_another_took() {
    if KernelSupport::probe().pidfd_open.is_err() {
        // Then nothing is registered, and there is no such instant.
        return;
    }
    let mut reaper = pin!(Reaper::<Meddler, _>::new(spawn()));
    let polled = reaper.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    match polled {
        Poll::Ready(Ok(status)) => assert_eq!(status.code(), Some(CODE)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_another_has_reaped_is_no_orphan() {
    drop(Reaper::<Meddler, _>::new(spawn()));
    // Not in a while: nothing is left that would tell the queue.
    assert_eq!(orphans().len(), 0);
}
