//! A fork without an exec, of a process that has no other threads.

use std::ffi::{c_int, c_uint};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, getrlimit};

use super::last_errno;
use crate::kernel::proc_field;

/// The proof that the process has one thread only: what makes a fork without an exec sound.
///
/// It is consumed by the fork, so that no thread can be started between the check and the fork.
#[derive(Debug)]
pub(crate) struct SingleThread(());

impl SingleThread {
    /// # Errors
    ///
    /// If there are others, or if neither procfs nor the kernel shows how many there are.
    pub(crate) fn ask() -> io::Result<Self> {
        match proc_field("/proc/self/status", "Threads") {
            Some(1) => return Ok(Self(())),
            Some(threads) => return Err(has_others(&format!("{threads} threads"))),
            None => {}
        }
        // SAFETY: with this flag alone the call changes nothing: it only fails if there are other
        // threads.
        match unsafe { libc::unshare(libc::CLONE_THREAD) } {
            0 => Ok(Self(())),
            _ => match last_errno() {
                Errno::INVAL => Err(has_others("other threads")),
                errno => Err(unknown(errno)),
            },
        }
    }

    /// Forks. The new process returns from this; this one never does.
    ///
    /// It closes all its descriptors, runs `stay`, and exits at once with the code that this
    /// returns: nothing of the program runs in it again, no destructor and no exit handler.
    pub(crate) fn stay_behind(self, stay: impl FnOnce(Pid) -> u8) -> Result<(), Errno> {
        let Self(()) = self;
        // SAFETY: no other thread holds a lock, which would stay locked in the new process. The C
        // library's own fork is called, so that all handlers of `pthread_atfork` run.
        let child = match unsafe { libc::fork() } {
            -1 => return Err(last_errno()),
            pid => Pid::from_raw(pid),
        };
        let Some(child) = child else { return Ok(()) };
        close_all_descriptors();
        // A panic must not come back into the program.
        let code = catch_unwind(AssertUnwindSafe(|| stay(child))).unwrap_or(u8::MAX);
        // SAFETY: it may be called at any time.
        unsafe { libc::_exit(code.into()) }
    }
}

/// Only for a process in which none of their owners runs again.
fn close_all_descriptors() {
    // SAFETY: the arguments are integers, and the descriptors' owners, which must not find them
    // closed, never run again in this process.
    let close_range = |first: c_uint, last: c_uint| unsafe {
        libc::syscall(libc::SYS_close_range, first, last, 0)
    };
    if close_range(0, c_uint::MAX) == 0 {
        return;
    }
    // Before Linux 5.9, or behind a filter. The listing's own descriptor is closed before the rest.
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    });
    let open: Vec<c_int> = listed.unwrap_or_else(|_| {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (0..c_int::try_from(limit).unwrap_or(c_int::MAX).min(MOST_DESCRIPTORS)).collect()
    });
    for fd in open {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// The kernel's own limit, unless someone has raised it (`fs.nr_open`).
const MOST_DESCRIPTORS: c_int = 1 << 20;

fn has_others(what: &str) -> io::Error {
    let message = format!(
        "this process has {what}, and a fork takes only the calling one along; call it first in \
         main, before threads and runtimes are started (not under #[tokio::main])"
    );
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

fn unknown(errno: Errno) -> io::Error {
    let message = format!(
        "cannot find out whether this process has other threads: /proc/self/status cannot be read, \
         and unshare(CLONE_THREAD) fails with {errno}; mount /proc, or allow that call"
    );
    io::Error::new(io::Error::from(errno).kind(), message)
}
