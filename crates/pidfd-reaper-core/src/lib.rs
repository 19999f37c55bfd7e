//! The core of pidfd-reaper: waits for child processes on Linux, reaps them, signals them and
//! cleans up after them, on any async runtime. It knows no runtime itself.
//!
//! Applications use the facade, `pidfd-reaper`. This crate is for libraries that leave the choice
//! of the runtime open, and for authors of adapters, who implement [`Reactor`] and [`Source`].
//!
//! # The way of a child
//!
//! ```text
//!  Command::spawn ──► Process ──► first poll: try_wait ──ended──────────────► status
//!                   (pid, pidfd)        │ runs                                  ▲
//!                        │              ▼                                       │
//!                        │      Reactor::register ──► readable ──► try_wait ────┤
//!                        │              │ no pidfd, or refused                  │
//!                        │              ▼                                       │
//!                        │      a thread in waitid(WNOWAIT) ──► try_wait ───────┘
//!                        ▼
//!                 dropped alive ──► orphan queue ──► one thread, one epoll ──► reaped
//! ```
//!
//! # What holds whatever happens
//!
//! - A child whose handle is dropped is reaped when it ends, with or without a runtime.
//! - A status that something else took is returned all the same where the kernel tells it (Linux
//!   6.15), else the wait ends with [`StatusLost`].
//! - No signal, handler or mask of the program is touched.
//! - A signal goes through the pidfd, and is an error once the child was reaped.
//!
//! # A process that was forked off
//!
//! After a `fork` without an `exec` the new process has none of its parent's children or orphans.
//! It may use this library afresh; handles that it inherited do nothing when they are dropped
//! there. [`Subreaper`] forks in this way, so that strangers have a parent of their own.
//!
//! # Feature `tracing`
//!
//! Tells the `tracing` crate, at level `DEBUG` and with the target `pidfd_reaper`, of each child
//! that it was spawned, reaped (by a waiter, the fallback or the orphan queue), stolen, orphaned,
//! or that it goes the way without a pidfd, and why. Without the feature nothing of it is compiled
//! in.

cfg_if::cfg_if! {
    if #[cfg(not(target_os = "linux"))] {
        compile_error!("pidfd-reaper stands on pidfds, which only Linux has");
    }
}

mod command;
mod exit_set;
#[cfg(all(test, loom))]
mod exit_set_model;
mod init;
mod kernel;
mod reactor;
mod reap;
mod spawn;
mod sync;
mod trace;

pub use rustix::process::Signal;

pub use command::child::{Child, FromStdError};
pub use command::command::Command;
pub use command::ending::Termination;
pub use command::handle::ChildHandle;
pub use command::limits::{BoundedOutput, OutputError, OutputLimits};
pub use command::pipe::{End, Pipe, ReadEnd, Stderr, Stdin, Stdout};
pub use command::set::{ChildId, ChildSet, Ended};
pub use exit_set::{ExitSet, ExitSource};
pub use init::subreaper::Subreaper;
pub use kernel::edge::EdgeEpoll;
pub use kernel::exit::{Exit, StatusLost};
pub use kernel::pidfd::Pidfd;
pub use kernel::support::KernelSupport;
pub use kernel::usage::ResourceUsage;
pub use reactor::{Interest, Reactor, SharedFd, Source};
pub use reap::changes::{StateChange, StateChanges};
pub use reap::exit_thread::ExitThread;
pub use reap::foreign::{exit_status, exited};
pub use reap::orphan::{Orphan, OrphanQueue};
pub use reap::orphans::ProcessQueue;
pub use reap::process::Process;
pub use reap::reaper::Reaper;
pub use reap::scope::KillScope;
pub use reap::wait::{Kill, Wait};
pub use spawn::error::SpawnError;
pub use spawn::resource::Resource;
pub use spawn::stdio::Stdio;

/// The orphan queue of this process: children whose handle was dropped while they ran.
///
/// ```
/// println!("{} abandoned children still run", pidfd_reaper_core::orphans().len());
/// ```
#[must_use]
pub fn orphans() -> &'static ProcessQueue {
    reap::orphans::of_this_process()
}
