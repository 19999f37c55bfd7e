//! The runtimes, each as its users start it.

use std::io;

use smol::LocalExecutor;
use tokio::runtime::Builder;

use super::asynchronous::Runtime;

#[allow(dead_code, reason = "as an example it has a main of its own")]
#[allow(unreachable_pub, reason = "as an example it is a crate of its own")]
#[path = "../../../../examples/own_reactor.rs"]
mod own_reactor;

pub(super) use own_reactor::OwnReactor;

/// Tokio.
pub(super) struct OnTokio(tokio::runtime::Runtime);

/// smol on one thread.
pub(super) struct Smol(LocalExecutor<'static>);

/// The reactor of the example `own_reactor.rs`.
pub(super) struct ByHand(LocalExecutor<'static>);

impl OnTokio {
    pub(super) fn on_one_thread() -> io::Result<Self> {
        Builder::new_current_thread().enable_io().build().map(Self)
    }

    /// On as many threads as there are processors.
    pub(super) fn on_many_threads() -> io::Result<Self> {
        Builder::new_multi_thread().enable_io().build().map(Self)
    }
}

impl Smol {
    pub(super) fn new() -> Self {
        Self(LocalExecutor::new())
    }
}

impl ByHand {
    pub(super) fn new() -> Self {
        Self(LocalExecutor::new())
    }
}

impl Runtime for OnTokio {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }

    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        joined(self.0.spawn(task))
    }

    fn within<T>(&self, this: impl FnOnce() -> T) -> T {
        let _context = self.0.enter();
        this()
    }
}

async fn joined<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await.expect("no wait panics")
}

impl Runtime for Smol {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(self.0.run(future))
    }

    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        self.0.spawn(task)
    }
}

impl Runtime for ByHand {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        own_reactor::block_on(self.0.run(future))
    }

    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        self.0.spawn(task)
    }
}
