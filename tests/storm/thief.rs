//! The thieves: plain threads that reap children of ours behind the library's back.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::oneshot;

/// A child to be stolen by its number, which must be the child's when the order is given.
struct Order {
    pid: Pid,
    lurks: oneshot::Sender<()>,
    loot: oneshot::Sender<Result<ExitStatus, Errno>>,
}

/// Asks a thief to steal the child `pid` as soon as it ends.
///
/// It resolves when the thief is about to ask the kernel: tell the child to end only then, so that
/// its number cannot have gone to another. What comes of it is told by the receiver.
pub(crate) async fn steal(
    thieves: &Thieves,
    pid: Pid,
) -> oneshot::Receiver<Result<ExitStatus, Errno>> {
    let (lurks, lurking) = oneshot::channel();
    let (loot, looted) = oneshot::channel();
    let orders = &thieves.0[pid.as_raw_nonzero().get().unsigned_abs() as usize % thieves.0.len()];
    orders.send(Order { pid, lurks, loot }).expect("thieves live as long as the storm");
    lurking.await.expect("a thief takes every order");
    looted
}

/// As long as there is one, the threads wait for orders.
#[derive(Clone)]
pub(crate) struct Thieves(Vec<Sender<Order>>);

impl Thieves {
    pub(crate) fn hire(count: usize) -> Self {
        let hire = |_| {
            let (orders, taken) = mpsc::channel();
            thread::spawn(move || work(&taken));
            orders
        };
        Self((0..count).map(hire).collect())
    }
}

fn work(orders: &Receiver<Order>) {
    for Order { pid, lurks, loot } in orders {
        // Nobody listens any more where the storm is over with a failure.
        let _ = lurks.send(());
        let _ = loot.send(reap(pid));
    }
}

fn reap(pid: Pid) -> Result<ExitStatus, Errno> {
    let end = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    let end = end.expect("it blocks until there is an end");
    let code = end.exit_status().map(|code| code << 8);
    Ok(ExitStatus::from_raw(code.or(end.terminating_signal()).expect("it has ended")))
}
