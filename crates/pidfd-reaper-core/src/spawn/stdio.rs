//! `Stdio`: what a child's standard input, output or error is.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{self, ChildStderr, ChildStdin, ChildStdout};

/// What a child's standard input, output or error is.
///
/// It has the constructors of [`std::process::Stdio`], which [`Command`](crate::Command) takes as
/// well. The difference is how the child is started: the standard library's type cannot be read
/// back, so a command that was given one is started by the standard library. With this type it is
/// started directly (see [`Command::spawns_directly`](crate::Command::spawns_directly)). Changing
/// the `use` line is all that it takes.
///
/// ```
/// use pidfd_reaper_core::{Command, Reactor, Stdio};
///
/// async fn lines<R: Reactor>(file: std::fs::File) -> std::io::Result<Vec<u8>> {
///     let mut command = Command::<R>::new("sort");
///     let child = command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
///     Ok(child.wait_with_output().await?.stdout)
/// }
/// ```
pub struct Stdio(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
    /// The parent's own standard output or error, as another of the child's.
    Parents(RawFd),
    Std(process::Stdio),
}

impl Stdio {
    /// A new pipe between this process and the child.
    ///
    /// Its other end is in [`Child::stdin`](crate::Child::stdin),
    /// [`stdout`](crate::Child::stdout) or [`stderr`](crate::Child::stderr).
    #[must_use]
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }

    /// The same as this process has. If that is closed, or close-on-exec, the child has none.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// `/dev/null`, opened for reading as standard input and for writing otherwise.
    ///
    /// The child opens it itself, which takes no descriptor of this process.
    #[must_use]
    pub fn null() -> Self {
        Self(Kind::Null)
    }
}

impl Kind {
    pub(super) fn into_std(self) -> process::Stdio {
        match self {
            Self::Inherit => process::Stdio::inherit(),
            Self::Null => process::Stdio::null(),
            Self::Piped => process::Stdio::piped(),
            Self::Fd(fd) => fd.into(),
            Self::Parents(libc::STDOUT_FILENO) => io::stdout().into(),
            Self::Parents(_) => io::stderr().into(),
            Self::Std(std) => std,
        }
    }
}

/// For a command of the standard library.
impl From<Stdio> for process::Stdio {
    fn from(stdio: Stdio) -> Self {
        stdio.0.into_std()
    }
}

/// The command that is given it is started by the standard library.
impl From<process::Stdio> for Stdio {
    fn from(std: process::Stdio) -> Self {
        Self(Kind::Std(std))
    }
}

macro_rules! from_owner_of_fd {
    ($($owner:ty),*) => {$(
        /// The child gets a copy of the descriptor.
        impl From<$owner> for Stdio {
            fn from(owner: $owner) -> Self {
                Self(Kind::Fd(owner.into()))
            }
        }
    )*};
}
from_owner_of_fd!(OwnedFd, File, ChildStdin, ChildStdout, ChildStderr);

/// The child gets a copy of what is this process's standard output when it is spawned.
impl From<io::Stdout> for Stdio {
    fn from(stdout: io::Stdout) -> Self {
        Self(Kind::Parents(stdout.as_raw_fd()))
    }
}

/// The child gets a copy of what is this process's standard error when it is spawned.
impl From<io::Stderr> for Stdio {
    fn from(stderr: io::Stderr) -> Self {
        Self(Kind::Parents(stderr.as_raw_fd()))
    }
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stdio").field(&self.0).finish()
    }
}
