//! A child's pipes with Tokio's `AsyncRead` and `AsyncWrite`.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pidfd_reaper_core::{End, Pipe, ReadEnd, Stdin, Stdio};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Tokio;

/// How much one read asks for at most, a full pipe: the room for more would be initialized in vain.
const PIPE_SIZE: usize = 64 * 1024;

/// The parent's end of a child's pipe: [`ChildStdin`](crate::ChildStdin),
/// [`ChildStdout`](crate::ChildStdout) or [`ChildStderr`](crate::ChildStderr).
///
/// The first read or write that has to wait registers it with the runtime it is polled in; none is
/// needed before. Reads and writes are cancel safe. Nothing is buffered: `flush` and `shutdown`
/// have nothing to do, and the child sees the end of its input when the
/// [`ChildStdin`](crate::ChildStdin) is dropped, as with `tokio::process`.
#[derive(Debug)]
pub struct ChildPipe<K: End>(Pipe<Tokio, K>);

impl<K: End> ChildPipe<K> {
    /// Takes over the standard library's pipe.
    ///
    /// # Errors
    ///
    /// None: it returns a `Result` because `tokio::process` does.
    pub fn from_std(inner: K::Std) -> io::Result<Self> {
        Ok(Self(Pipe::from_std(inner)))
    }

    /// Gives the descriptor back, out of the runtime and in blocking mode.
    ///
    /// # Errors
    ///
    /// Those of [`Pipe::into_owned_fd`].
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        self.0.into_owned_fd()
    }
}

impl<K: ReadEnd> AsyncRead for ChildPipe<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining().min(PIPE_SIZE);
        let read = ready!(self.0.poll_read(cx, buf.initialize_unfilled_to(room)))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChildPipe<Stdin> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Blocking again, as the other process expects it.
impl<K: End> TryFrom<ChildPipe<K>> for Stdio {
    type Error = io::Error;

    fn try_from(pipe: ChildPipe<K>) -> io::Result<Stdio> {
        pipe.0.into_owned_fd().map(Stdio::from)
    }
}

/// Blocking again, as the other process expects it.
impl<K: End> TryFrom<ChildPipe<K>> for std::process::Stdio {
    type Error = io::Error;

    fn try_from(pipe: ChildPipe<K>) -> io::Result<Self> {
        pipe.0.into_stdio()
    }
}

impl<K: End> AsFd for ChildPipe<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<K: End> AsRawFd for ChildPipe<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<K: End> From<Pipe<Tokio, K>> for ChildPipe<K> {
    fn from(pipe: Pipe<Tokio, K>) -> Self {
        Self(pipe)
    }
}

impl<K: End> From<ChildPipe<K>> for Pipe<Tokio, K> {
    fn from(pipe: ChildPipe<K>) -> Self {
        pipe.0
    }
}
