//! What the kernel offers: pidfds, what of them is supported here, and the calls rustix has not.

pub(crate) mod edge;
pub(crate) mod exit;
pub(crate) mod fork_guard;
mod left;
pub(crate) mod pidfd;
pub(crate) mod procfs;
pub(crate) mod support;
pub(crate) mod sys;
pub(crate) mod usage;

use rustix::io::Errno;
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
    let text = procfs::read_file(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

/// Makes a system call again if a signal has interrupted it.
///
/// The number of tries is bounded: a tracer or a filter that answers `EINTR` each time must not make
/// the library spin. Its caller gets `EINTR` then.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..TRIES {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
    Err(Errno::INTR)
}

const TRIES: usize = 16;

/// Whether `errno` is how a seccomp filter refuses a call that needs no permission of its own.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::ACCESS)
}
