//! `Reactor` and `Source`: all that an async runtime has to bring. An adapter's author reads this
//! file.
//!
//! An adapter is two types. One names the runtime's reactor and is cheap to clone ([`Reactor`]);
//! the other is one descriptor registered with it ([`Source`]). Neither knows what a process is.
//! The example `own_reactor.rs` in this repository is an adapter and an executor over `epoll(7)`,
//! by hand.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::command::pipe::{End, Pipe};
use crate::kernel::pidfd::Pidfd;
use crate::reap::orphan::OrphanQueue;

/// What a [`Source`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Data, or an end of file. A hang-up counts as well.
    Readable,
    /// Room for data. An error or a hang-up counts as well.
    Writable,
    /// The end of a process: that its pidfd is readable, as it then stays.
    Exit,
}

/// An async runtime's reactor, as far as this library needs it.
///
/// # Contract
///
/// - [`current`](Self::current) names the reactor that the calling task will be woken by, and does
///   nothing else: it is called before a fork whose outcome depends on it, and once for each
///   registration.
/// - [`register`](Self::register) may be called from any thread. It registers `fd` for events of
///   `interest` only, edge- or level-triggered. The descriptor stays in non-blocking mode or not,
///   as it is: it is never read by the reactor. If it fails, it leaves nothing behind but its
///   error.
/// - A reactor that ends wakes whoever waits on its sources, and their next
///   [`poll_io`](Source::poll_io) is an error: the wait then goes on with another reactor.
/// - No waker is woken or dropped under a lock that a [`Source`]'s drop takes: a task, with its
///   sources, may go with it.
/// - Dropping a [`Source`] takes the descriptor out of the reactor before it gives up its share of
///   the descriptor. It must be sound on any thread, also after the reactor is gone.
pub trait Reactor: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// A descriptor registered with this reactor.
    type Source: Source;

    /// A child's pipe with the runtime's own I/O traits on it: a newtype over [`Pipe`] in the
    /// adapter's crate, or `Pipe` itself where there are none to put on it.
    type Pipe<K: End>: From<Pipe<Self, K>> + Into<Pipe<Self, K>> + fmt::Debug + Send + Sync + Unpin;

    /// The reactor of the calling context.
    ///
    /// # Errors
    ///
    /// Where there is none; the message says how to get into one.
    fn current() -> io::Result<Self>;

    /// Whether [`current`](Self::current) would return this reactor.
    ///
    /// Where it would not, sources move to that one: so a wait that was begun in one runtime goes on
    /// in another. Where `current` is an error, there is none to move to, and the answer is `true`.
    /// A reactor that is made by its first use answers as if it were made: `false`. A runtime of
    /// which a process has only one keeps the default.
    fn is_current(&self) -> bool {
        true
    }

    /// Takes a unit of the calling task's budget, where the runtime has such a thing (Tokio's
    /// `coop`). It is asked before an operation that goes past a [`Source`].
    ///
    /// `Pending` means that the budget is used up, and that the task is woken once others have had
    /// their turn. By default there is no budget.
    fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Has the calling task, which goes on to return `Pending`, polled again after other tasks and
    /// the reactor have had their turn. By default it is woken at once.
    fn yield_now(cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Registers `fd`.
    ///
    /// # Errors
    ///
    /// Whatever the registration says: `EEXIST` ([`AlreadyExists`](io::ErrorKind::AlreadyExists))
    /// if this descriptor is registered already, `ENOSPC` or `ENOMEM` from `epoll_ctl(2)`, an error
    /// of the runtime's own if it has been shut down. None is fatal to a child: the wait goes on in
    /// another way.
    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<Self::Source>;

    /// Where children go whose handle is dropped while they live: the queue of the process, unless
    /// an adapter (or a test) knows better.
    #[must_use]
    fn orphans() -> &'static dyn OrphanQueue {
        crate::reap::orphans::of_this_process()
    }
}

/// A descriptor that is registered with a reactor for one [`Interest`]; it is taken out when
/// dropped.
pub trait Source: fmt::Debug + Send + Sync + Unpin + 'static {
    /// Runs `op` on the descriptor when it is ready, until it answers anything but
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Contract
    ///
    /// - The descriptor counts as ready from an event until `op` says `WouldBlock`. A source just
    ///   registered counts as not ready; if it is ready in fact, its reactor must deliver an event
    ///   for that.
    /// - While it is ready, `op` is called at once, without asking the reactor. While it is not,
    ///   `op` need not be called.
    /// - `Pending` means that the waker of this `cx`, the latest, is woken by the next event.
    ///   Earlier ones need not be. It does not mean that nothing is ready: a runtime may make a
    ///   busy task yield.
    /// - Readiness is given up before `op` is called, or such that an event between the call
    ///   and its `WouldBlock` is not lost (Tokio's guard of the event does this).
    /// - An event after which `op` says `WouldBlock` may come once for each change, never in a
    ///   loop: a zombie that a tracer holds is readable for hours without being reapable. A
    ///   level-triggered reactor watches an [`EdgeEpoll`](crate::EdgeEpoll) in its place.
    ///
    /// # Errors
    ///
    /// Those of `op`, and those of the reactor itself: a runtime that has been shut down.
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>>;
}

/// A descriptor with several owners: the child's record, and the reactor it is registered with.
///
/// Made only of types that keep one descriptor open for as long as they live. So what is registered
/// cannot be closed under the reactor.
#[derive(Clone)]
pub struct SharedFd(Arc<dyn AsFd + Send + Sync + UnwindSafe + RefUnwindSafe>);

impl From<Arc<Pidfd>> for SharedFd {
    fn from(fd: Arc<Pidfd>) -> Self {
        Self(fd)
    }
}

impl From<Arc<OwnedFd>> for SharedFd {
    fn from(fd: Arc<OwnedFd>) -> Self {
        Self(fd)
    }
}

impl From<OwnedFd> for SharedFd {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl SharedFd {
    /// Of the orphan queue's epoll.
    pub(crate) fn of_queue(
        fd: Arc<impl AsFd + Send + Sync + UnwindSafe + RefUnwindSafe + 'static>,
    ) -> Self {
        Self(fd)
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.as_raw_fd()).finish()
    }
}
