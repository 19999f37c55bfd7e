//! The threads that wait for one child each, asleep in a system call.

use std::io;
use std::thread;

use rustix::process::Pid;

use crate::kernel::sys;

/// Starts the thread `name` for the child `pid`, with all signals blocked from its first
/// instruction on.
///
/// Its stack is as large as that of any thread of the program, for it runs foreign code: wakers,
/// subscribers, other people's `Wait`s. What it does not touch takes no memory.
pub(super) fn start(name: &str, pid: Pid, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(format!("{name}-{}", pid.as_raw_nonzero()));
    match sys::with_signals_blocked(|| builder.spawn(body)) {
        Ok(_detached) => Ok(()),
        Err(error) => {
            let message = format!(
                "cannot start a thread to wait for child {}: {error} (RLIMIT_NPROC? the pids \
                 cgroup?); the child is untouched, and the call can be repeated",
                pid.as_raw_nonzero()
            );
            Err(io::Error::new(error.kind(), message))
        }
    }
}
