//! The threads that look after one child each, asleep in a system call.

use std::io;
use std::thread;

use rustix::process::Pid;

use crate::kernel::sys;

/// Starts the thread `name` for the child `pid`, with a small stack and all signals blocked.
///
/// `need` is what the error says of why there has to be one.
pub(super) fn start(
    name: &str,
    pid: Pid,
    need: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let started = thread::Builder::new()
        .name(format!("{name}-{pid}"))
        .stack_size(crate::THREAD_STACK)
        .spawn(move || {
            sys::block_signals_in_this_thread();
            body();
        });
    match started {
        Ok(_detached) => Ok(()),
        Err(error) => {
            let message = format!(
                "child {pid}: {need}, and none can be made: {error} (RLIMIT_NPROC? the pids \
                 cgroup?); the child is untouched, try again later"
            );
            Err(io::Error::new(error.kind(), message))
        }
    }
}
