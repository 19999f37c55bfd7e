//! How a process ended, and the error for a status that nobody can give any more.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;

use super::usage::ResourceUsage;

/// How a process ended: its status, and what it has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The status that `wait(2)` gives.
    pub status: ExitStatus,
    /// What it used; `None` where the status was recovered after something else had reaped the
    /// process: the usage goes to whoever reaps.
    pub usage: Option<ResourceUsage>,
}

/// The error for a child that something else reaped, on a kernel that no longer tells its status.
///
/// It is inside of the [`io::Error`] of a wait: [`StatusLost::is`] tells it from others. Waiting
/// again gives it again; it never becomes a hang.
///
/// Either another part of the program reaps children that are not its own (`waitpid(-1)`, a SIGCHLD
/// handler that loops), or `SIGCHLD` is ignored (`SIG_IGN`, `SA_NOCLDWAIT`), so that the kernel
/// reaps. From Linux 6.15 on, the real status is returned instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLost {
    pid: Option<u32>,
}

impl StatusLost {
    pub(crate) fn of(pid: Option<u32>) -> io::Error {
        io::Error::other(Self { pid })
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
