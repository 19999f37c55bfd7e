//! Ways to end a child in time: `wait_timeout`, `kill`, `terminate`, and what a drop does.

use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::process::Signal;

use super::child::{Child, Owned};
use crate::reactor::Reactor;
use crate::reap::deadline::AbandonedScope;
use crate::reap::drive;
use crate::reap::orphan::{self, ArmedDeadline};
use crate::reap::orphans;
use crate::reap::process::Process;
use crate::reap::scope::ScopeWait;
use crate::reap::timer::Timer;

/// What becomes of a child that still runs when its handle is dropped. It is reaped in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnDrop {
    #[default]
    Leave,
    Kill,
    Terminate(Duration),
}

/// How [`Child::terminate`] ended the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Termination {
    /// The child's status.
    pub status: ExitStatus,
    /// Whether `SIGKILL` ended the child: the grace period was over.
    pub killed: bool,
    /// Whether something of the [scope](crate::Command::kill_scope) still ran when the grace period
    /// was over, and was sent `SIGKILL`: the child, or others of its group.
    pub scope_killed: bool,
}

impl<R: Reactor> Child<R> {
    /// Waits for the child's exit for as long as `duration`; `None` when that is over.
    ///
    /// Then the child is untouched: it runs on, and its standard input, unlike with
    /// [`wait`](Self::wait), stays open. The timer is a timerfd on the runtime's reactor.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait), and `EMFILE`, `ENFILE` or `ENOMEM` if no timer can be made.
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait); the time begins anew with each call.
    pub async fn wait_timeout(&mut self, duration: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.try_wait()? {
            return Ok(Some(status));
        }
        let mut timer = Timer::<R>::after(duration)?;
        let reaper = &mut self.owned.reaper;
        poll_fn(|cx| match Pin::new(&mut *reaper).poll(cx)? {
            Poll::Ready(status) => Poll::Ready(Ok(Some(status))),
            Poll::Pending => timer.poll(cx).map_ok(|()| None),
        })
        .await
    }

    /// Kills what is left of the child's [scope](crate::Command::kill_scope), and waits until
    /// nothing of it runs.
    ///
    /// With [`KillScope::Group`](crate::KillScope::Group) that is also what the child has left
    /// behind in its group when it exited. What the group has of other users' processes, which may
    /// not be signalled, is not waited for.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait), and `EPERM` if the child runs as another user.
    ///
    /// # Cancel safety
    ///
    /// The signal is sent by the first poll; after that it is as safe as [`wait`](Self::wait).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.owned.process().signal_what_is_left(Signal::KILL)?;
        self.wait().await?;
        self.wait_for_killed_scope().await
    }

    /// Waits until the child has exited and nothing of its
    /// [scope](crate::Command::kill_scope) runs.
    ///
    /// With [`KillScope::Group`](crate::KillScope::Group) it waits for all that the child has left
    /// behind in its group. It closes the child's standard input, as [`wait`](Self::wait) does. The
    /// kernel reports no event when a group becomes empty, so it waits for its members, one after
    /// another; without pidfds or procfs it looks now and then.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
    pub async fn wait_scope(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        let mut scope = ScopeWait::<R>::new(self.owned.process().clone());
        poll_fn(|cx| scope.poll(cx)).await?;
        Ok(status)
    }

    /// Asks the child's [scope](crate::Command::kill_scope) to exit, and kills what takes longer
    /// than `grace`.
    ///
    /// Sends `SIGTERM`, and `SIGCONT` after it so that a stopped process can take it, waits up to
    /// `grace`, sends `SIGKILL`, and waits until nothing of the scope runs. With
    /// [`KillScope::Group`](crate::KillScope::Group) the whole group has the grace period, also if
    /// the child itself exits at once. Standard input is closed.
    ///
    /// A child inherits the signal mask of the thread that spawns it: with `SIGTERM` blocked there, it
    /// takes the whole grace period and then `SIGKILL`, unless
    /// [`reset_signals`](crate::Command::reset_signals) was called.
    ///
    /// # Errors
    ///
    /// Those of [`wait_timeout`](Self::wait_timeout), before any signal is sent; `EPERM` if the
    /// child runs as another user. If the wait fails after `SIGTERM` was sent, `SIGKILL` follows all
    /// the same when `grace` is over.
    ///
    /// # Cancel safety
    ///
    /// If dropped during the grace period, `SIGTERM` has been sent and no `SIGKILL` follows. It may
    /// be called again; [`terminate_on_drop`](crate::Command::terminate_on_drop) is for that.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<Termination> {
        drop(self.stdin.take());
        let mut status = self.try_wait()?;
        if let (Some(status), true) = (status, self.owned.process().is_done()) {
            return Ok(Termination { status, killed: false, scope_killed: false });
        }
        let mut timer = Timer::<R>::after(grace)?;
        // What can fail is registered before the first signal.
        poll_fn(|cx| Poll::Ready(self.owned.poll_wait(&mut status, cx).map(drop))).await?;
        timer.register()?;
        self.owned.process().ask_to_exit()?;
        let in_time = self.owned.exits_in_time(&mut status, &mut timer).await;
        let scope_killed = match in_time {
            Ok(in_time) => !in_time,
            Err(error) => {
                drop(self.owned.kill_after(grace));
                return Err(error);
            }
        };
        if scope_killed {
            self.owned.process().signal_what_is_left(Signal::KILL)?;
            self.wait().await?;
            self.wait_for_killed_scope().await?;
        }
        let status = self.wait().await?;
        let killed = scope_killed && status.signal() == Some(Signal::KILL.as_raw());
        Ok(Termination { status, killed, scope_killed })
    }

    async fn wait_for_killed_scope(&mut self) -> io::Result<()> {
        let mut scope = ScopeWait::<R>::killing(self.owned.process().clone());
        poll_fn(|cx| scope.poll(cx)).await
    }
}

