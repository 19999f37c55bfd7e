//! An exit in a `ChildSet` costs the same however many members there are: only the one that was
//! woken is asked. Shown by a reactor that counts, and that is told which child has ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::process::Stdio;
use std::task::{Context, Poll, Waker};

use pidfd_reaper_core::{
    ChildSet, Command, End, Ended, Interest, Pipe, Reactor, SharedFd, Signal, Source,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

const MEMBERS: usize = 300;

thread_local! {
    /// How often any source was asked.
    static ASKED: Cell<usize> = const { Cell::new(0) };
    /// The sources, in the order of their registration: who waits, and whether it is ready.
    static SOURCES: RefCell<Vec<(Waker, bool)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy, Debug)]
struct Counting;

impl Reactor for Counting {
    type Source = CountingSource;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        Ok(Self)
    }

    fn register(&self, fd: SharedFd, _interest: Interest) -> io::Result<CountingSource> {
        let number = SOURCES.with_borrow_mut(|sources| {
            sources.push((Waker::noop().clone(), false));
            sources.len() - 1
        });
        Ok(CountingSource { fd, number })
    }
}

#[derive(Debug)]
struct CountingSource {
    fd: SharedFd,
    number: usize,
}

impl Source for CountingSource {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        ASKED.set(ASKED.get() + 1);
        SOURCES.with_borrow_mut(|sources| {
            let (waker, is_ready) = &mut sources[self.number];
            waker.clone_from(cx.waker());
            if *is_ready { Poll::Ready(op(self.fd.as_fd())) } else { Poll::Pending }
        })
    }
}

fn poll_next(set: &mut ChildSet<Counting>) -> Poll<Option<Ended<Counting>>> {
    pin!(set.next()).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn only_the_member_that_was_woken_is_asked() {
    let mut set = ChildSet::new();
    let mut ids = Vec::new();
    for _ in 0..MEMBERS {
        let mut command = Command::<Counting>::new("cat");
        ids.push(set.add(command.stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap()));
    }
    assert!(poll_next(&mut set).is_pending());
    assert_eq!(ASKED.get(), MEMBERS);
    for number in [MEMBERS / 2, 0, MEMBERS - 1] {
        let child = set.get_mut(ids[number]).unwrap();
        child.signal(Signal::KILL).unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_raw(pid).unwrap()), look).unwrap();
        let before = ASKED.get();
        let waker = SOURCES.with_borrow_mut(|sources| {
            sources[number].1 = true;
            sources[number].0.clone()
        });
        waker.wake();
        let Poll::Ready(Some(ended)) = poll_next(&mut set) else { panic!("{number} has ended") };
        assert_eq!(ended.id, ids[number]);
        assert!(poll_next(&mut set).is_pending());
        assert_eq!(ASKED.get() - before, 1);
    }
}
