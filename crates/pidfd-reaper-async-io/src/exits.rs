//! `ExitSource`: one epoll of all pidfds that are waited for, behind one registration with async-io.
//!
//! An `Async` for each pidfd would have async-io allocate a source for two directions, arm it by a
//! system call of its own, and take it out by another. Here a pidfd costs one `epoll_ctl`, and what
//! it waits with is three words; closing it takes it out. Any number of exits wake the reactor once.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_io::Async;
use pidfd_reaper_core::{EdgeEpoll, SharedFd};

use crate::waits::{Answer, Key, Waits};

/// A pidfd that waits for its process to end.
#[derive(Debug)]
pub(crate) struct ExitSource {
    key: Key,
    fd: SharedFd,
    told: Told,
}

/// How far its epoll has come with a pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It will tell of the first edge only: the reaping makes another, which nobody waits for.
    Once,
    /// The first edge was in vain, since a tracer holds the zombie: it tells of all that come.
    Always,
    /// The process has ended: its pidfd is closed next, which takes it out.
    Everything,
}

impl ExitSource {
    pub(crate) fn register(fd: SharedFd) -> io::Result<Self> {
        let exits = Exits::of_this_process()?;
        let key = exits.waits().enter();
        match exits.epoll().add_once(fd.as_fd(), key.into()) {
            Ok(()) => Ok(Self { key, fd, told: Told::Once }),
            Err(error) => {
                exits.waits().leave(key);
                Err(error)
            }
        }
    }

    pub(crate) fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let exits = Exits::of_a_source();
        // Then the waker of before. Both are cloned and dropped after the lock is released.
        let mut clone = None;
        loop {
            let answer = exits.waits().poll(self.key, cx.waker(), &mut clone);
            match answer {
                Answer::Ask => {}
                Answer::Wait => return Poll::Pending,
                Answer::Clone => {
                    clone = Some(cx.waker().clone());
                    continue;
                }
                Answer::Deaf => return Poll::Ready(Err(deaf())),
            }
            match op(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.told == Told::Once {
                        exits.epoll().change_to_all(self.fd.as_fd(), self.key.into())?;
                        self.told = Told::Always;
                    }
                }
                done => {
                    self.told = Told::Everything;
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl Drop for ExitSource {
    fn drop(&mut self) {
        let exits = Exits::of_a_source();
        if self.told != Told::Everything {
            // An error would mean that it is not in there.
            let _ = exits.epoll().remove(self.fd.as_fd());
        }
        let waker = exits.waits().leave(self.key);
        drop(waker);
    }
}

/// All pidfds of this process that are waited for.
#[derive(Debug)]
struct Exits {
    registered: Async<EdgeEpoll>,
    waits: Mutex<Waits>,
    /// What async-io wakes when there are edges to be taken.
    turn: Waker,
}

static EXITS: OnceLock<Exits> = OnceLock::new();

impl Exits {
    /// Made by the first wait, and there for ever, as async-io's own reactor is.
    fn of_this_process() -> io::Result<&'static Self> {
        if let Some(exits) = EXITS.get() {
            return Ok(exits);
        }
        let registered = Async::new_nonblocking(EdgeEpoll::new()?)?;
        let made = Self { registered, waits: Mutex::default(), turn: Arc::new(Turn).into() };
        made.arm()?;
        Ok(EXITS.get_or_init(|| made))
    }

    /// What a source was registered with. It does not keep it: it is one of thousands.
    fn of_a_source() -> &'static Self {
        EXITS.get().expect("they were there when it was registered")
    }

    fn epoll(&self) -> &EdgeEpoll {
        self.registered.get_ref()
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has async-io wake `turn` when there are edges, also if there are some now.
    fn arm(&self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.turn);
        // After an event it is ready once, for that event.
        while let Poll::Ready(ready) = self.registered.poll_readable(&mut cx) {
            ready?;
        }
        Ok(())
    }

    /// Wakes those whose edges have come, and waits for the next.
    fn turn(&self) -> io::Result<()> {
        // Without asking async-io, which may wake for an event and then say that there is none.
        let taken = self.epoll().take(|key| {
            let waker = self.waits().tell(key.into());
            // Outside the lock: it may drop a task, and with it sources.
            if let Some(waker) = waker {
                wake(waker);
            }
        });
        match taken {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => self.arm(),
        }
    }
}

#[derive(Debug)]
struct Turn;

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        if let Some(exits) = EXITS.get() {
            if exits.turn().is_err() {
                let wakers = exits.waits().fall_deaf();
                wakers.into_iter().for_each(wake);
            }
        }
    }
}

/// As async-io does it: a waker that panics keeps no other from being woken.
///
/// The payload is forgotten: its drop could panic again, and then nothing would arm the epoll.
fn wake(waker: Waker) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake())).map_err(mem::forget);
}

fn deaf() -> io::Error {
    io::Error::other("async-io does not watch the children's pidfds any more")
}