impl<R: Reactor> Owned<R> {
    pub(crate) fn process(&self) -> &Process {
        &self.reaper
    }

    /// Whether the exit is known, whose status is kept in `status`.
    fn poll_wait(
        &mut self,
        status: &mut Option<ExitStatus>,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        if status.is_none() {
            if let Poll::Ready(exit) = Pin::new(&mut self.reaper).poll(cx) {
                *status = Some(exit?);
            }
        }
        Ok(status.is_some())
    }

    /// Whether the child has exited and its scope is empty before the timer fires.
    async fn exits_in_time(
        &mut self,
        status: &mut Option<ExitStatus>,
        timer: &mut Timer<R>,
    ) -> io::Result<bool> {
        let mut scope = ScopeWait::<R>::new(self.process().clone());
        poll_fn(|cx| {
            if self.poll_wait(status, cx)? && scope.poll(cx)?.is_ready() {
                return Poll::Ready(Ok(true));
            }
            ready!(timer.poll(cx))?;
            Poll::Ready(Ok(false))
        })
        .await
    }

    /// Has the scope killed when `grace` is over, whatever becomes of the handle.
    fn kill_after(&self, grace: Duration) -> Option<ArmedDeadline> {
        // A time that the clock does not reach never comes.
        let at = orphan::after(grace)?;
        let target = Arc::new(AbandonedScope(self.process().clone()));
        let drive = Some(drive::on_reactor::<R> as drive::Drive);
        orphans::of_this_process().arm(at, target, drive)
    }
}

impl<R: Reactor> Drop for Owned<R> {
    /// It acts on what is left of the scope, whether or not the child's status was collected before.
    fn drop(&mut self) {
        // In a forked process the child is its parent's. That is asked before any lock is taken.
        if !self.process().guard().is_here() || self.process().is_done() {
            return;
        }
        let deadline = match self.policy {
            OnDrop::Leave => None,
            OnDrop::Kill => {
                // An error means that the child runs as another user: it is left alone.
                let _ = self.process().signal_what_is_left(Signal::KILL);
                None
            }
            OnDrop::Terminate(grace) => {
                let asked = self.process().ask_to_exit();
                asked.ok().and_then(|()| self.kill_after(grace))
            }
        };
        if !self.process().is_reaped() {
            self.reaper.abandon_until(deadline);
        } else if deadline.is_none() {
            // The rest of the group is left alone, or was killed. Other handles keep their reach if
            // that does not take a zombie.
            self.process().reap_zombie();
        }
    }
}
