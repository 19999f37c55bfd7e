//! Orphans: processes that a case's descendants leave behind.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use crate::processes::until;
use crate::{processes, sys};

/// Orphans that run until this is dropped.
pub(crate) struct Held {
    pub(crate) pids: Vec<Pid>,
    _end: OwnedFd,
}

pub(crate) fn hold(count: usize) -> Held {
    let (held, end) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
    let pids = sys::leave_orphans(count, Some((held.as_fd(), end.as_fd())));
    Held { pids, _end: end }
}

/// An orphan that has exited and was reaped.
pub(crate) fn one_comes_and_goes() {
    let orphan = sys::leave_orphans(1, None)[0].as_raw_nonzero().get();
    until(|| format!("{orphan} was not reaped"), || processes::state_and_parent(orphan).is_none());
}
