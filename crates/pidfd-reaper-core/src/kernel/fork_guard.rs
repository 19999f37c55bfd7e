//! `ForkGuard`: whether the process that uses a value is the one in which it was made.

use std::io;

use super::sys::generation::generation;

/// Remembers the process in which it was made.
///
/// A process that was forked without an exec inherits every value, but neither its parent's
/// children nor the library's threads. Whatever acts on a child or takes a lock asks its guard
/// first: another thread of the parent may have held the lock at the time of the fork, and then
/// nothing in the forked process ever unlocks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkGuard(u32);

impl ForkGuard {
    pub(crate) fn new() -> Self {
        Self(generation())
    }

    /// Whether this is that process. It makes no system call.
    pub(crate) fn is_here(self) -> bool {
        generation() == self.0
    }

    /// # Errors
    ///
    /// In a process that was forked from that one.
    pub(crate) fn check(self, pid: u32) -> io::Result<()> {
        if self.is_here() { Ok(()) } else { Err(Self::error(pid)) }
    }

    /// The error for what concerns the process `pid`, in a forked process.
    #[cold]
    pub(crate) fn error(pid: u32) -> io::Error {
        let message = format!(
            "process {pid} is a child of the process that this one was forked from, which alone can \
             wait for it and signal it; start children of this process's own after the fork"
        );
        io::Error::new(io::ErrorKind::Unsupported, message)
    }
}
