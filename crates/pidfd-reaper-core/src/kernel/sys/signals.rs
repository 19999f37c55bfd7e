//! Signals that are accepted one by one with `sigtimedwait`, without handlers, and passed on.

use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, getpid, setrlimit};

use super::last_errno;

/// Signals that the kernel sends for a fault of the process itself, blocked or not.
const FAULTS: [c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// The signals of a process with one thread, blocked and accepted one by one.
///
/// All but [`FAULTS`] are blocked, and `SIGCHLD` has its default disposition, with which the kernel
/// keeps the status of each child. A blocked signal stays pending whatever its disposition, also
/// for PID 1.
pub(crate) struct HeldSignals {
    held: libc::sigset_t,
    mask_before: libc::sigset_t,
    sigchld_before: libc::sigaction,
}

impl HeldSignals {
    pub(crate) fn hold() -> Result<Self, Errno> {
        // SAFETY: all three are plain data, for which zero is a value; they are filled in below.
        let mut this: Self = unsafe { mem::zeroed() };
        // SAFETY: the pointers are valid through the calls. Only the mask of this thread and the
        // disposition of SIGCHLD change, and the latter to one that runs no code.
        unsafe {
            libc::sigfillset(&raw mut this.held);
            for fault in FAULTS {
                libc::sigdelset(&raw mut this.held, fault);
            }
            let error = libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const this.held,
                &raw mut this.mask_before,
            );
            if error != 0 {
                return Err(Errno::from_raw_os_error(error));
            }
            let mut default: libc::sigaction = mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            if libc::sigaction(libc::SIGCHLD, &raw const default, &raw mut this.sigchld_before) != 0
            {
                let errno = last_errno();
                libc::pthread_sigmask(
                    libc::SIG_SETMASK,
                    &raw const this.mask_before,
                    ptr::null_mut(),
                );
                return Err(errno);
            }
        }
        Ok(this)
    }

    /// Restores the mask and the disposition from before [`hold`](Self::hold).
    pub(crate) fn let_go(&self) {
        // SAFETY: the pointers are valid through the calls, and what they point to was in force
        // before.
        unsafe {
            libc::sigaction(libc::SIGCHLD, &raw const self.sigchld_before, ptr::null_mut());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask_before, ptr::null_mut());
        }
    }

    /// Stops this process as a terminal does: not at all if it is PID 1, or if its process group is
    /// orphaned, so that no shell can continue it. Whether it was continued.
    ///
    /// The `SIGCONT` that continued it is accepted here.
    pub(crate) fn stop_as_from_a_terminal(&self) -> bool {
        // SAFETY: the pointers are valid through the calls; zero is a sigaction without a mask. The
        // signal's default runs no code.
        unsafe {
            let mut default: libc::sigaction = mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGTSTP, &raw const default, ptr::null_mut());
            libc::raise(libc::SIGTSTP);
            let stop = set_of(libc::SIGTSTP);
            // It stops in here.
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const stop, ptr::null_mut());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.held, ptr::null_mut());
        }
        accept(&set_of(libc::SIGCONT), Some(Duration::ZERO)).is_some()
    }

    /// Waits for the next signal. `None` if a signal that is not held has interrupted.
    pub(crate) fn next(&self) -> Option<AcceptedSignal> {
        accept(&self.held, None)
    }

    /// Waits for the next signal, for so long at most.
    pub(crate) fn next_within(&self, time: Duration) -> Option<AcceptedSignal> {
        accept(&self.held, Some(time))
    }

    /// Makes this process die of `signal`, without a core dump. Returns if the signal does not
    /// terminate it: if it is PID 1, or for another default action.
    ///
    /// The parent then sees the same wait status as that of the process that died of it first. A
    /// core dump would be one of the guard, of no use, and may overwrite that of the program.
    pub(crate) fn die_of(&self, signal: c_int) {
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        // The limit of 0 does not hold for a `core_pattern` that is a pipe.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        // SAFETY: the pointers are valid through the calls; zero is a sigaction without a mask. The
        // signal's default action runs no code.
        unsafe {
            let mut default: libc::sigaction = mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const default, ptr::null_mut());
            libc::raise(signal);
            let this = set_of(signal);
            // It dies in here.
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const this, ptr::null_mut());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.held, ptr::null_mut());
        }
    }
}

fn set_of(signal: c_int) -> libc::sigset_t {
    // SAFETY: sigemptyset fills the set before it is read.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}

fn accept(set: &libc::sigset_t, time: Option<Duration>) -> Option<AcceptedSignal> {
    // SAFETY: zero is a value of plain data. The pointers are valid through the calls, which write
    // a siginfo_t.
    unsafe {
        let mut info = mem::zeroed();
        let number = match time {
            None => libc::sigwaitinfo(set, &raw mut info),
            Some(time) => {
                let mut limit: libc::timespec = mem::zeroed();
                limit.tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
                // Less than a second: it fits.
                limit.tv_nsec = i32::try_from(time.subsec_nanos()).unwrap_or(0).into();
                libc::sigtimedwait(set, &raw mut info, &raw const limit)
            }
        };
        (number > 0).then_some(AcceptedSignal(info))
    }
}

/// A signal that was pending and was accepted.
pub(crate) struct AcceptedSignal(libc::siginfo_t);

impl AcceptedSignal {
    pub(crate) fn number(&self) -> c_int {
        self.0.si_signo
    }

    pub(crate) fn is_of_a_child(&self) -> bool {
        self.number() == libc::SIGCHLD
    }

    /// Sends it to a process as `signal`, with the value and the sender that came with it, if it
    /// was queued with one.
    pub(crate) fn pass_on(&self, pid: Pid, signal: c_int) -> Result<(), Errno> {
        if self.0.si_code == libc::SI_QUEUE {
            // SAFETY: the kernel reads the siginfo_t, to which the pointer is valid, and puts
            // `signal` into its copy.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_rt_sigqueueinfo,
                    pid.as_raw_nonzero().get(),
                    signal,
                    &raw const self.0,
                )
            };
            if answer == 0 {
                return Ok(());
            }
            // The queue is full, or a filter refuses the call: send it without the value.
        }
        kill(pid.as_raw_nonzero().get(), signal)
    }
}

/// Sends `signal` to each process of the group that `leader` leads.
pub(crate) fn signal_group(leader: Pid, signal: c_int) -> Result<(), Errno> {
    kill(-leader.as_raw_nonzero().get(), signal)
}

/// Sends `signal` to each process of this one's group, itself included.
pub(crate) fn signal_own_group(signal: c_int) -> Result<(), Errno> {
    kill(0, signal)
}

/// Sends `signal` to every process in this PID namespace but PID 1 and the caller; 0 sends none.
/// `ESRCH` if there is no other process.
///
/// Only PID 1 may do that. `EPERM` for any other process, where it would reach unrelated ones.
pub(crate) fn signal_all_others(signal: c_int) -> Result<(), Errno> {
    if getpid() == Pid::INIT { kill(-1, signal) } else { Err(Errno::PERM) }
}

/// Takes integers: a [`Signal`](rustix::process::Signal) does not hold each one that may come, nor
/// a [`Pid`] each target.
fn kill(target: c_int, number: c_int) -> Result<(), Errno> {
    // SAFETY: it takes integers only.
    if unsafe { libc::kill(target, number) } == 0 { Ok(()) } else { Err(last_errno()) }
}
