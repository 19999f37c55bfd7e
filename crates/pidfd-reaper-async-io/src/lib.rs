//! pidfd-reaper on async-io, the reactor of smol and async-std.
//!
//! [`AsyncIo`] is the reactor; the other names are those of `tokio::process`, with futures-io's
//! traits on the pipes.
//!
//! ```
//! use pidfd_reaper_async_io::Command;
//!
//! # fn main() -> std::io::Result<()> {
//! # smol::block_on(async {
//! let output = Command::new("echo").arg("hello").output().await?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # The runtime
//!
//! async-io has one reactor for the process, driven by whoever blocks in its or smol's `block_on`,
//! and by a thread of its own otherwise: any executor will do. It does not survive a fork without
//! exec: its thread is missing in the new process. The first wait for a child opens an epoll, behind
//! which all pidfds wait; it stays for as long as the process.

mod exits;
mod pipe;
mod reactor;

pub use pipe::ChildPipe;
pub use reactor::{AsyncIo, AsyncIoSource};

use std::io;
use std::process::ExitStatus;

use pidfd_reaper_core::{self as core, Pidfd, Stderr, Stdin, Stdout};

/// Builds and starts a child process.
pub type Command = core::Command<AsyncIo>;
/// A running child.
pub type Child = core::Child<AsyncIo>;
/// A child's standard input.
pub type ChildStdin = ChildPipe<Stdin>;
/// A child's standard output.
pub type ChildStdout = ChildPipe<Stdout>;
/// A child's standard error.
pub type ChildStderr = ChildPipe<Stderr>;
/// Owns a child of any kind, and is the future of its exit.
pub type Reaper<W> = core::Reaper<AsyncIo, W>;
/// A cloneable handle to a child.
pub type ChildHandle = core::ChildHandle<AsyncIo>;
/// Many children, and whichever exits next.
pub type ChildSet = core::ChildSet<AsyncIo>;

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
    core::exited::<AsyncIo>(pidfd).await
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
    core::exit_status::<AsyncIo>(pidfd).await
}
