//! What an asynchronous contender is: a library on a runtime.

use std::future;
use std::io;
use std::marker::PhantomData;
use std::pin::pin;
use std::process::ExitStatus;

use futures_lite::future::yield_now;

use super::Contender;
use super::polls::{self, counted};
use crate::child::Order;

/// A library whose children are awaited.
pub(crate) trait Peer: 'static {
    type Child: Send + 'static;

    fn spawn(order: Order, kill_on_drop: bool) -> io::Result<Self::Child>;

    fn id(child: &Self::Child) -> u32;

    fn wait(child: &mut Self::Child) -> impl Future<Output = io::Result<ExitStatus>> + Send;

    /// What it writes to standard output.
    fn output(order: Order) -> impl Future<Output = io::Result<Vec<u8>>> {
        let _ = order;
        future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// A runtime that runs tasks.
pub(crate) trait Runtime {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T>;

    /// Does `this` in the context of the runtime.
    fn within<T>(&self, this: impl FnOnce() -> T) -> T {
        this()
    }
}

/// A library on a runtime.
pub(crate) struct Async<R, P> {
    runtime: R,
    peer: PhantomData<P>,
}

impl<R: Runtime, P: Peer> Async<R, P> {
    pub(crate) fn on(runtime: R) -> Self {
        Self { runtime, peer: PhantomData }
    }
}

impl<R: Runtime, P: Peer> Contender for Async<R, P> {
    type Child = P::Child;

    fn spawn(&self, order: Order, kill_on_drop: bool) -> io::Result<P::Child> {
        self.runtime.within(|| P::spawn(order, kill_on_drop))
    }

    fn id(child: &P::Child) -> u32 {
        P::id(child)
    }

    fn one_after_another(
        &self,
        orders: impl Iterator<Item = Order>,
        mut after_each: impl FnMut(),
    ) -> io::Result<()> {
        self.runtime.block_on(async {
            for order in orders {
                let mut child = P::spawn(order, false)?;
                let status = counted(pin!(P::wait(&mut child))).await?;
                after_each();
                assert!(status.success());
            }
            Ok(())
        })
    }

    fn in_tasks(&self, tasks: u64, each: u64, order: Order) -> io::Result<()> {
        self.runtime.block_on(async {
            let mut started = Vec::new();
            for _ in 0..tasks {
                started.push(self.runtime.start(async move {
                    for _ in 0..each {
                        let mut child = P::spawn(order, false)?;
                        assert!(counted(pin!(P::wait(&mut child))).await?.success());
                    }
                    io::Result::Ok(())
                }));
            }
            for task in started {
                task.await?;
            }
            Ok(())
        })
    }

    fn wait_in_turn(&self, children: Vec<P::Child>) -> io::Result<()> {
        self.runtime.block_on(async {
            for mut child in children {
                assert!(counted(pin!(P::wait(&mut child))).await?.success());
            }
            Ok(())
        })
    }

    fn wait_for_all(
        &self,
        children: Vec<P::Child>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let polled = polls::count() + children.len() as u64;
        self.runtime.block_on(async {
            // Not collected: that would be done in the room of the children, and keep it.
            let mut tasks = Vec::with_capacity(children.len());
            for mut child in children {
                let wait = async move { counted(pin!(P::wait(&mut child))).await };
                tasks.push(self.runtime.start(wait));
            }
            while polls::count() < polled {
                yield_now().await;
            }
            ready()?;
            for task in tasks {
                assert!(task.await?.success());
            }
            Ok(())
        })
    }

    fn abandon(&self, children: Vec<P::Child>) {
        self.runtime.within(|| drop(children));
    }

    fn idle(&self, turned: bool) -> io::Result<()> {
        self.runtime.block_on(async {
            for _ in 0..if turned { 8 } else { 0 } {
                self.runtime.start(yield_now()).await;
            }
            future::pending().await
        })
    }

    fn outputs(&self, orders: impl Iterator<Item = Order>) -> io::Result<usize> {
        self.runtime.block_on(async {
            let mut bytes = 0;
            for order in orders {
                bytes += P::output(order).await?.len();
            }
            Ok(bytes)
        })
    }
}
