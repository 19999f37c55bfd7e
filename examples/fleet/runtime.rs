//! What the fleet asks of a runtime, and the four that it sails on.

use std::io;
use std::time::Duration;

use pidfd_reaper::Reactor;
use pidfd_reaper::smol::AsyncIo;
use pidfd_reaper::tokio::Tokio;
use tokio::runtime::Builder;

/// A runtime, made for one voyage and dropped after it.
pub(crate) trait Runtime: Sized + 'static {
    /// What makes `pidfd_reaper::Command` the `Command` of this runtime.
    type Reactor: Reactor;

    fn new() -> io::Result<Self>;

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T>;

    fn sleep(time: Duration) -> impl Future + Send;
}

/// Tokio on a thread for each processor, or on the one that calls `block_on`.
pub(crate) struct OnTokio<const MULTI_THREAD: bool>(tokio::runtime::Runtime);

impl<const MULTI_THREAD: bool> Runtime for OnTokio<MULTI_THREAD> {
    type Reactor = Tokio;

    fn new() -> io::Result<Self> {
        let mut builder =
            if MULTI_THREAD { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        builder.enable_all().build().map(Self)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        let task = self.0.spawn(task);
        async { task.await.expect("a task neither panics nor is cancelled") }
    }

    fn sleep(time: Duration) -> impl Future + Send {
        tokio::time::sleep(time)
    }
}

/// smol, with an executor of its own on the thread that calls `block_on`.
pub(crate) struct OnSmol(smol::Executor<'static>);

impl Runtime for OnSmol {
    type Reactor = AsyncIo;

    fn new() -> io::Result<Self> {
        Ok(Self(smol::Executor::new()))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(self.0.run(future))
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        self.0.spawn(task)
    }

    fn sleep(time: Duration) -> impl Future + Send {
        smol::Timer::after(time)
    }
}

/// async-std, which has one executor for the process.
pub(crate) struct OnAsyncStd;

impl Runtime for OnAsyncStd {
    type Reactor = AsyncIo;

    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        async_std::task::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        async_std::task::spawn(task)
    }

    fn sleep(time: Duration) -> impl Future + Send {
        async_std::task::sleep(time)
    }
}
