//! `ExitSet`: all pidfds that are waited for, behind one epoll.
//!
//! A reactor that registers each pidfd by itself allocates a source for it, arms it by system calls
//! of its own, and takes it out again by another. Here a pidfd costs one `epoll_ctl`, and a slot of
//! three words; closing it takes it out. Any number of exits wake the reactor once.

use std::fmt;
use std::io;
use std::mem;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::kernel::edge::EdgeEpoll;
use crate::reactor::{SharedFd, Source};
use crate::reap::wakers::wake_all;
use crate::sync::{Mutex, MutexGuard};

/// All pidfds that a reactor waits for, behind one descriptor.
///
/// An adapter whose reactor is level-triggered, or expensive for each descriptor, registers this one
/// instead, and calls [`dispatch`](Self::dispatch) after each event. It is readable while exits are
/// to be dispatched. Its [`ExitSource`]s are what
/// [`Reactor::register`](crate::Reactor::register) returns for
/// [`Interest::Exit`](crate::Interest::Exit).
///
/// Any number of threads may register, poll and dispatch at once. See
/// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html).
pub struct ExitSet(Table<EdgeEpoll>);

impl ExitSet {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`: out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Table::new(EdgeEpoll::new()?)))
    }

    /// Registers `fd`, a pidfd, with the set that `set` leads to: a reference, an `Arc`, or a type of
    /// the adapter's.
    ///
    /// # Errors
    ///
    /// `EEXIST` ([`AlreadyExists`](io::ErrorKind::AlreadyExists)) if this descriptor is registered
    /// already; `ENOSPC` (`/proc/sys/fs/epoll/max_user_watches`), `ENOMEM`.
    pub fn register<S: Deref<Target = Self>>(set: S, fd: SharedFd) -> io::Result<ExitSource<S>> {
        let key = set.0.insert(&fd)?;
        Ok(ExitSource { set, key, fd, arming: Arming::Oneshot })
    }

    /// Takes the exits that there are, without blocking, and wakes the tasks that wait for them.
    ///
    /// It dispatches up to 64 at once: the descriptor stays readable while there are more. A waker
    /// that panics keeps no other from being woken.
    ///
    /// # Errors
    ///
    /// `EINTR` if a signal interrupts it again and again; `EBADF` or `EINVAL` if the program has
    /// closed the descriptor; a filter's refusal. Then nothing is dispatched any more:
    /// [`close`](Self::close) it, so that the waits go on in another way.
    pub fn dispatch(&self) -> io::Result<()> {
        self.0.dispatch()
    }

    /// Dispatches nothing from now on. All tasks are woken, and their sources answer with an error.
    pub fn close(&self) {
        self.0.close();
    }
}

impl AsFd for ExitSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.epoll.as_fd()
    }
}

impl fmt::Debug for ExitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExitSet").field(&self.0.epoll).finish()
    }
}

/// A pidfd in an [`ExitSet`]; it is taken out when dropped.
#[derive(Debug)]
pub struct ExitSource<S: Deref<Target = ExitSet>> {
    set: S,
    key: Key,
    fd: SharedFd,
    arming: Arming,
}

/// What the epoll reports of a pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    /// `EPOLLONESHOT`: only the exit; reaping raises a second event, for which nothing waits.
    Oneshot,
    /// All events: the first was spurious, since a tracer holds the zombie.
    Every,
    /// The process has exited: its pidfd is closed next, which takes it out.
    Done,
}

impl<S> Source for ExitSource<S>
where
    S: Deref<Target = ExitSet> + fmt::Debug + Send + Sync + Unpin + 'static,
{
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match self.set.0.poll(self.key, cx.waker()) {
                Readiness::Ready => {}
                Readiness::Pending => return Poll::Pending,
                Readiness::Closed => return Poll::Ready(Err(closed())),
            }
            match op(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.arming == Arming::Oneshot {
                        self.set.0.epoll.rearm(&self.fd, self.key.into())?;
                        self.arming = Arming::Every;
                    }
                }
                done => {
                    self.arming = Arming::Done;
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl<S: Deref<Target = ExitSet>> Drop for ExitSource<S> {
    fn drop(&mut self) {
        let table = &self.set.0;
        if self.arming != Arming::Done {
            // An error means that it is not in there.
            let _ = Epoll::remove(&table.epoll, &self.fd);
        }
        table.remove(self.key);
    }
}

fn closed() -> io::Error {
    io::Error::other("the reactor does not watch the pidfds of children any more")
}

/// What a [`Table`] needs of an epoll, or of a model of one.
pub(super) trait Epoll {
    type Fd;

    /// Has the exit of `fd` reported once, under `key`, also if it lies in the past.
    fn add_oneshot(&self, fd: &Self::Fd, key: u64) -> io::Result<()>;

    /// Has every event of `fd` reported. An exit that lies in the past counts as one.
    fn rearm(&self, fd: &Self::Fd, key: u64) -> io::Result<()>;

    fn remove(&self, fd: &Self::Fd) -> io::Result<()>;

    fn take(&self, each: impl FnMut(u64)) -> io::Result<()>;
}

impl Epoll for EdgeEpoll {
    type Fd = SharedFd;

    fn add_oneshot(&self, fd: &SharedFd, key: u64) -> io::Result<()> {
        self.add_once(fd.as_fd(), key)
    }

    fn rearm(&self, fd: &SharedFd, key: u64) -> io::Result<()> {
        self.change_to_all(fd.as_fd(), key)
    }

    fn remove(&self, fd: &SharedFd) -> io::Result<()> {
        Self::remove(self, fd.as_fd())
    }

    fn take(&self, each: impl FnMut(u64)) -> io::Result<()> {
        Self::take(self, each)
    }
}

/// A slot for each pidfd, and the epoll that they are in.
///
/// # Order
///
/// A slot is there before its pidfd is in the epoll, so the first event finds it. It is removed after
/// its pidfd was taken out of the epoll; an event that was taken by then, and is dispatched later,
/// finds another generation in the slot, or none.
///
/// An event is noted in the slot, and the waker is taken, under one lock. A poll looks for the event,
/// and stores its waker, under the same lock. So a poll either finds the event or its waker is the
/// one that is woken. A waker is foreign code: it is cloned, woken and dropped after the lock is
/// released.
pub(super) struct Table<E> {
    pub(super) epoll: E,
    slots: Mutex<Slots>,
}

/// What a poll finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// There was an event since the last poll.
    Ready,
    Pending,
    Closed,
}

impl<E: Epoll> Table<E> {
    pub(super) fn new(epoll: E) -> Self {
        Self { epoll, slots: Mutex::new(Slots::default()) }
    }

    pub(super) fn insert(&self, fd: &E::Fd) -> io::Result<Key> {
        let key = self.slots().insert();
        self.epoll.add_oneshot(fd, key.into()).inspect_err(|_| self.remove(key))?;
        Ok(key)
    }

    pub(super) fn poll(&self, key: Key, waker: &Waker) -> Readiness {
        let mut clone = None;
        loop {
            let mut slots = self.slots();
            let is_closed = slots.is_closed;
            let slot = slots.get_mut(key).expect("a source has a slot until it is dropped");
            if mem::take(&mut slot.has_event) {
                return Readiness::Ready;
            }
            if is_closed {
                return Readiness::Closed;
            }
            if slot.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return Readiness::Pending;
            }
            if clone.is_some() {
                let before = mem::replace(&mut slot.waker, clone);
                drop(slots);
                drop(before);
                return Readiness::Pending;
            }
            drop(slots);
            clone = Some(waker.clone());
        }
    }

    pub(super) fn dispatch(&self) -> io::Result<()> {
        self.epoll.take(|key| {
            let waker = self.slots().note_event(key.into());
            wake_all(waker);
        })
    }

    pub(super) fn close(&self) {
        let wakers = self.slots().close();
        wake_all(wakers);
    }

    /// Its pidfd must be out of the epoll.
    pub(super) fn remove(&self, key: Key) {
        let waker = self.slots().remove(key);
        drop(waker);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot and its generation: a late event does not find the next owner of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

impl From<Key> for u64 {
    fn from(key: Key) -> u64 {
        u64::from(key.generation) << 32 | u64::from(key.slot)
    }
}

impl From<u64> for Key {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    fn from(key: u64) -> Self {
        Self { slot: key as u32, generation: (key >> 32) as u32 }
    }
}

#[derive(Default)]
struct Slots {
    entries: Vec<Entry>,
    /// The first of those that are free; each has the next.
    free: Option<u32>,
    generation: u32,
    is_closed: bool,
}

enum Entry {
    Free(Option<u32>),
    Used(Slot),
}

#[derive(Default)]
struct Slot {
    generation: u32,
    has_event: bool,
    waker: Option<Waker>,
}

impl Slots {
    fn insert(&mut self) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let used = Entry::Used(Slot { generation, ..Slot::default() });
        let Some(slot) = self.free else {
            self.entries.push(used);
            let slot = u32::try_from(self.entries.len() - 1).expect("there are fewer descriptors");
            return Key { slot, generation };
        };
        if let Entry::Free(next) = mem::replace(&mut self.entries[slot as usize], used) {
            self.free = next;
        }
        Key { slot, generation }
    }

    fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        match self.entries.get_mut(key.slot as usize)? {
            Entry::Used(slot) if slot.generation == key.generation => Some(slot),
            Entry::Used(_) | Entry::Free(_) => None,
        }
    }

    fn note_event(&mut self, key: Key) -> Option<Waker> {
        let slot = self.get_mut(key)?;
        slot.has_event = true;
        slot.waker.take()
    }

    fn close(&mut self) -> Vec<Waker> {
        self.is_closed = true;
        let used = self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Used(slot) => slot.waker.take(),
            Entry::Free(_) => None,
        });
        used.collect()
    }

    fn remove(&mut self, key: Key) -> Option<Waker> {
        let waker = self.get_mut(key)?.waker.take();
        self.entries[key.slot as usize] = Entry::Free(self.free.replace(key.slot));
        waker
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// An epoll that reports what it is told to.
    struct Reports(Mutex<Vec<u64>>);

    impl Epoll for Reports {
        type Fd = ();

        fn add_oneshot(&self, (): &(), _key: u64) -> io::Result<()> {
            Ok(())
        }

        fn rearm(&self, (): &(), _key: u64) -> io::Result<()> {
            Ok(())
        }

        fn remove(&self, (): &()) -> io::Result<()> {
            Ok(())
        }

        fn take(&self, each: impl FnMut(u64)) -> io::Result<()> {
            let reports = mem::take(&mut *self.0.lock().unwrap());
            reports.into_iter().for_each(each);
            Ok(())
        }
    }

    fn table() -> Table<Reports> {
        Table::new(Reports(Mutex::default()))
    }

    fn report(table: &Table<Reports>, key: Key) {
        table.epoll.0.lock().unwrap().push(key.into());
        table.dispatch().unwrap();
    }

    fn poll(table: &Table<Reports>, key: Key) -> Readiness {
        table.poll(key, Waker::noop())
    }

    #[test]
    fn a_late_event_does_not_reach_the_next_owner_of_the_slot() {
        let table = table();
        let first = table.insert(&()).unwrap();
        table.remove(first);
        let second = table.insert(&()).unwrap();
        assert_eq!(first.slot, second.slot);
        report(&table, first);
        assert_eq!(poll(&table, second), Readiness::Pending);
        report(&table, second);
        assert_eq!(poll(&table, second), Readiness::Ready);
        assert_eq!(poll(&table, second), Readiness::Pending);
    }

    #[test]
    fn an_event_before_the_first_poll_is_kept() {
        let table = table();
        let key = table.insert(&()).unwrap();
        report(&table, key);
        assert_eq!(poll(&table, key), Readiness::Ready);
        assert_eq!(poll(&table, key), Readiness::Pending);
    }

    #[test]
    fn once_closed_all_find_it_closed_after_their_events() {
        let table = table();
        let (waiting, reported) = (table.insert(&()).unwrap(), table.insert(&()).unwrap());
        assert_eq!(poll(&table, waiting), Readiness::Pending);
        report(&table, reported);
        table.close();
        assert_eq!(poll(&table, waiting), Readiness::Closed);
        assert_eq!(poll(&table, reported), Readiness::Ready);
        assert_eq!(poll(&table, reported), Readiness::Closed);
    }

    #[test]
    fn slots_are_used_again() {
        let table = table();
        let keys: Vec<_> = (0..3).map(|_| table.insert(&()).unwrap()).collect();
        table.remove(keys[1]);
        table.remove(keys[0]);
        let again: Vec<_> = (0..3).map(|_| table.insert(&()).unwrap().slot).collect();
        assert_eq!(again, [0, 1, 3]);
    }
}
