//! `ChildSet`: many children at once, and whichever exits next.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::child::Child;
use crate::kernel::fork_guard::ForkGuard;
use crate::reactor::Reactor;
use crate::reap::process::Process;
use crate::reap::readiness::Readiness;
use crate::reap::wakers::contain;

/// A set of children, of which [`next`](Self::next) returns the one that exits next.
///
/// An exit costs the same with ten members or ten thousand: only a member that was woken is asked.
/// Dropping the set drops the children: each according to its command's policy.
///
/// ```
/// # use pidfd_reaper_core::{ChildSet, Command, Reactor};
/// # async fn run<R: Reactor>() -> std::io::Result<()> {
/// let mut set = ChildSet::<R>::new();
/// for code in ["1", "2", "3"] {
///     set.add(Command::new("sh").args(["-c", "exit $0", code]).spawn()?);
/// }
/// while let Some(ended) = set.next().await {
///     println!("{:?} has exited: {}", ended.id, ended.result?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct ChildSet<R: Reactor> {
    members: BTreeMap<ChildId, Member<R>>,
    woken: Arc<Woken>,
    /// The reactor with which the members are registered.
    reactor: Option<R>,
    guard: ForkGuard,
}

/// Names a member of a [`ChildSet`]. No two members of any sets of a process have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(u64);

impl ChildId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A member that has exited, and is no longer one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended<R: Reactor> {
    /// Its name in the set.
    pub id: ChildId,
    /// The child, with what is left of its pipes.
    pub child: Child<R>,
    /// Its status, or why it could not be waited for; see [`Child::wait`].
    pub result: io::Result<ExitStatus>,
}

struct Member<R: Reactor> {
    child: Child<R>,
    /// Of the child that is registered.
    process: Process,
    /// The set's own registration. What is awaited through [`ChildSet::get_mut`] registers beside
    /// it, and takes nothing from it.
    readiness: Readiness<R>,
    waker: Waker,
}

impl<R: Reactor> Member<R> {
    fn poll(&mut self, guard: ForkGuard) -> Poll<io::Result<ExitStatus>> {
        let process = self.child.owned.process();
        if !process.is_same(&self.process) {
            // Another child was put in its place.
            self.process = process.clone();
            self.readiness = Readiness::Unregistered;
        }
        let cx = &mut Context::from_waker(&self.waker);
        self.readiness.poll_exit(&mut self.process, guard, cx)
    }
}

/// The members to be asked, and the task that asks them.
///
/// Its lock is taken by the wakers of the members. So a waker of the task is woken and dropped after
/// the lock is released: a task may go with it, and with that a runtime which wakes the members.
#[derive(Default)]
struct Woken(Mutex<(VecDeque<ChildId>, Option<Waker>)>);

impl Woken {
    fn state(&self) -> MutexGuard<'_, (VecDeque<ChildId>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member's waker: puts it on the list and wakes the task.
struct MemberWaker {
    id: ChildId,
    woken: Arc<Woken>,
}

impl Wake for MemberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut state = self.woken.state();
            state.0.push_back(self.id);
            state.1.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<R: Reactor> ChildSet<R> {
    /// An empty set. It needs no runtime.
    #[must_use]
    pub fn new() -> Self {
        let (members, woken) = (BTreeMap::new(), Arc::default());
        Self { members, woken, reactor: None, guard: ForkGuard::new() }
    }

    /// Adds a child.
    ///
    /// Its standard input stays as it is: take it out, or drop it, if the child reads it to the end.
    pub fn add(&mut self, mut child: Child<R>) -> ChildId {
        let id = ChildId::next();
        let waker = Waker::from(Arc::new(MemberWaker { id, woken: Arc::clone(&self.woken) }));
        let readiness = child.owned.reaper.take_readiness();
        let process = child.owned.process().clone();
        self.members.insert(id, Member { child, process, readiness, waker });
        // To be asked for the first time.
        self.ask_again([id]);
        id
    }

    /// Takes a child out; `None` if it is not, or no longer, in the set.
    pub fn remove(&mut self, id: ChildId) -> Option<Child<R>> {
        self.members.remove(&id).map(|member| member.child)
    }

    /// The child of that name, to signal it, take its pipes or wait for it.
    ///
    /// Its exit is returned by [`next`](Self::next) all the same. Another child may be put in its
    /// place, which is then the member.
    pub fn get_mut(&mut self, id: ChildId) -> Option<&mut Child<R>> {
        // In case that the caller puts another one in its place.
        self.ask_again([id]);
        self.members.get_mut(&id).map(|member| &mut member.child)
    }

    /// Has members asked by the next poll, and the task woken for that.
    fn ask_again(&self, ids: impl IntoIterator<Item = ChildId>) {
        // In a forked process the lock may be held by a thread that is not there.
        if self.guard.is_here() {
            let task = {
                let mut state = self.woken.state();
                state.0.extend(ids);
                state.1.take()
            };
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// How many were not returned by [`next`](Self::next) yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether all were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits for the next exit, and takes that child out; `None` if the set is empty.
    ///
    /// In a forked process it returns every member with an error: they are its parent's children.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again, also in another runtime: no exit is lost.
    pub async fn next(&mut self) -> Option<Ended<R>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What [`next`](Self::next) polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<R>>> {
        if !self.guard.is_here() {
            let Some((id, member)) = self.members.pop_first() else { return Poll::Ready(None) };
            let error = ForkGuard::error(member.child.owned.process().id());
            return Poll::Ready(Some(Ended { id, child: member.child, result: Err(error) }));
        }
        if self.is_empty() {
            return Poll::Ready(None);
        }
        self.follow_the_reactor();
        let mut task = Some(cx.waker().clone());
        // Only those woken by now: a runtime that makes its task yield wakes a member at once.
        let mut woken = {
            let mut state = self.woken.state();
            mem::swap(&mut state.1, &mut task);
            mem::take(&mut state.0)
        };
        // The waker of the poll before. A panic in its drop must not lose those that were woken.
        contain(|| drop(task));
        while let Some(id) = woken.pop_front() {
            let Entry::Occupied(mut member) = self.members.entry(id) else { continue };
            let Poll::Ready(result) = member.get_mut().poll(self.guard) else { continue };
            // The others have their turn at the next call.
            let mut state = self.woken.state();
            woken.append(&mut state.0);
            state.0 = woken;
            drop(state);
            let child = member.remove().child;
            return Poll::Ready(Some(Ended { id, child, result }));
        }
        Poll::Pending
    }

    /// Has all members asked, and registered anew, if the set is polled in another runtime than
    /// before: the one of before may never run again, and would wake no member.
    fn follow_the_reactor(&mut self) {
        if self.reactor.as_ref().is_some_and(Reactor::is_current) {
            return;
        }
        if self.reactor.take().is_some() {
            let members = self.members.keys().copied();
            self.woken.state().0.extend(members);
        }
        self.reactor = R::current().ok();
    }
}

impl<R: Reactor> Default for ChildSet<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Reactor> fmt::Debug for ChildSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.members.iter().map(|(id, member)| (id, &member.child))).finish()
    }
}
