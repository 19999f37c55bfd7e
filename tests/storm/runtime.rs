//! The runtimes that the storm goes over, seen as one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use pidfd_reaper::{Reactor, smol::AsyncIo, tokio::Tokio};

/// What a runtime is given to run; a boxed one, since all of a child's life makes a large future.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime that can be ended while its tasks still wait.
pub(crate) trait Runtime: Sized + Send + Sync + 'static {
    type Reactor: Reactor;
    const NAME: &str;

    /// All its threads and descriptors are made here, before the limits are lowered.
    fn new() -> Self;

    /// Runs `main` on this thread, and the spawned tasks here or on threads of its own.
    fn block_on<T>(&self, main: impl Future<Output = T>) -> T;

    fn spawn(&self, task: Task);

    /// Ends it; the tasks that are not done are dropped.
    fn end(self) {}
}

pub(crate) struct TokioManyThreads(tokio::runtime::Runtime);

impl Runtime for TokioManyThreads {
    type Reactor = Tokio;
    const NAME: &str = "tokio, many threads";

    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(2).enable_io().build().expect("a runtime can be had"))
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        self.0.block_on(main)
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }
}

pub(crate) struct TokioOneThread(tokio::runtime::Runtime);

impl Runtime for TokioOneThread {
    type Reactor = Tokio;
    const NAME: &str = "tokio, one thread";

    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(builder.enable_io().build().expect("a runtime can be had"))
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        self.0.block_on(main)
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }
}

pub(crate) struct Smol(smol::Executor<'static>);

impl Runtime for Smol {
    type Reactor = AsyncIo;
    const NAME: &str = "smol";

    fn new() -> Self {
        Self(smol::Executor::new())
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        smol::block_on(self.0.run(main))
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task).detach();
    }
}

/// Its one executor lives as long as the process: what can be ended of it is its tasks.
pub(crate) struct AsyncStd(Mutex<Vec<async_std::task::JoinHandle<()>>>);

impl Runtime for AsyncStd {
    type Reactor = AsyncIo;
    const NAME: &str = "async-std";

    fn new() -> Self {
        Self(Mutex::default())
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        async_std::task::block_on(main)
    }

    fn spawn(&self, task: Task) {
        let task = async_std::task::spawn(task);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn end(self) {
        let tasks = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        async_std::task::block_on(async {
            for task in tasks {
                task.cancel().await;
            }
        });
    }
}
