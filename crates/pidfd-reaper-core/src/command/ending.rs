//! Ways to end a child in time: `wait_timeout`, `terminate`, and what a drop does.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::{Child, Owned};
use crate::reactor::Reactor;
use crate::reap::deadline::Deadline;
use crate::reap::process::Process;
use crate::reap::signal::KillScope;
use crate::reap::timer::Timer;

/// What becomes of a child that still runs when its handle is dropped. It is reaped in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnDrop {
    #[default]
    Leave,
    Kill,
    Terminate(Duration),
}

/// What a command asks for its child's end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndPolicy {
    pub(crate) on_drop: OnDrop,
    pub(crate) scope: KillScope,
}

/// How [`Child::terminate`] ended the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Termination {
    /// The child's status.
    pub status: ExitStatus,
    /// Whether the grace was over, and it took `SIGKILL`.
    pub killed: bool,
}

impl<R: Reactor> Child<R> {
    /// Waits for the child's end for as long as `duration`; `None` when that is over.
    ///
    /// Then the child is untouched: it runs on, and its standard input, unlike with
    /// [`wait`](Self::wait), stays open. The timer is a timerfd on the runtime's reactor.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait), and `EMFILE`, `ENFILE` or `ENOMEM` if there is no timer to be
    /// had.
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait); the time begins anew with each call.
    pub async fn wait_timeout(&mut self, duration: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.try_wait()? {
            return Ok(Some(status));
        }
        self.owned.until(Timer::after(duration)?).await
    }

    /// Asks the child to end, and kills it if it takes longer than `grace`.
    ///
    /// Sends `SIGTERM`, and `SIGCONT` after it so that a stopped child can take it, waits up to
    /// `grace`, sends `SIGKILL`, and waits for the end. With
    /// [`kill_scope(Group)`](crate::Command::kill_scope) the signals go to the child's whole group,
    /// and what is left of it is killed when the child itself has ended. Standard input is closed.
    ///
    /// # Errors
    ///
    /// Those of [`wait_timeout`](Self::wait_timeout), before any signal is sent; `EPERM` if the
    /// child runs as another user.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the midst of the grace, the child was asked to end, and nobody kills it. It may
    /// be called again; [`terminate_on_drop`](crate::Command::terminate_on_drop) is for that.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<Termination> {
        drop(self.stdin.take());
        if let Some(status) = self.try_wait()? {
            return Ok(Termination { status, killed: false });
        }
        let timer = Timer::after(grace)?;
        self.owned.ask_to_end()?;
        if let Some(status) = self.owned.until(timer).await? {
            return Ok(Termination { status, killed: false });
        }
        self.owned.kill()?;
        Ok(Termination { status: self.wait().await?, killed: true })
    }
}

impl<R: Reactor> Owned<R> {
    /// The child's end, or `None` once the timer has fired.
    async fn until(&mut self, mut timer: Timer<R>) -> io::Result<Option<ExitStatus>> {
        poll_fn(|cx| match Pin::new(&mut self.reaper).poll(cx)? {
            Poll::Ready(status) => Poll::Ready(Ok(Some(status))),
            Poll::Pending => timer.poll(cx).map_ok(|()| None),
        })
        .await
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)
    }

    /// Signals the child or its group. That it is gone by now is for the wait to tell.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.reaper.signal_in(self.policy.scope, signal) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            _ => Ok(()),
        }
    }
}

impl<R: Reactor> Drop for Owned<R> {
    fn drop(&mut self) {
        // A handle may have reaped it. In a process that was forked off, it is the parent's.
        let reaper = &self.reaper;
        if reaper.is_done() || reaper.is_reaped() || !reaper.is_of_this_process() {
            return;
        }
        let mut deadline = None;
        // An error means that the child runs as another user: it is left alone, as kill(2) would.
        match self.policy.on_drop {
            OnDrop::Leave => {}
            OnDrop::Kill => drop(self.kill()),
            OnDrop::Terminate(grace) => {
                if self.ask_to_end().is_ok() {
                    let (process, scope) = (Process::clone(&self.reaper), self.policy.scope);
                    // A time that the clock does not reach never comes.
                    let at = Instant::now().checked_add(grace);
                    deadline = at.map(|at| Deadline { at, process, scope });
                }
            }
        }
        self.reaper.abandon_until(deadline);
    }
}
