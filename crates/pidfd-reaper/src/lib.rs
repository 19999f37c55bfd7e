//! Child processes on any async runtime, by Linux pidfds.
//!
//! | Feature | Module | Runtime |
//! |---|---|---|
//! | `tokio` | `tokio` | Tokio, current-thread and multi-thread |
//! | `smol` | `smol` | smol, and any executor over async-io |
//! | `async-std` | `async_std` | async-std |
//!
//! No feature is on by default; each adds its module and changes nothing else. Every module has the
//! names of `tokio::process`: `Command`, `Child`, `ChildStdin`, `ChildStdout`, `ChildStderr`. What
//! belongs to no runtime is here at the root.

pub use pidfd_reaper_core::*;

/// On Tokio: the names of `tokio::process`.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use pidfd_reaper_tokio::*;
}

/// On smol: the names of `tokio::process`, with futures-io's traits.
#[cfg(feature = "smol")]
pub mod smol {
    pub use pidfd_reaper_async_io::*;
}

/// On async-std: the names of `tokio::process`, with futures-io's traits.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use pidfd_reaper_async_io::*;
}
