//! Waits for a process that need not be a child of this one.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::task::Poll;

use super::lazy::LazyFd;
use crate::kernel::pidfd::Pidfd;
use crate::reactor::{Interest, Reactor};

/// Waits until the process of `pidfd` has exited, which need not be a child of this one.
///
/// A zombie has exited: the wait does not depend on the process's parent, which may reap it late or
/// never. It works the same on every kernel that has pidfds, and reaps nothing. For the status there
/// is [`exit_status`].
///
/// An adapter's module has it for its runtime, so that `R` need not be named.
///
/// ```
/// use pidfd_reaper_core::{Pidfd, Reactor, exited};
///
/// /// Ends when the client does, as a language server should.
/// async fn serve<R: Reactor>(client: u32) -> std::io::Result<()> {
///     exited::<R>(&Pidfd::open(client)?).await
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
pub async fn exited<R: Reactor>(pidfd: &Pidfd) -> io::Result<()> {
    until::<R, _>(pidfd, || Ok(if pidfd.has_exited()? { Poll::Ready(()) } else { Poll::Pending }))
        .await
}

/// Waits for the status of the process of `pidfd`, which need not be a child of this one.
///
/// It reaps nothing. What the kernel shows differs:
///
/// - Linux 6.15 and later: the status, as soon as the process's parent has reaped it. Until then
///   this waits, without end if the parent never does. It is `None` if the pidfd was opened after
///   that.
/// - Linux 6.9 to 6.14: `None`, at the same time.
/// - Before: `None`, as soon as the process has exited.
/// - A child of this process that was not reaped: its status, on every kernel, as soon as it has
///   exited.
///
/// Where only the exit matters, [`exited`] waits for less.
///
/// ```
/// use pidfd_reaper_core::{Pidfd, Reactor, exit_status};
///
/// async fn waitpid<R: Reactor>(pid: u32) -> std::io::Result<()> {
///     let status = exit_status::<R>(&Pidfd::open(pid)?).await?;
///     println!("{pid} has exited and was reaped: {status:?}");
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// Those of [`exited`].
///
/// # Cancel safety
///
/// It may be dropped at any time and called again.
pub async fn exit_status<R: Reactor>(pidfd: &Pidfd) -> io::Result<Option<ExitStatus>> {
    until::<R, _>(pidfd, || pidfd.poll_status()).await
}

async fn until<R: Reactor, T>(
    pidfd: &Pidfd,
    poll: impl Fn() -> io::Result<Poll<T>>,
) -> io::Result<T> {
    let copy = OwnedFd::from(pidfd.try_clone()?);
    let mut readiness = LazyFd::<R>::nonblocking(copy);
    poll_fn(|cx| {
        readiness.poll_io(cx, Interest::Exit, |_| match poll()? {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        })
    })
    .await
}
