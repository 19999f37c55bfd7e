//! The runtimes: all that a body has to know of one to run on it.

use std::future::{Future, poll_fn};
use std::io;
use std::process::Stdio;

use futures_lite::AsyncReadExt as _;
use futures_lite::future::poll_once;
use pidfd_reaper::smol::{AsyncIo, ChildPipe as AsyncIoPipe};
use pidfd_reaper::tokio::{ChildPipe as TokioPipe, Tokio};
use pidfd_reaper::{Child, Command, Pidfd, Pipe, Reactor, Stdin, Stdout};

/// The fifth runtime, written by hand: the example.
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/own_reactor.rs"]
mod own_reactor;

pub(crate) type CommandOn<R> = Command<<R as Runtime>::Reactor>;
pub(crate) type ChildOn<R> = Child<<R as Runtime>::Reactor>;
pub(crate) type PipeOn<R, K> = <<R as Runtime>::Reactor as Reactor>::Pipe<K>;

/// A runtime that can be made, driven, and ended by its drop.
pub(crate) trait Runtime: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether each has a reactor of its own, and there is none outside; else the process has one.
    const HAS_OWN_REACTOR: bool;
    /// Whether its driver goes on after a waker has panicked in it.
    const SURVIVES_PANICS: bool = true;

    type Reactor: Reactor;

    fn new() -> Self;

    /// One whose reactor watches no descriptors, if there is such a thing.
    fn without_io() -> Option<Self> {
        None
    }

    /// Makes all that the runtime keeps for as long as the process lives.
    fn warm_up() {
        Self::new().block_on(async {});
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Starts a task; it may only run while somebody is in [`block_on`](Self::block_on).
    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;

    /// With the runtime's own traits, where it has some.
    fn read_to_end(pipe: PipeOn<Self, Stdout>) -> impl Future<Output = io::Result<Vec<u8>>> + Send {
        let mut pipe: Pipe<Self::Reactor, Stdout> = pipe.into();
        async move {
            let mut bytes = Vec::new();
            loop {
                bytes.reserve(1024);
                if poll_fn(|cx| pipe.poll_append(cx, &mut bytes)).await? == 0 {
                    return Ok(bytes);
                }
            }
        }
    }

    /// With the runtime's own traits, where it has some. The pipe is closed at the end.
    fn write_all(
        pipe: PipeOn<Self, Stdin>,
        bytes: &[u8],
    ) -> impl Future<Output = io::Result<()>> + Send {
        let mut pipe: Pipe<Self::Reactor, Stdin> = pipe.into();
        async move {
            let mut rest = bytes;
            while !rest.is_empty() {
                let written = poll_fn(|cx| pipe.poll_write(cx, rest)).await?;
                rest = &rest[written..];
            }
            Ok(())
        }
    }

    /// By the runtime's own type, where it has one.
    fn into_stdio(pipe: PipeOn<Self, Stdout>) -> io::Result<Stdio> {
        let pipe: Pipe<Self::Reactor, Stdout> = pipe.into();
        pipe.into_stdio()
    }
}

/// Tokio with so many worker threads; with none, all runs on the thread that drives it.
pub(crate) struct TokioWith<const WORKERS: usize>(tokio::runtime::Runtime);
pub(crate) type TokioCurrent = TokioWith<0>;
pub(crate) type TokioMulti = TokioWith<2>;

impl<const WORKERS: usize> TokioWith<WORKERS> {
    fn builder() -> tokio::runtime::Builder {
        if WORKERS == 0 {
            return tokio::runtime::Builder::new_current_thread();
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(WORKERS);
        builder
    }
}

impl<const WORKERS: usize> Runtime for TokioWith<WORKERS> {
    const NAME: &'static str = if WORKERS == 0 { "tokio_current" } else { "tokio_multi" };
    const HAS_OWN_REACTOR: bool = true;
    /// The panic leaves the driver. With one thread it comes out of `block_on`, and the driver is
    /// lost; of more, the thread that drove ends, and in a debug build Tokio aborts the process.
    const SURVIVES_PANICS: bool = false;

