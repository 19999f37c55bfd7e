//! `Child`: a running child with its pipes, as `tokio::process` has it.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::{Child as StdChild, ExitStatus, Output};

use rustix::process::Signal;

use super::ending::OnDrop;
use super::handle::ChildHandle;
use super::limits::OutputLimits;
use super::pipe::{Pipe, Stderr, Stdin, Stdout};
use crate::kernel::exit::Exit;
use crate::reactor::Reactor;
use crate::reap::process::Process;
use crate::reap::reaper::Reaper;
use crate::reap::scope::KillScope;
use crate::spawn::engine::Spawned;

/// A child process, waited for on the reactor `R`.
///
/// Dropped while it runs, it goes on, and is reaped when it exits, whatever becomes of the runtime;
/// with [`kill_on_drop`](crate::Command::kill_on_drop) it is killed first. In a forked process every
/// call is an error, and the drop does nothing: the child is its parent's.
///
/// The pipes are public fields, to be taken out with [`Option::take`].
///
/// ```
/// use std::time::Duration;
/// use pidfd_reaper_core::{Child, Reactor};
///
/// async fn stop<R: Reactor>(mut child: Child<R>) -> std::io::Result<()> {
///     if let Some(status) = child.wait_timeout(Duration::from_secs(1)).await? {
///         println!("it has exited by itself: {status}");
///     } else {
///         let end = child.terminate(Duration::from_secs(5)).await?;
///         println!("it was asked to exit: {}, killed: {}", end.status, end.killed);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Child<R: Reactor> {
    pub(crate) owned: Owned<R>,
    /// The child's standard input, if it was piped. [`wait`](Self::wait) closes it.
    pub stdin: Option<R::Pipe<Stdin>>,
    /// The child's standard output, if it was piped.
    pub stdout: Option<R::Pipe<Stdout>>,
    /// The child's standard error, if it was piped.
    pub stderr: Option<R::Pipe<Stderr>>,
}

/// The child without its pipes. It has the `Drop`, so that the pipes can be moved out of a
/// [`Child`].
#[derive(Debug)]
pub(crate) struct Owned<R: Reactor> {
    pub(crate) reaper: Reaper<R, Process>,
    pub(crate) policy: OnDrop,
}

impl<R: Reactor> Child<R> {
    /// Takes over a running child of the standard library, with its pipes.
    ///
    /// # Errors
    ///
    /// If the child cannot be waited for, since something else reaped it; it is given back in the
    /// error.
    pub fn from_std(mut child: StdChild) -> Result<Self, FromStdError> {
        match Process::from_std(&mut child, KillScope::Child) {
            Ok(process) => Ok(Self::new(Reaper::new(process), child, OnDrop::default())),
            Err(error) => Err(FromStdError { error, child }),
        }
    }

    /// Nothing in here can fail: from a fork on, the child is owned.
    pub(crate) fn new(reaper: Reaper<R, Process>, mut child: StdChild, policy: OnDrop) -> Self {
        let owned = Owned { reaper, policy };
        Self {
            owned,
            stdin: child.stdin.take().map(|pipe| Pipe::from_std(pipe).into()),
            stdout: child.stdout.take().map(|pipe| Pipe::from_std(pipe).into()),
            stderr: child.stderr.take().map(|pipe| Pipe::from_std(pipe).into()),
        }
    }

    /// As [`new`](Self::new), of a child that this library has started.
    pub(crate) fn from_spawned(spawned: Spawned, scope: KillScope, policy: OnDrop) -> Self {
        let Spawned { pid, pidfd, pipes: [stdin, stdout, stderr] } = spawned;
        let reaper = Reaper::from_spawned(Process::from_spawned(pid, pidfd, scope));
        Self {
            owned: Owned { reaper, policy },
            stdin: stdin.map(|fd| Pipe::from_std(fd.into()).into()),
            stdout: stdout.map(|fd| Pipe::from_std(fd.into()).into()),
            stderr: stderr.map(|fd| Pipe::from_std(fd.into()).into()),
        }
    }

