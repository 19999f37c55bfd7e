//! Job control: when a child is stopped, and when it goes on.

use std::io;

use super::child::Child;
use super::handle::ChildHandle;
use crate::reactor::Reactor;
use crate::reap::changes::StateChanges;

impl<R: Reactor> Child<R> {
    /// Tells when the child is stopped and when it goes on, for job control.
    ///
    /// The stream begins with the stop that the child is in, if it is in one, gives what happens
    /// from then on, and ends when the child does. It needs no runtime, and may be polled in any.
    /// There may be many at a time, each is told everything; of a child that has ended it is empty.
    ///
    /// ```
    /// use pidfd_reaper_core::{Child, Reactor, StateChange};
    ///
    /// async fn watch<R: Reactor>(child: &Child<R>) -> std::io::Result<()> {
    ///     let mut changes = child.state_changes()?;
    ///     while let Some(change) = changes.next().await {
    ///         match change {
    ///             StateChange::Stopped(signal) => println!("stopped: {}", signal.as_raw()),
    ///             StateChange::Continued => println!("it goes on"),
    ///             _ => {}
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # What it takes
    ///
    /// Neither a pidfd nor anything else tells of stops, except `SIGCHLD`, which is the program's:
    /// a small thread blocks in [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
    /// (`WSTOPPED`, `WCONTINUED`), with a pidfd of its own. It is one thread for the child, however
    /// many streams there are, and stays until the child ends, also if all of them are dropped. It
    /// never reaps. Children that are not asked for it have none.
    ///
    /// # What may be missed
    ///
    /// - The kernel, and a stream, keep the last change only: a stop that is followed at once by a
    ///   continuation may be told as the continuation alone, and the same change twice as one.
    /// - What another part of the program takes by a `waitpid` with `WUNTRACED` or `WCONTINUED` is
    ///   its own; and what the thread has taken, is not told there.
    /// - Without a pidfd, or `waitid(P_PIDFD)` (Linux 5.4), or a descriptor to be had, the thread
    ///   waits by number. What it sees is taken through the child's own pidfd all the same, if it
    ///   has one. If not, and something else reaps the child, and its number comes round to another
    ///   child of this very process in that instant, the other's changes are told as this one's.
    /// - gVisor tells a `waitid` that blocks of no stop: there the stream gives nothing but the end.
    /// - If this process itself traces the child, the tracer's stops are told and taken as well.
    ///
    /// # Errors
    ///
    /// `EAGAIN` or `ENOMEM` if no thread can be made (`RLIMIT_NPROC`, the pids cgroup): nothing is
    /// lost by that, try again later.
    pub fn state_changes(&self) -> io::Result<StateChanges> {
        self.owned.reaper.state_changes()
    }
}

impl<R: Reactor> ChildHandle<R> {
    /// Tells when the child is stopped and when it goes on.
    ///
    /// # Errors
    ///
    /// Those of [`Child::state_changes`](crate::Child::state_changes).
    pub fn state_changes(&self) -> io::Result<StateChanges> {
        self.process.state_changes()
    }
}
