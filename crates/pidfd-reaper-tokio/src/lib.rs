//! pidfd-reaper on Tokio, current-thread and multi-thread.
//!
//! [`Tokio`] is the reactor; the other names are those of `tokio::process`, so that changing the
//! `use` line is the whole migration.
//!
//! ```
//! use pidfd_reaper_tokio::Command;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let output = Command::new("echo").arg("hello").output().await?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # }
//! ```
//!
//! # The runtime
//!
//! It needs its I/O driver (`enable_io`, `enable_all`, or `#[tokio::main]`). A runtime without one
//! cannot be told beforehand, and Tokio panics at the first wait that has to register: the child is
//! not lost by that, it is managed like one whose handle is dropped.

mod deferred;
mod pipe;
mod reactor;

pub use pipe::ChildPipe;
pub use reactor::{Tokio, TokioSource};

use std::io;
use std::process::ExitStatus;

use pidfd_reaper_core::{self as core, Pidfd, Stderr, Stdin, Stdout};

/// Builds and starts a child process; as `tokio::process::Command`.
pub type Command = core::Command<Tokio>;
/// A running child; as `tokio::process::Child`.
pub type Child = core::Child<Tokio>;
/// A child's standard input; as `tokio::process::ChildStdin`.
pub type ChildStdin = ChildPipe<Stdin>;
/// A child's standard output; as `tokio::process::ChildStdout`.
pub type ChildStdout = ChildPipe<Stdout>;
/// A child's standard error; as `tokio::process::ChildStderr`.
pub type ChildStderr = ChildPipe<Stderr>;
/// Owns a child of any kind, and is the future of its exit.
pub type Reaper<W> = core::Reaper<Tokio, W>;
/// A cloneable handle to a child.
pub type ChildHandle = core::ChildHandle<Tokio>;
/// Many children, and whichever exits next.
pub type ChildSet = core::ChildSet<Tokio>;

/// Waits until the process of `pidfd` has exited, which need not be a child of this one:
/// [`core::exited`] on this runtime.
///
/// # Errors
///
/// Those of [`core::exited`].
///
/// # Cancel safety
///
/// It may be dropped at any time and called again.
pub async fn exited(pidfd: &Pidfd) -> io::Result<()> {
    core::exited::<Tokio>(pidfd).await
}

/// Waits for the status of the process of `pidfd`, which need not be a child of this one:
/// [`core::exit_status`] on this runtime.
///
/// # Errors
///
/// Those of [`core::exit_status`].
///
/// # Cancel safety
///
/// It may be dropped at any time and called again.
pub async fn exit_status(pidfd: &Pidfd) -> io::Result<Option<ExitStatus>> {
    core::exit_status::<Tokio>(pidfd).await
}
