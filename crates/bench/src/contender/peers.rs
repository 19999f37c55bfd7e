//! The libraries, each as its documentation says; and the plainest handle on each bare reactor.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use async_io::Async;
use pidfd_reaper::Reactor;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::asynchronous::Peer;
use crate::child::Order;

/// This library, on the reactor `R`.
pub(super) struct Ours<R>(PhantomData<R>);

impl<R: Reactor> Peer for Ours<R> {
    type Child = pidfd_reaper::Child<R>;

    fn spawn(order: Order, kill_on_drop: bool) -> io::Result<Self::Child> {
        order.ours().kill_on_drop(kill_on_drop).spawn()
    }

    fn id(child: &Self::Child) -> u32 {
        child.id().unwrap_or(0)
    }

    fn wait(child: &mut Self::Child) -> impl Future<Output = io::Result<ExitStatus>> + Send {
        child.wait()
    }

    async fn output(order: Order) -> io::Result<Vec<u8>> {
        Ok(order.ours::<R>().output().await?.stdout)
    }
}

/// This library with a command that was made of the standard library's, which spawns it then.
pub(super) struct OursByStd<R>(PhantomData<R>);

impl<R: Reactor> Peer for OursByStd<R> {
    type Child = pidfd_reaper::Child<R>;

    fn spawn(order: Order, kill_on_drop: bool) -> io::Result<Self::Child> {
        pidfd_reaper::Command::from(order.std()).kill_on_drop(kill_on_drop).spawn()
    }

    fn id(child: &Self::Child) -> u32 {
        child.id().unwrap_or(0)
    }

    fn wait(child: &mut Self::Child) -> impl Future<Output = io::Result<ExitStatus>> + Send {
        child.wait()
    }
}

/// `tokio::process`.
pub(super) struct TokioProcess;

impl Peer for TokioProcess {
    type Child = tokio::process::Child;

    fn spawn(order: Order, kill_on_drop: bool) -> io::Result<Self::Child> {
        tokio::process::Command::from(order.std()).kill_on_drop(kill_on_drop).spawn()
    }

    fn id(child: &Self::Child) -> u32 {
        child.id().unwrap_or(0)
    }

    fn wait(child: &mut Self::Child) -> impl Future<Output = io::Result<ExitStatus>> + Send {
        child.wait()
    }

    async fn output(order: Order) -> io::Result<Vec<u8>> {
        Ok(tokio::process::Command::from(order.std()).output().await?.stdout)
    }
}

/// `async-process`, which is smol's.
pub(super) struct AsyncProcess;

impl Peer for AsyncProcess {
    type Child = async_process::Child;

    fn spawn(order: Order, kill_on_drop: bool) -> io::Result<Self::Child> {
        async_process::Command::from(order.std()).kill_on_drop(kill_on_drop).spawn()
    }

    fn id(child: &Self::Child) -> u32 {
        child.id()
    }

    fn wait(child: &mut Self::Child) -> impl Future<Output = io::Result<ExitStatus>> + Send {
        child.status()
    }

    async fn output(order: Order) -> io::Result<Vec<u8>> {
        Ok(async_process::Command::from(order.std()).output().await?.stdout)
    }
}

/// `async-pidfd`, which only waits.
pub(super) struct AsyncPidfd;

impl Peer for AsyncPidfd {
    type Child = (u32, async_pidfd::AsyncPidFd);

    fn spawn(order: Order, _: bool) -> io::Result<Self::Child> {
        let pid = order.std().spawn()?.id();
        let number = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        Ok((pid, async_pidfd::AsyncPidFd::from_pid(number)?))
    }

    fn id(child: &Self::Child) -> u32 {
        child.0
    }

    async fn wait(child: &mut Self::Child) -> io::Result<ExitStatus> {
        Ok(child.1.wait().await?.status())
    }
}

/// What Tokio itself costs.
pub(super) struct BareAsyncFd;

impl Peer for BareAsyncFd {
    type Child = (u32, AsyncFd<OwnedFd>);

    fn spawn(order: Order, _: bool) -> io::Result<Self::Child> {
        let (pid, pidfd) = spawn_with_pidfd(order)?;
        #[expect(deprecated, reason = "what takes its place is unsafe, and does the same")]
        let registered = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        Ok((pid, registered))
    }

    fn id(child: &Self::Child) -> u32 {
        child.0
    }

    async fn wait(child: &mut Self::Child) -> io::Result<ExitStatus> {
        let mut ready = child.1.readable().await?;
        let status = reap(ready.get_inner());
        ready.retain_ready();
        status
    }
}

/// What async-io itself costs.
pub(super) struct BareAsync;

impl Peer for BareAsync {
    type Child = (u32, Async<OwnedFd>);

    fn spawn(order: Order, _: bool) -> io::Result<Self::Child> {
        let (pid, pidfd) = spawn_with_pidfd(order)?;
        Ok((pid, Async::new_nonblocking(pidfd)?))
    }

    fn id(child: &Self::Child) -> u32 {
        child.0
    }

    async fn wait(child: &mut Self::Child) -> io::Result<ExitStatus> {
        child.1.readable().await?;
        reap(child.1.get_ref())
    }
}

/// The standard library's spawn, and a pidfd. The standard library's handle does nothing more.
pub(super) fn spawn_with_pidfd(order: Order) -> io::Result<(u32, OwnedFd)> {
    let child = order.std().spawn()?;
    Ok((child.id(), pidfd_open(Pid::from_child(&child), PidfdFlags::NONBLOCK)?))
}

/// Reaps a child that has ended.
pub(super) fn reap(pidfd: &impl AsFd) -> io::Result<ExitStatus> {
    let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    let code = ended.and_then(|ended| ended.exit_status());
    // A child that was killed is told by its being no exit; which signal it was does not matter.
    Ok(ExitStatus::from_raw(code.map_or(libc::SIGKILL, |code| code << 8)))
}
