//! What a storm goes short of.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Four storms, each in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    Nothing,
    /// Spawns, `pidfd_open` and second registrations fail with `EMFILE` at times.
    Descriptors,
    /// `pidfd_open` is unknown: a thread waits for each child.
    Pidfds,
    /// The same, where threads and processes cannot always be made (`EAGAIN`).
    Processes,
}

impl Limits {
    pub(crate) const ALL: [Self; 4] =
        [Self::Nothing, Self::Descriptors, Self::Pidfds, Self::Processes];

    /// How many children there are on each runtime, and about how many at a time.
    ///
    /// Those that only the runtime's end lets go, two fates, must have room all together.
    pub(crate) fn crowd(self) -> (usize, usize) {
        match self {
            // Each takes a pidfd and a pipe, and some a copy of the pidfd.
            Self::Nothing => (750, 650.min(descriptors() / 16)),
            Self::Descriptors => (150, 60),
            Self::Pidfds => (100, 60),
            Self::Processes => (80, 50),
        }
    }

    /// What holds from before the first thread on.
    pub(crate) fn begin(self) -> io::Result<()> {
        raise(Resource::Nofile)?;
        if matches!(self, Self::Pidfds | Self::Processes) {
            hide_pidfd_open().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// What holds once all is there that the storm itself needs; [`lift`](Self::lift) undoes it.
    pub(crate) fn lower(self) -> io::Result<()> {
        match self {
            Self::Nothing | Self::Pidfds => Ok(()),
            Self::Descriptors => {
                lower(Resource::Nofile, 240 + fs::read_dir("/proc/self/fd")?.count())
            }
            Self::Processes => lower(Resource::Nproc, 160 + tasks_of_this_user()?),
        }
    }

    /// One descriptor more, or one less: so it is now a pipe that is refused, and then a pidfd.
    pub(crate) fn vary(self) {
        if let (Self::Descriptors, Rlimit { current: Some(current), maximum }) =
            (self, getrlimit(Resource::Nofile))
        {
            // An error means that it is at its maximum: before the storm.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current ^ 1), maximum });
        }
    }

    pub(crate) fn lift(self) -> io::Result<()> {
        match self {
            Self::Nothing | Self::Pidfds => Ok(()),
            Self::Descriptors => raise(Resource::Nofile),
            Self::Processes => raise(Resource::Nproc),
        }
    }

    /// Whether it is sure that spawns fail: no limit of processes holds for root.
    pub(crate) fn bite(self) -> bool {
        self == Self::Descriptors || (self == Self::Processes && !getuid().is_root())
    }
}

fn descriptors() -> usize {
    getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| limit.try_into().ok())
        .unwrap_or(usize::MAX)
}

fn lower(resource: Resource, current: usize) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(resource, Rlimit { current: Some(current as u64), maximum })?)
}

fn raise(resource: Resource) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(resource, Rlimit { current: maximum, maximum })?)
}

/// What `RLIMIT_NPROC` counts. Processes that end meanwhile are not there any more.
fn tasks_of_this_user() -> io::Result<usize> {
    let user = getuid().as_raw();
    let tasks = fs::read_dir("/proc")?
        .filter_map(|entry| {
            entry.ok().filter(|entry| entry.metadata().is_ok_and(|it| it.uid() == user))
        })
        .filter_map(|entry| Some(fs::read_dir(entry.path().join("task")).ok()?.count()));
    Ok(tasks.sum())
}

/// As a kernel before 5.3 has it.
fn hide_pidfd_open() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = SeccompFilter::new(
        [(libc::SYS_pidfd_open, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
