//! `SpawnError`: which attribute of a child could not be set.

use std::error::Error;
use std::fmt;
use std::io;

/// The error for an attribute of a child that could not be set. The child was not started.
///
/// It is inside of the [`io::Error`] of [`Command::spawn`](crate::Command::spawn), which has the
/// same [`kind`](io::Error::kind). Where the program itself cannot be executed, or its directory
/// does not exist, there is none: these errors are those of the standard library.
///
/// ```
/// use pidfd_reaper_core::{Command, Reactor, SpawnError};
///
/// fn start<R: Reactor>() {
///     // Lowering it takes a privilege.
///     if let Err(error) = Command::<R>::new("true").nice(-20).spawn() {
///         if let Some(error) = SpawnError::get(&error) {
///             println!("{} could not be set: {error}", error.attribute());
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    attribute: &'static str,
    errno: i32,
}

impl SpawnError {
    pub(super) fn io_error(attribute: &'static str, errno: i32) -> io::Error {
        let kind = io::Error::from_raw_os_error(errno).kind();
        io::Error::new(kind, Self { attribute, errno })
    }

    /// The one inside of `error`, if that is an attribute's.
    #[must_use]
    pub fn get(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The attribute, by the name of the method of [`Command`](crate::Command) that asks for it.
    #[must_use]
    pub fn attribute(&self) -> &'static str {
        self.attribute
    }

    /// The error of the system call, as [`io::Error::raw_os_error`].
    #[must_use]
    pub fn raw_os_error(&self) -> i32 {
        self.errno
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attribute, errno } = self;
        write!(f, "cannot set {attribute} for the child: {}", io::Error::from_raw_os_error(*errno))
    }
}

impl Error for SpawnError {}
