//! `Pipe`: a child's standard input, output or error, before a runtime's own traits are put on it.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read, readv, write, writev};

use crate::kernel::retry;
use crate::reactor::{Interest, Reactor};
use crate::reap::lazy::LazyFd;

/// Which of a child's three pipes it is: [`Stdin`], [`Stdout`] or [`Stderr`].
pub trait End: sealed::Sealed + fmt::Debug + Send + Sync + Unpin + 'static {
    /// The standard library's type of it.
    type Std: From<OwnedFd> + Into<OwnedFd>;
    /// What the parent waits for on it.
    const INTEREST: Interest;
}

/// An [`End`] that the parent reads.
pub trait ReadEnd: End {}

/// Marks a child's standard input, which the parent writes.
#[derive(Debug)]
pub enum Stdin {}

/// Marks a child's standard output, which the parent reads.
#[derive(Debug)]
pub enum Stdout {}

/// Marks a child's standard error, which the parent reads.
#[derive(Debug)]
pub enum Stderr {}

impl End for Stdin {
    type Std = ChildStdin;
    const INTEREST: Interest = Interest::Writable;
}

impl End for Stdout {
    type Std = ChildStdout;
    const INTEREST: Interest = Interest::Readable;
}

impl End for Stderr {
    type Std = ChildStderr;
    const INTEREST: Interest = Interest::Readable;
}

impl ReadEnd for Stdout {}
impl ReadEnd for Stderr {}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else has an end of a pipe to name")]
    pub trait Sealed {}
    impl Sealed for super::Stdin {}
    impl Sealed for super::Stdout {}
    impl Sealed for super::Stderr {}
}

/// As much as a `Vec` is given that has no room.
const ROOM: usize = 32;

/// The parent's end of a child's pipe, read and written on the reactor `R`.
///
/// It is made non-blocking and registered by the first read or write that has to wait. So it can be
/// made outside a runtime, moves to another, and costs nothing if it is only handed on.
///
/// It yields: after a number of operations that did not have to wait, a poll is not ready although
/// the next would be, and the task is polled again after others.
///
/// # Cancel safety
///
/// A poll that is not ready has read or written nothing.
pub struct Pipe<R: Reactor, K: End> {
    fd: LazyFd<R>,
    /// How many operations have succeeded in a row.
    in_a_row: u8,
    end: PhantomData<K>,
}

/// After so many operations that did not have to wait, other tasks have their turn: a child that is
/// faster than the task would keep the executor for itself.
const MOST_IN_A_ROW: u8 = 64;

impl<R: Reactor, K: End> Pipe<R, K> {
    /// Takes over the standard library's pipe.
    pub fn from_std(pipe: K::Std) -> Self {
        Self { fd: LazyFd::blocking(pipe.into()), in_a_row: 0, end: PhantomData }
    }

    /// Gives the descriptor back, out of the reactor and blocking again, as other programs expect
    /// it.
    ///
    /// # Errors
    ///
    /// None that fcntl(2) documents can happen to a descriptor that is open; they are passed on if
    /// they do.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        self.fd.into_owned_fd()
    }

    /// Makes it the input or output of another process.
    ///
    /// # Errors
    ///
    /// Those of [`into_owned_fd`](Self::into_owned_fd).
    pub fn into_stdio(self) -> io::Result<Stdio> {
        self.into_owned_fd().map(Stdio::from)
    }

    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<io::Result<T>> {
        if self.in_a_row == MOST_IN_A_ROW {
            self.in_a_row = 0;
            R::yield_now(cx);
            return Poll::Pending;
        }
        let polled = self.fd.poll_io(cx, K::INTEREST, |fd| Ok(retry(|| op(fd))?));
        self.in_a_row = if polled.is_ready() { self.in_a_row + 1 } else { 0 };
        polled
    }
}

impl<R: Reactor, K: ReadEnd> Pipe<R, K> {
    /// Reads into `buf`; zero means the end (or an empty `buf`).
    ///
    /// # Errors
    ///
    /// Those of read(2), of the registration, and of [`Reactor::current`] where there is no
    /// runtime.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| read(fd, &mut *buf))
    }

    /// Reads into several buffers, like [`poll_read`](Self::poll_read).
    ///
    /// # Errors
    ///
    /// Those of [`poll_read`](Self::poll_read).
    pub fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| readv(fd, bufs))
    }

    /// Appends to `buf` what it has room for, without writing to that room first; makes some room
    /// if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`poll_read`](Self::poll_read).
    pub fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if buf.capacity() == buf.len() {
            buf.reserve(ROOM);
        }
        self.poll_io(cx, |fd| read(fd, spare_capacity(buf)))
    }
}

impl<R: Reactor, K: ReadEnd> Pipe<R, K> {
    /// [`poll_append`](Self::poll_append), without waiting or asking the reactor.
    pub(crate) fn append_now(&mut self, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        self.fd.make_nonblocking()?;
        match retry(|| read(&self.fd, spare_capacity(buf))) {
            Err(Errno::AGAIN) => Poll::Pending,
            done => Poll::Ready(done.map_err(io::Error::from)),
        }
    }
}

impl<R: Reactor> Pipe<R, Stdin> {
    /// Writes from `buf`: at least a byte, unless it is empty.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if nobody has the other end any more; else as for
    /// reading.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| write(fd, buf))
    }

    /// Writes from several buffers, like [`poll_write`](Self::poll_write).
    ///
    /// # Errors
    ///
    /// Those of [`poll_write`](Self::poll_write).
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| writev(fd, bufs))
    }
}

impl<R: Reactor, K: End> AsFd for Pipe<R, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<R: Reactor, K: End> fmt::Debug for Pipe<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipe").field(&self.fd).finish()
    }
}
