//! The generation of this process: a number that differs between a process and one that was forked
//! from it without an exec.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// The generation of this process, without a system call after the first use. Never zero.
///
/// A forked process finds the memory of its parent, but neither its threads nor its children. Its
/// PID does not show that: asking for it is a system call, and in a new PID namespace both can be 1.
/// So the number lies in a page that the kernel clears in a forked process (`MADV_WIPEONFORK`, Linux
/// 4.14), after a raw `clone` as well. Where that cannot be, a `pthread_atfork` handler clears it,
/// which only the C library's `fork` calls.
///
/// # Order
///
/// A number is taken from `LAST` before it is written to the page. A fork between the two finds the
/// page cleared and `LAST` counted up, so the forked process takes a number that its parent never
/// had. The other order would give both the same one.
///
/// The handler is registered, and the page made, before any number is returned. So every value that
/// holds a number was made when a fork could no longer go unnoticed.
pub(crate) fn generation() -> u32 {
    let page = match PAGE.load(Ordering::Acquire) {
        page if page.is_null() => make_page(),
        page => page,
    };
    // SAFETY: the page is never unmapped once it is published, and holds an AtomicU32; any bits,
    // also those of a cleared page, are a value of that.
    let page = unsafe { &*page };
    match page.load(Ordering::Acquire) {
        0 => {
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            match page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => next,
                Err(other_threads) => other_threads,
            }
        }
        generation => generation,
    }
}

static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
static LAST: AtomicU32 = AtomicU32::new(0);

/// Two threads may come here at once: one page is published, and a handler that is registered twice
/// does the same as once.
#[cold]
fn make_page() -> *mut AtomicU32 {
    static IN_PLACE_OF_A_PAGE: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the handler only stores to atomics and closes descriptors, which is allowed in a
    // forked process. Without memory for it (ENOMEM), the page alone has to do.
    unsafe { libc::pthread_atfork(None, None, Some(in_the_forked_process)) };
    let made = wiped_page().unwrap_or((&raw const IN_PLACE_OF_A_PAGE).cast_mut());
    let published =
        PAGE.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
    match published {
        Ok(_) => made,
        // The few bytes of the other page stay mapped.
        Err(other_threads) => other_threads,
    }
}

fn wiped_page() -> Option<*mut AtomicU32> {
    const SIZE: usize = size_of::<AtomicU32>();
    // SAFETY: a new mapping touches no memory that there is. Only that mapping is advised on; the
    // kernel takes whole pages for both. It is unmapped only here, before anyone knows of it.
    unsafe {
        let page = libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, SIZE);
            return None;
        }
        Some(page.cast())
    }
}

/// Runs in a forked process before `fork` returns there.
extern "C" fn in_the_forked_process() {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: as in `generation`.
        unsafe { &*page }.store(0, Ordering::Release);
    }
    for slot in &CLOSED_ON_FORK {
        let fd = slot.swap(NONE, Ordering::AcqRel);
        if fd != NONE {
            // SAFETY: the number is of a descriptor of this library, whose owner never runs in the
            // forked process. Here, before `fork` returns, nothing else can have closed it.
            unsafe { libc::close(fd) };
        }
    }
}

const NONE: c_int = -1;
static CLOSED_ON_FORK: [AtomicI32; 2] = [const { AtomicI32::new(NONE) }; 2];

/// Has descriptors of the library's closed in a process that is forked from this one.
///
/// It is the only time at which they can be: later the program may have closed them itself (all
/// descriptors, as daemons do), and opened its own under the same numbers. Those of the latest call
/// are closed.
pub(crate) fn close_on_fork(fds: [c_int; 2]) {
    for (slot, fd) in CLOSED_ON_FORK.iter().zip(fds) {
        slot.store(fd, Ordering::Release);
    }
}

/// Takes that back, before their owner closes them.
pub(crate) fn keep_on_fork(fds: [c_int; 2]) {
    for (slot, fd) in CLOSED_ON_FORK.iter().zip(fds) {
        let _ = slot.compare_exchange(fd, NONE, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    /// The exit code of a process that is started by `fork` and exits with what `code` returns.
    fn exit_code(fork: impl FnOnce() -> c_int, code: impl FnOnce() -> bool) -> Option<i32> {
        match fork() {
            0 => {
                let code = i32::from(code());
                // SAFETY: it may be called at any time.
                unsafe { libc::_exit(code) }
            }
            pid => {
                let (_, status) =
                    waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).ok()??;
                status.exit_status()
            }
        }
    }

    #[test]
    fn a_forked_process_has_another_generation_and_keeps_it() {
        let parents = generation();
        assert_eq!(parents, generation());
        let differs = || generation() != parents && generation() == generation();
        // SAFETY: the forked process calls nothing but `generation`, which takes no lock.
        assert_eq!(exit_code(|| unsafe { libc::fork() }, differs), Some(1));
        assert_eq!(parents, generation());
    }

    #[test]
    fn so_has_one_that_a_raw_clone_made() {
        let parents = generation();
        let clone = || {
            // SAFETY: as a fork, without the C library's handlers.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            pid.try_into().unwrap()
        };
        assert_eq!(exit_code(clone, || generation() != parents), Some(1));
    }
}
