//! What the kernel offers: pidfds, what of them is supported here, and the calls rustix has not.

pub(crate) mod edge;
pub(crate) mod exit;
mod left;
pub(crate) mod pidfd;
pub(crate) mod support;
pub(crate) mod sys;
pub(crate) mod usage;

use std::fs;

use rustix::process::Pid;

/// `pid` as the system calls want it; `None` for the numbers that name no process.
pub(crate) fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)
}

/// The number of a process as the standard library has it.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// The value of a line `key` of a procfs file made of `key: value` lines.
fn proc_field(path: &str, key: &str) -> Option<i64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}
