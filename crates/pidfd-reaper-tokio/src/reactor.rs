//! `Tokio`: the reactor of a Tokio runtime, over `AsyncFd`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use pidfd_reaper_core::{End, Interest, Reactor, SharedFd, Source};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::coop;

use crate::{ChildPipe, deferred};

/// The reactor of a Tokio runtime.
///
/// [`current`](Reactor::current) is the runtime in whose context the caller is: in a task, in
/// `block_on`, or under [`Handle::enter`]. Outside it is an error of kind
/// [`Other`](io::ErrorKind::Other), that says so.
#[derive(Clone, Debug)]
pub struct Tokio(Handle);

impl Reactor for Tokio {
    type Source = TokioSource;
    type Pipe<K: End> = ChildPipe<K>;

    fn current() -> io::Result<Self> {
        Handle::try_current().map(Self).map_err(|_| {
            io::Error::other(
                "no Tokio runtime here to wait for a child process: call this in a task, inside \
                 Runtime::block_on, or while a guard of Handle::enter is held",
            )
        })
    }

    fn is_current(&self) -> bool {
        Handle::try_current().map_or(true, |here| here.id() == self.0.id())
    }

    fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
        coop::poll_proceed(cx).map(|budget| budget.made_progress())
    }

    /// After the I/O driver has had its turn, which a task that wakes itself would keep from it.
    fn yield_now(cx: &mut Context<'_>) {
        deferred::wake(cx.waker());
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<TokioSource> {
        let tokio_interest = match interest {
            Interest::Writable => tokio::io::Interest::WRITABLE,
            _ => tokio::io::Interest::READABLE,
        };
        let _context = self.0.enter();
        // SAFETY: a SharedFd keeps one descriptor open, and gives that same one, for as long as it
        // or a clone of it lives; this one lives in the AsyncFd, which is only ever dropped whole.
        #[expect(unsafe_code, reason = "Tokio asks for that promise since 1.54")]
        let registered = unsafe { AsyncFd::register_with_interest(fd, tokio_interest) };
        let fd = registered.map_err(|error| error.into_parts().1)?;
        Ok(TokioSource { fd, interest })
    }
}

/// A descriptor registered with a Tokio runtime.
#[derive(Debug)]
pub struct TokioSource {
    fd: AsyncFd<SharedFd>,
    interest: Interest,
}

impl Source for TokioSource {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = ready!(match self.interest {
                Interest::Writable => self.fd.poll_write_ready(cx),
                _ => self.fd.poll_read_ready(cx),
            })?;
            // The guard clears the event that it stands for, and none that comes during `op`.
            if let Ok(done) = guard.try_io(|fd| op(fd.get_ref().as_fd())) {
                return Poll::Ready(done);
            }
        }
    }
}
