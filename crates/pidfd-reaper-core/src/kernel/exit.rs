//! How a process exited, and the error for a status that is lost.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;

use super::usage::ResourceUsage;

/// How a process exited: its status, and what it has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The status that `wait(2)` gives.
    pub status: ExitStatus,
    /// What it used; `None` where the status was recovered after something else had reaped the
    /// process: the kernel reports the usage to whatever reaps.
    pub usage: Option<ResourceUsage>,
}

impl Exit {
    pub(crate) fn reported(self) -> Self {
        Self { usage: self.usage.map(ResourceUsage::reported), ..self }
    }
}

/// The error for a child that something else reaped, on a kernel that does not keep its status.
///
/// It is inside of the [`io::Error`] of a wait: [`StatusLost::is`] recognizes it. Waiting again
/// returns it again; it never becomes a hang.
///
/// Either another part of the program reaps children that are not its own (`waitpid(-1)`, a SIGCHLD
/// handler that loops), or `SIGCHLD` is ignored (`SIG_IGN`, `SA_NOCLDWAIT`), so that the kernel
/// reaps. From Linux 6.15 on, the real status is returned instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLost {
    pid: Option<u32>,
}

impl StatusLost {
    /// The error of the process `pid`, as an implementation of [`Wait`](crate::Wait) returns it.
    ///
    /// ```
    /// let error = std::io::Error::from(pidfd_reaper_core::StatusLost::new(Some(4711)));
    /// assert!(pidfd_reaper_core::StatusLost::is(&error));
    /// ```
    #[must_use]
    pub fn new(pid: Option<u32>) -> Self {
        Self { pid }
    }

    /// Whether `error` says that a status was lost.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Self>)
    }
}

impl fmt::Display for StatusLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exit status of ")?;
        match self.pid {
            Some(pid) => write!(f, "child {pid}")?,
            None => f.write_str("the process")?,
        }
        f.write_str(
            " is lost: something other than this library reaped it, or it is no child of this \
             process. Look for a waitpid(-1) elsewhere in the program, or for SIGCHLD being ignored \
             (SIG_IGN, SA_NOCLDWAIT); from Linux 6.15 on the status is recovered",
        )
    }
}

impl Error for StatusLost {}

impl From<StatusLost> for io::Error {
    fn from(error: StatusLost) -> Self {
        Self::other(error)
    }
}
