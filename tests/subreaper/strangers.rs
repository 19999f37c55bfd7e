//! Strangers: processes that a case's descendants leave behind.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use crate::processes::until;
use crate::{processes, sys};

/// Strangers that run until this is dropped.
pub(crate) struct Held {
    pub(crate) pids: Vec<Pid>,
    _end: OwnedFd,
}

pub(crate) fn hold(count: usize) -> Held {
    let (held, end) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe is to be had");
    let pids = sys::leave_strangers(count, Some((held.as_fd(), end.as_fd())));
    Held { pids, _end: end }
}

/// A stranger that has ended, and was reaped by whoever does that.
pub(crate) fn one_comes_and_goes() {
    let stranger = sys::leave_strangers(1, None)[0].as_raw_nonzero().get();
    until(
        || format!("{stranger} was not reaped"),
        || processes::state_and_parent(stranger).is_none(),
    );
}
