//! A case: one error at one occurrence, and what came of it.

use std::fmt;
use std::str::FromStr;

/// Which of the calls fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Occurrence {
    First,
    Second,
    Every,
}

impl Occurrence {
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Every];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Every => "every",
        }
    }

    /// Zero for every one.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Every => 0,
        }
    }
}

/// An error at an occurrence, of a call that is known otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) errno: Errno,
    pub(crate) occurrence: Occurrence,
}

/// An error's number, which prints and parses as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Errno(pub(crate) i32);

const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::EACCES, "EACCES"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::EINTR, "EINTR"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENFILE, "ENFILE"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOSPC, "ENOSPC"),
];

impl Errno {
    /// Whether it is how a filter refuses a call: the library remembers some of these.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self.0, libc::EPERM | libc::EACCES | libc::ENOSYS)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            NAMES.iter().find(|(number, _)| *number == self.0).map_or("?", |(_, name)| name),
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.errno, self.occurrence.name())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (errno, occurrence) = text.split_once(':').ok_or("ERRNO:OCCURRENCE")?;
        let number = NAMES.iter().find(|(_, name)| *name == errno).ok_or("no such error")?.0;
        let mut occurrences = Occurrence::ALL.into_iter();
        let occurrence = occurrences.find(|which| which.name() == occurrence);
        let occurrence = occurrence.ok_or("no such occurrence")?;
        Ok(Self { errno: Errno(number), occurrence })
    }
}
