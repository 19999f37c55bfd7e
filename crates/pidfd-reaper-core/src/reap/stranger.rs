//! `exited`: waits for a process that is not our child.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::task::Poll;

use super::lazy::LazyFd;
use crate::kernel::pidfd::Pidfd;
use crate::reactor::{Interest, Reactor};

/// Waits until the process of `pidfd` has ended, which need not be a child of this one.
///
/// It reaps nothing. The status comes with it where the kernel tells it:
///
/// - From Linux 6.15 on it does as soon as the process's parent has reaped it, and until then this
///   waits. It is `None` if the pidfd was opened after that.
/// - Of a child of this process that nobody has reaped yet, it does on every kernel.
/// - Else it is `None`, as soon as the process has ended (on 6.13 and 6.14: was reaped).
///
/// An adapter's module has it for its runtime, so that `R` need not be named.
///
/// ```
/// use pidfd_reaper_core::{Pidfd, Reactor, exited};
///
/// async fn waitpid<R: Reactor>(pid: u32) -> std::io::Result<()> {
///     let status = exited::<R>(&Pidfd::open(pid)?).await?;
///     println!("{pid} has ended, {status:?}");
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`Reactor::current`]'s where there is no runtime; `EMFILE`, for it waits on a copy of the pidfd;
/// those of the registration.
///
/// # Cancel safety
///
/// It may be dropped at any time and called again.
pub async fn exited<R: Reactor>(pidfd: &Pidfd) -> io::Result<Option<ExitStatus>> {
    let copy = OwnedFd::from(pidfd.try_clone()?);
    let mut readiness = LazyFd::<R>::nonblocking(copy);
    poll_fn(|cx| {
        readiness.poll_io(cx, Interest::Exit, |_| match pidfd.poll_end()? {
            Poll::Ready(status) => Ok(status),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        })
    })
    .await
}