    type Reactor = Tokio;

    fn new() -> Self {
        Self(Self::builder().enable_io().build().expect("a runtime can be made"))
    }

    fn without_io() -> Option<Self> {
        Some(Self(Self::builder().build().expect("a runtime can be made")))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let task = self.0.spawn(future);
        async { task.await.expect("the task does not panic") }
    }

    async fn read_to_end(mut pipe: TokioPipe<Stdout>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut bytes).await?;
        Ok(bytes)
    }

    async fn write_all(mut pipe: TokioPipe<Stdin>, bytes: &[u8]) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(&mut pipe, bytes).await
    }

    fn into_stdio(pipe: TokioPipe<Stdout>) -> io::Result<Stdio> {
        pipe.try_into()
    }
}

pub(crate) struct Smol(smol::Executor<'static>);

impl Runtime for Smol {
    const NAME: &'static str = "smol";
    const HAS_OWN_REACTOR: bool = false;

    type Reactor = AsyncIo;

    fn new() -> Self {
        Self(smol::Executor::new())
    }

    fn warm_up() {
        warm_up_async_io();
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(self.0.run(future))
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        self.0.spawn(future)
    }

    async fn read_to_end(pipe: AsyncIoPipe<Stdout>) -> io::Result<Vec<u8>> {
        AsyncStd::read_to_end(pipe).await
    }

    async fn write_all(pipe: AsyncIoPipe<Stdin>, bytes: &[u8]) -> io::Result<()> {
        AsyncStd::write_all(pipe, bytes).await
    }

    fn into_stdio(pipe: AsyncIoPipe<Stdout>) -> io::Result<Stdio> {
        AsyncStd::into_stdio(pipe)
    }
}

/// async-std's, of which a process has one, for as long as it lives.
pub(crate) struct AsyncStd;

impl Runtime for AsyncStd {
    const NAME: &'static str = "async_std";
    const HAS_OWN_REACTOR: bool = false;

    type Reactor = AsyncIo;

    fn new() -> Self {
        Self
    }

    fn warm_up() {
        async_std::task::block_on(async_std::task::spawn(async {}));
        warm_up_async_io();
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_std::task::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        async_std::task::spawn(future)
    }

    async fn read_to_end(mut pipe: AsyncIoPipe<Stdout>) -> io::Result<Vec<u8>> {
        // futures-lite's `read_to_end` clears its room again and again, byte by byte in this build.
        let (mut bytes, mut room) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match pipe.read(&mut room).await? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&room[..read]),
            }
        }
    }

    async fn write_all(mut pipe: AsyncIoPipe<Stdin>, bytes: &[u8]) -> io::Result<()> {
        futures_lite::AsyncWriteExt::write_all(&mut pipe, bytes).await
    }

    fn into_stdio(pipe: AsyncIoPipe<Stdout>) -> io::Result<Stdio> {
        pipe.try_into()
    }
}

/// Has async-io start its thread, which comes with the first registration, and the adapter open its
/// epoll, which comes with the first wait.
fn warm_up_async_io() {
    let (end, _other) = std::os::unix::net::UnixStream::pair().expect("a socket can be made");
    smol::block_on(async { drop(smol::Async::new(end)) });
    // Without pidfds there is no such epoll.
    if let Ok(myself) = Pidfd::open(std::process::id()) {
        let waited = smol::block_on(poll_once(pidfd_reaper::smol::exited(&myself)));
        assert!(waited.is_none(), "this process has not ended");
    }
}

/// The example's reactor under an executor that has none.
pub(crate) struct Own(smol::Executor<'static>);

impl Runtime for Own {
    const NAME: &'static str = "own";
    const HAS_OWN_REACTOR: bool = true;

    type Reactor = own_reactor::OwnReactor;

    fn new() -> Self {
        Self(smol::Executor::new())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        own_reactor::block_on(self.0.run(future))
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        self.0.spawn(future)
    }
}