    /// The process's PID; `None` once a call has returned its exit.
    ///
    /// A child that something else reaped has none any more, and its PID may be reused, before this
    /// library knows: signal it through the methods here, not by PID.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.owned.reaper.own_id()
    }

    /// Sends `SIGKILL` to what is left of the child's [scope](crate::Command::kill_scope) and returns
    /// at once; the child is still to be waited for.
    ///
    /// The signal goes through the pidfd. It needs no runtime. A child that was reaped through this
    /// library leaves nothing to kill, unless others of its group run on, and that is no error, as in
    /// `tokio::process`.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if something else reaped the child: no
    ///   unrelated process is hit.
    /// - `EPERM` if it runs as another user.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn start_kill(&mut self) -> io::Result<()> {
        let process = self.owned.process();
        process.guard().check(process.id())?;
        if process.is_reaped() {
            return process.signal_what_is_left(Signal::KILL);
        }
        process.signal_scope(Signal::KILL)
    }

    /// Sends `signal` to the child, through its pidfd.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal`]: after the reap it is an error, and no unrelated process is hit.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.owned.reaper.signal(signal)
    }

    /// Sends `signal` to all that is left of the child's [scope](crate::Command::kill_scope): to the
    /// group and, if it has left that, to the child itself.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if nothing is left.
    /// - `EPERM` if the child runs as another user.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    pub fn signal_scope(&self, signal: Signal) -> io::Result<()> {
        self.owned.process().signal_scope(signal)
    }

    /// Sends `signal` to every process of the group that the child leads.
    ///
    /// # Errors
    ///
    /// Those of [`Process::signal_group`].
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.owned.reaper.signal_group(signal)
    }

    /// A handle to the same child, to signal it and to wait for it while others do.
    #[must_use]
    pub fn handle(&self) -> ChildHandle<R> {
        ChildHandle::new(Process::clone(&self.owned.reaper))
    }

    /// Waits as [`wait`](Self::wait) does, and returns what the child has used as well.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    pub async fn wait_with_usage(&mut self) -> io::Result<Exit> {
        let status = self.wait().await?;
        self.owned.reaper.exit_with(status)
    }

    /// Waits for the child's exit; repeated calls return the same status.
    ///
    /// The child's standard input, if it is still here, is closed first: else a child that reads it
    /// to the end would never exit. As soon as the status is known, the registration is freed, and
    /// the pidfd as well, unless the [scope](crate::Command::kill_scope) needs it.
    ///
    /// # Errors
    ///
    /// - [`StatusLost`](crate::StatusLost) if something else reaped the child on a kernel that does
    ///   not keep the status.
    /// - [`Reactor::current`]'s error where there is no runtime; `EAGAIN` where there is no pidfd and
    ///   neither a thread can be started nor a timer be registered. After both the child is as it
    ///   was, and may be waited for again.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time and called again, also in another runtime.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| Pin::new(&mut self.owned.reaper).poll(cx)).await
    }

    /// Reaps the child if it has exited, without blocking; `None` while it runs.
    ///
    /// It needs no runtime, and leaves standard input open.
    ///
    /// # Errors
    ///
    /// [`StatusLost`](crate::StatusLost), as for [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.owned.reaper.try_wait()
    }

    /// Closes standard input, reads standard output and error to their ends, and waits for the
    /// child.
    ///
    /// All three go on together: neither pipe blocks the other, and the child is reaped as soon as
    /// it exits although a grandchild may still hold a pipe open. A pipe that is not there, or was
    /// taken, gives nothing. What the child has used is returned by
    /// [`wait_with_output_within`](Self::wait_with_output_within), which needs no limits.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait) and of reading. If something was read by then, the error has
    /// it: it is an [`OutputError`](crate::OutputError) inside of the [`io::Error`]. The child then
    /// goes the way of one that is dropped.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub async fn wait_with_output(self) -> io::Result<Output> {
        Ok(self.wait_with_output_within(&OutputLimits::default()).await?.into())
    }
}

impl<R: Reactor> TryFrom<StdChild> for Child<R> {
    type Error = FromStdError;

    fn try_from(child: StdChild) -> Result<Self, FromStdError> {
        Self::from_std(child)
    }
}

/// The error of [`Child::from_std`], with the child that it could not take over.
#[derive(Debug)]
pub struct FromStdError {
    error: io::Error,
    child: StdChild,
}

impl FromStdError {
    /// The child, as it was, with its pipes.
    #[must_use]
    pub fn into_child(self) -> StdChild {
        self.child
    }
}

impl fmt::Display for FromStdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child {} cannot be taken over", self.child.id())
    }
}

impl Error for FromStdError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<FromStdError> for io::Error {
    fn from(error: FromStdError) -> Self {
        error.error
    }
}
