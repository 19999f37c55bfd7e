//! The standard library alone: a blocked thread for each child that is waited for.

use std::io;
use std::process::Child;
use std::thread;

use super::Contender;
use crate::child::Order;

pub(super) struct Blocking;

impl Contender for Blocking {
    type Child = Child;

    fn spawn(&self, order: Order, _: bool) -> io::Result<Child> {
        order.std().spawn()
    }

    fn id(child: &Child) -> u32 {
        child.id()
    }

    fn one_after_another(
        &self,
        orders: impl Iterator<Item = Order>,
        mut after_each: impl FnMut(),
    ) -> io::Result<()> {
        for order in orders {
            order.std().spawn()?.wait()?;
            after_each();
        }
        Ok(())
    }

    fn in_tasks(&self, tasks: u64, each: u64, order: Order) -> io::Result<()> {
        in_threads(tasks, || self.one_after_another(repeated(order, each), || {}))
    }

    fn wait_in_turn(&self, children: Vec<Child>) -> io::Result<()> {
        for mut child in children {
            child.wait()?;
        }
        Ok(())
    }

    fn wait_for_all(
        &self,
        children: Vec<Child>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let wait = |mut child: Child| {
            thread::Builder::new().stack_size(64 * 1024).spawn(move || child.wait())
        };
        let threads = children.into_iter().map(wait).collect::<io::Result<Vec<_>>>()?;
        ready()?;
        for thread in threads {
            thread.join().expect("no wait panics")?;
        }
        Ok(())
    }

    /// It has no way for that: its children stay zombies.
    fn abandon(&self, children: Vec<Child>) {
        drop(children);
    }

    fn idle(&self, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn outputs(&self, orders: impl Iterator<Item = Order>) -> io::Result<usize> {
        outputs(orders)
    }
}

/// The standard library blocks in `poll` and reads.
pub(super) fn outputs(orders: impl Iterator<Item = Order>) -> io::Result<usize> {
    orders.map(|order| Ok(order.std().output()?.stdout.len())).sum()
}

/// Does `this` in so many threads at once.
pub(super) fn in_threads(threads: u64, this: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&this)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no wait panics"))
    })
}

pub(super) fn repeated(order: Order, times: u64) -> impl Iterator<Item = Order> {
    (0..times).map(move |_| order)
}
