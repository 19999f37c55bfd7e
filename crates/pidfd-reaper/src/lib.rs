//! Child processes on any async runtime, by Linux pidfds.
//!
//! | Feature | Module | Runtime |
//! |---|---|---|
//! | `tokio` | `tokio` | Tokio, current-thread and multi-thread |
//! | `smol` | `smol` | smol, and any executor over async-io |
//! | `async-std` | `async_std` | async-std |
//!
//! No feature is on by default; each adds its module and changes nothing else. `tracing` adds no
//! module: it emits an event for what happens to each child.
//!
//! Every module has the names of `tokio::process`: `Command`, `Child`, `ChildStdin`, `ChildStdout`,
//! `ChildStderr`. What belongs to no runtime is here at the root. The methods are documented at
//! [`Command`], [`Child`] and [`ChildHandle`], which are generic over the reactor; a module's names
//! are those for its runtime.

pub use pidfd_reaper_core::*;

/// On Tokio: the names of `tokio::process`, so that changing the `use` line is the whole migration.
///
/// What differs, and why:
///
/// | `tokio::process` | here |
/// |---|---|
/// | outside a runtime `spawn` panics after the fork: the child is lost | `spawn` works anywhere; what has to wait later needs a runtime then |
/// | outside a runtime `output` panics after the fork | it may be called anywhere, and is polled in a runtime |
/// | a pipe that is never polled is non-blocking and registered | in blocking mode until the first read or write that has to wait |
/// | a wait stays in the runtime that polled it first, and hangs if that is not driven | it moves to the runtime that polls it now |
/// | a dropped child is reaped when some runtime does something else | by the orphan queue when it exits, with or without a runtime |
/// | with the first orphan a `SIGCHLD` handler is installed | no signal is touched |
/// | a status that other code collected is `ECHILD` | it is recovered (Linux 6.15), or the error says so: [`StatusLost`] |
/// | `start_kill` signals by PID: after a theft an unrelated process | through the pidfd: after a theft an error |
/// | `spawn_with` needs `--cfg tokio_unstable` | it is there |
/// | pipes are registered by the spawn | by the first read or write that has to wait |
/// | `ChildStdin`, `ChildStdout`, `ChildStderr` are structs | aliases of one generic type, [`ChildPipe`](crate::tokio::ChildPipe); still three types |
///
/// `stdin`, `stdout` and `stderr` take [`std::process::Stdio`], and [`Stdio`], which
/// has the same constructors. With the latter the child is started without the standard library, and
/// has its pidfd from birth: see [`Command::spawns_directly`]. Changing that `use` line too is all.
///
/// All else is added, nothing renamed: see [`Child`] for `handle`, `signal`, `terminate`,
/// `wait_timeout`, `wait_scope`, `wait_with_usage`, `state_changes`, `from_std`, and
/// [`Command`] for `terminate_on_drop`, `kill_scope`, `output_with` and the attributes of the child.
///
/// A module that is used under the name of Tokio's: `use pidfd_reaper::tokio as process;`.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use pidfd_reaper_tokio::*;
}

/// On smol: the names of `tokio::process`, with futures-io's traits.
///
/// Coming from `async-process` (`smol::process`):
///
/// | `async-process` | here |
/// |---|---|
/// | `Command::{new, arg, env, current_dir, stdin, ...}`, `spawn`, `status`, `output` | the same |
/// | `Stdio` | [`Stdio`], or the standard library's |
/// | `get_args`, `get_envs`, `get_program`, `get_current_dir` | the same on `as_std()` |
/// | `child.status().await` | `child.wait().await` |
/// | `child.try_status()` | `child.try_wait()` |
/// | `child.output().await` | `child.wait_with_output().await` |
/// | `child.kill()` | `child.start_kill()`; `child.kill().await` waits as well |
/// | `child.id()`, a number | `child.id()`, `None` once it was reaped |
/// | `child.stdin`, `stdout`, `stderr` | the same |
/// | `pipe.into_stdio().await` | `Stdio::try_from(pipe)` |
/// | `OwnedFd::try_from(pipe)` | `pipe.into_owned_fd()` |
/// | `unix::CommandExt::exec` | `as_std_mut().exec()`, by `std::os::unix::process::CommandExt` |
/// | `kill_on_drop` | the same |
/// | `reap_on_drop(false)` | none: a dropped child is always reaped |
/// | `Child::from(std)`, `Command::from(std)` | `Child::try_from(std)`, `Command::from(std)` |
/// | `driver()` | none: the orphan queue needs no runtime |
/// | `unix::CommandExt` | the methods are there without it |
///
/// As in `tokio::process`, `output` always pipes standard output and error, and inherits standard
/// input unless it was set; in `async-process` what was set stays, and input is empty.
#[cfg(feature = "smol")]
pub mod smol {
    pub use pidfd_reaper_async_io::*;
}

/// On async-std: the same as the module `smol`, since both stand on async-io.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use pidfd_reaper_async_io::*;
}

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "tokio", feature = "smol", feature = "async-std"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
