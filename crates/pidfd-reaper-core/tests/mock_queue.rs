//! The reaper, tested without a process: a child that is a flag, and a queue that only counts.

use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use pidfd_reaper_core::{
    End, Interest, Kill, Orphan, OrphanQueue, Pidfd, Pipe, Reactor, Reaper, SharedFd, Source, Wait,
};

/// A child that has ended when its flag says so.
#[derive(Clone, Debug, Default)]
struct MockChild {
    ended: Arc<AtomicBool>,
    killed: Arc<AtomicBool>,
}

impl MockChild {
    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Wait for MockChild {
    fn id(&self) -> u32 {
        u32::MAX
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        Ok(self.ended.load(Ordering::Relaxed).then(|| ExitStatus::from_raw(7 << 8)))
    }

    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        Pidfd::open(std::process::id()).map(Arc::new)
    }
}

impl Kill for MockChild {
    fn kill(&mut self) -> io::Result<()> {
        self.killed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct MockQueue(Mutex<Vec<Orphan>>);

impl OrphanQueue for MockQueue {
    fn push(&'static self, orphan: Orphan) {
        self.0.lock().unwrap().push(orphan);
    }
}

thread_local! {
    /// Each test runs on a thread of its own.
    static QUEUE: &'static MockQueue = Box::leak(Box::default());
}

fn orphaned() -> usize {
    QUEUE.with(|queue| queue.0.lock().unwrap().len())
}

/// A reactor that reports no event, ever.
#[derive(Clone, Copy, Debug)]
struct Silent;

impl Reactor for Silent {
    type Source = Silent;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        Ok(Self)
    }

    fn register(&self, _fd: SharedFd, _interest: Interest) -> io::Result<Self> {
        Ok(Self)
    }

    fn orphans() -> &'static dyn OrphanQueue {
        QUEUE.with(|queue| *queue)
    }
}

impl Source for Silent {
    fn poll_io<T>(
        &mut self,
        _cx: &mut Context<'_>,
        _op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        Poll::Pending
    }
}

fn poll(reaper: &mut Reaper<Silent, MockChild>) -> Poll<io::Result<ExitStatus>> {
    pin!(reaper).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn dropped_alive_goes_to_the_queue() {
    let child = MockChild::default();
    let reaper = Reaper::<Silent, _>::new(child.clone());
    drop(reaper);
    assert_eq!(orphaned(), 1);
    let mut orphan = QUEUE.with(|queue| queue.0.lock().unwrap().pop().unwrap());
    assert_eq!(orphan.try_wait().unwrap(), None);
    child.end();
    assert_eq!(orphan.try_wait().unwrap().unwrap().code(), Some(7));
}

#[test]
fn dropped_alive_after_a_poll_goes_to_the_queue() {
    let mut reaper = Reaper::new(MockChild::default());
    assert!(poll(&mut reaper).is_pending());
    drop(reaper);
    assert_eq!(orphaned(), 1);
}

#[test]
fn dropped_dead_is_reaped_at_once() {
    let child = MockChild::default();
    let reaper = Reaper::<Silent, _>::new(child.clone());
    child.end();
    drop(reaper);
    assert_eq!(orphaned(), 0);
}

#[test]
fn awaited_goes_nowhere_and_gives_its_status_again() {
    let child = MockChild::default();
    child.end();
    let mut reaper = Reaper::new(child);
    for _ in 0..2 {
        let Poll::Ready(Ok(status)) = poll(&mut reaper) else { panic!("it has ended") };
        assert_eq!(status.code(), Some(7));
    }
    drop(reaper);
    assert_eq!(orphaned(), 0);
}

#[test]
fn taken_out_is_the_callers_again() {
    let child = Reaper::<Silent, _>::new(MockChild::default()).into_inner();
    assert_eq!(orphaned(), 0);
    assert!(!child.killed.load(Ordering::Relaxed));
}

#[test]
fn killed_after_the_end_is_known_is_an_error() {
    let child = MockChild::default();
    let mut reaper = Reaper::<Silent, _>::new(child.clone());
    reaper.kill().unwrap();
    assert!(child.killed.swap(false, Ordering::Relaxed));
    child.end();
    reaper.try_wait().unwrap();
    assert_eq!(reaper.kill().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(!child.killed.load(Ordering::Relaxed));
}
