//! The other floor: this library's spawn alone, without any runtime.
//!
//! `waitid(WNOWAIT)` takes the place of a reactor; then the child's handle reaps it.

use std::io;

use pidfd_reaper::Child;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::Contender;
use super::blocking::{in_threads, repeated};
use super::runtimes::OwnReactor;
use crate::child::Order;

pub(super) struct Engine;

/// Its type names a reactor, but nothing is registered with one.
type Spawned = Child<OwnReactor>;

impl Contender for Engine {
    type Child = Spawned;

    fn spawn(&self, order: Order, kill_on_drop: bool) -> io::Result<Spawned> {
        order.ours().kill_on_drop(kill_on_drop).spawn()
    }

    fn id(child: &Spawned) -> u32 {
        child.id().unwrap_or(0)
    }

    fn one_after_another(
        &self,
        orders: impl Iterator<Item = Order>,
        mut after_each: impl FnMut(),
    ) -> io::Result<()> {
        for order in orders {
            wait(self.spawn(order, false)?)?;
            after_each();
        }
        Ok(())
    }

    fn in_tasks(&self, tasks: u64, each: u64, order: Order) -> io::Result<()> {
        in_threads(tasks, || self.one_after_another(repeated(order, each), || {}))
    }

    fn wait_in_turn(&self, children: Vec<Spawned>) -> io::Result<()> {
        children.into_iter().try_for_each(wait)
    }

    fn wait_for_all(&self, _: Vec<Spawned>, _: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abandon(&self, children: Vec<Spawned>) {
        drop(children);
    }

    fn idle(&self, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn outputs(&self, _: impl Iterator<Item = Order>) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Nothing else reaps it, so its PID is its own until the handle does.
fn wait(mut child: Spawned) -> io::Result<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    assert!(child.try_wait()?.is_some_and(|status| status.success()));
    Ok(())
}
