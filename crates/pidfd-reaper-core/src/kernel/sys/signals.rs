//! Signals that are taken from the kernel one by one, instead of being handled, and passed on.

use std::ffi::c_int;
use std::mem;
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use super::last_errno;

/// What the kernel raises for a fault of the process itself. To hold these would be of no use.
const FAULTS: [c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// The signals of a process with one thread, held back until they are asked for.
///
/// All but [`FAULTS`] are blocked, and `SIGCHLD` has its default, with which the kernel keeps the
/// status of each child. A blocked signal is kept whatever its disposition, also for PID 1.
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

    /// Gives back what [`hold`](Self::hold) has found.
    pub(crate) fn let_go(&self) {
        // SAFETY: the pointers are valid through the calls, and what they point to was in force
        // before.
        unsafe {
            libc::sigaction(libc::SIGCHLD, &raw const self.sigchld_before, ptr::null_mut());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask_before, ptr::null_mut());
        }
    }

    /// Stops this process as a terminal does: not at all if it is PID 1, or if nobody in its
    /// session could continue it (its group is orphaned). Whether it was continued.
    ///
    /// The `SIGCONT` that did it is taken.
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
        take(&set_of(libc::SIGCONT), false).is_some()
    }

    /// Takes the next signal, waiting for one if `waits`. `None` if there is none.
    pub(crate) fn next(&self, waits: bool) -> Option<TakenSignal> {
        take(&self.held, waits)
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

fn take(set: &libc::sigset_t, waits: bool) -> Option<TakenSignal> {
    // SAFETY: zero is a value of plain data. The pointers are valid through the calls, which write
    // a siginfo_t.
    unsafe {
        let mut info = mem::zeroed();
        let number = if waits {
            libc::sigwaitinfo(set, &raw mut info)
        } else {
            let no_time = mem::zeroed();
            libc::sigtimedwait(set, &raw mut info, &raw const no_time)
        };
        (number > 0).then_some(TakenSignal(info))
    }
}

/// A signal that was taken from the kernel.
pub(crate) struct TakenSignal(libc::siginfo_t);

impl TakenSignal {
    pub(crate) fn is_of_a_child(&self) -> bool {
        self.0.si_signo == libc::SIGCHLD
    }

    /// Sends it to a process, with the value and the sender that came with it, if it was queued
    /// with one.
    pub(crate) fn pass_on(&self, pid: Pid) -> Result<(), Errno> {
        if self.0.si_code == libc::SI_QUEUE {
            // SAFETY: the kernel reads the siginfo_t, to which the pointer is valid.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_rt_sigqueueinfo,
                    pid.as_raw_nonzero().get(),
                    self.0.si_signo,
                    &raw const self.0,
                )
            };
            if answer == 0 {
                return Ok(());
            }
            // The queue is full, or a filter: it can still be told without.
        }
        kill(pid.as_raw_nonzero().get(), self.0.si_signo)
    }

    /// Sends it to each process of the group that `leader` leads.
    pub(crate) fn pass_on_to_group(&self, leader: Pid) -> Result<(), Errno> {
        kill(-leader.as_raw_nonzero().get(), self.0.si_signo)
    }
}

/// By number: a [`Signal`](rustix::process::Signal) does not hold each one that may come.
fn kill(target: c_int, number: c_int) -> Result<(), Errno> {
    // SAFETY: it takes integers only.
    if unsafe { libc::kill(target, number) } == 0 { Ok(()) } else { Err(last_errno()) }
}
