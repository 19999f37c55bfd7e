//! `ChildSet`: many children at once, and whichever ends next.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::child::Child;
use crate::reactor::Reactor;

/// A set of children, of which [`next`](Self::next) gives the one that ends next.
///
/// An exit costs the same with ten members or ten thousand: only a member that was woken is asked.
/// Dropping the set drops the children: each goes the way that its command asked for.
///
/// ```
/// # use pidfd_reaper_core::{ChildSet, Command, Reactor};
/// # async fn run<R: Reactor>() -> std::io::Result<()> {
/// let mut set = ChildSet::<R>::new();
/// for code in ["1", "2", "3"] {
///     set.add(Command::new("sh").args(["-c", "exit $0", code]).spawn()?);
/// }
/// while let Some(ended) = set.next().await {
///     println!("{:?} ended with {}", ended.id, ended.result?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct ChildSet<R: Reactor> {
    members: BTreeMap<ChildId, Member<R>>,
    next_id: u64,
    woken: Arc<Woken>,
}

/// Names a member of a [`ChildSet`]; each name is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(u64);

/// A member that has ended, and is no longer one.
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
    waker: Waker,
}

/// The members to be asked, and the task that asks them.
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
        Self { members: BTreeMap::new(), next_id: 0, woken: Arc::default() }
    }

    /// Adds a child.
    ///
    /// Its standard input stays as it is: take it out, or drop it, if the child reads to its end.
    pub fn add(&mut self, child: Child<R>) -> ChildId {
        let id = ChildId(self.next_id);
        self.next_id += 1;
        let waker = Waker::from(Arc::new(MemberWaker { id, woken: Arc::clone(&self.woken) }));
        // To be asked for the first time.
        waker.wake_by_ref();
        self.members.insert(id, Member { child, waker });
        id
    }

    /// Takes a child out; `None` if it is not, or no longer, in the set.
    pub fn remove(&mut self, id: ChildId) -> Option<Child<R>> {
        self.members.remove(&id).map(|member| member.child)
    }

    /// The child of that name, to signal it or take its pipes.
    pub fn get_mut(&mut self, id: ChildId) -> Option<&mut Child<R>> {
        self.members.get_mut(&id).map(|member| &mut member.child)
    }

    /// How many have not ended yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits for the next end, and takes that child out; `None` if the set is empty.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again: no end is lost.
    pub async fn next(&mut self) -> Option<Ended<R>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What [`next`](Self::next) polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<R>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        // Only those woken by now: a runtime that makes its task yield wakes a member at once.
        let mut woken = {
            let mut state = self.woken.state();
            state.1 = Some(cx.waker().clone());
            std::mem::take(&mut state.0)
        };
        while let Some(id) = woken.pop_front() {
            let Entry::Occupied(mut member) = self.members.entry(id) else { continue };
            let Member { child, waker } = member.get_mut();
            let polled = Pin::new(&mut child.owned.reaper).poll(&mut Context::from_waker(waker));
            let Poll::Ready(result) = polled else { continue };
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
