//! What a cloned child does until it execs: system calls only.
//!
//! It runs in the memory of the parent, whose calling thread waits in `clone` meanwhile, while all
//! its other threads run on (see [`Shared`]). So it allocates nothing (another thread may be in the
//! allocator), takes no lock, calls nothing that may panic or unwind, and writes to its own stack,
//! to the cells it was given, and to errno. All that it needs was laid out by the parent.
//!
//! What can be set for it is in [`steps`](super::steps).

use std::ffi::{c_int, c_ulong, c_void};
use std::ptr;

use super::clone::{EXEC, Shared};
use super::steps::{Errno, Step, call};
use super::strings::{List, Lists};

/// The kernel's set of signals: a bit for each, from the lowest of the first word on.
pub(crate) type SigSet = [c_ulong; 64 / c_ulong::BITS as usize];

pub(super) const ALL_SIGNALS: SigSet = [c_ulong::MAX; 64 / c_ulong::BITS as usize];
pub(crate) const NO_SIGNALS: SigSet = [0; 64 / c_ulong::BITS as usize];

/// The last of the signals; the first is 1.
pub(crate) const LAST_SIGNAL: c_int = 64;

/// What the child does, laid out: the steps in their order, then the signals, then the exec.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) steps: &'a [Step<'a>],
    pub(crate) signals: Signals,
    pub(crate) strings: &'a Lists,
    pub(crate) argv: List,
    pub(crate) envp: List,
    /// Paths to execute, tried in this order.
    pub(crate) candidates: List,
    /// The error if there are no candidates.
    pub(crate) no_candidate: c_int,
}

/// What becomes of the signals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    /// The mask with which the program starts; that of the calling thread if there is none.
    pub(crate) mask: Option<SigSet>,
    /// Whether those that the parent ignores are set to their default as well.
    pub(crate) reset_ignored: bool,
}

impl Signals {
    pub(crate) fn are_default(self) -> bool {
        self.mask.is_none() && !self.reset_ignored
    }
}

/// Adds a signal to a set. One that there is not is left out.
pub(crate) fn add_signal(set: &mut SigSet, signal: c_int) {
    let Some(bit) = usize::try_from(signal).ok().and_then(|signal| signal.checked_sub(1)) else {
        return;
    };
    let bits = c_ulong::BITS as usize;
    if let Some(word) = set.get_mut(bit / bits) {
        *word |= 1 << (bit % bits);
    }
}

/// Where the child begins.
pub(super) extern "C" fn start(shared: *mut c_void) -> c_int {
    // SAFETY: the parent passes its `Shared`, which lives until the child has left this memory.
    let shared = unsafe { &*shared.cast::<Shared<'_>>() };
    let (step, errno) = run(shared);
    shared.step.set(step);
    shared.errno.set(errno);
    exit(127)
}

/// Ends this process without running anything of the program.
pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: it ends this process, and nothing else.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

fn run(shared: &Shared<'_>) -> (usize, Errno) {
    let program = shared.program;
    let mut index = 0;
    for step in program.steps {
        if let Err(errno) = step.take() {
            return (index, errno);
        }
        index = index.wrapping_add(1);
    }
    let mask = program.signals.mask.unwrap_or(shared.mask);
    if let Err(errno) = release_signals(&mask, program.signals.reset_ignored) {
        return (EXEC, errno);
    }
    (EXEC, exec(program))
}

/// Sets handled signals to their default, and then the mask.
///
/// Signals are blocked until here. The order matters: were the mask set first, a pending signal
/// that the parent handles would run that handler here, in the parent's memory. `execve` sets
/// handled signals to their default by itself, but too late: the mask has to be set before it,
/// since it keeps the mask. What is ignored stays ignored over an exec, as it does in the standard
/// library, with the exception of `SIGPIPE`: Rust's runtime ignores that for its own sake.
///
/// Another thread of the parent may install a handler at any time; it does not concern this
/// process, which has had its own table since the clone.
pub(super) fn release_signals(mask: &SigSet, reset_ignored: bool) -> Result<(), Errno> {
    let default = KernelAction::default();
    let mut signal = 1;
    while signal <= LAST_SIGNAL {
        let mut action = KernelAction::default();
        // SIGKILL and SIGSTOP can be queried, and are at their default.
        call!(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<c_void>(),
            &raw mut action,
            size_of::<SigSet>()
        )?;
        let is_reset = match action.handler() {
            SIG_DFL => false,
            SIG_IGN => reset_ignored || signal == libc::SIGPIPE,
            _ => true,
        };
        if is_reset {
            let none = ptr::null::<c_void>();
            call!(libc::SYS_rt_sigaction, signal, &raw const default, none, size_of::<SigSet>())?;
        }
        signal = signal.wrapping_add(1);
    }
    let (how, none) = (libc::SIG_SETMASK, ptr::null::<c_void>());
    call!(libc::SYS_rt_sigprocmask, how, ptr::from_ref(mask), none, size_of::<SigSet>())?;
    Ok(())
}

const SIG_DFL: c_ulong = libc::SIG_DFL as c_ulong;
const SIG_IGN: c_ulong = libc::SIG_IGN as c_ulong;

/// The kernel's `struct sigaction`, whose first word is the handler on all architectures that the
/// direct way knows. It has four or five words; the rest is room. All zero is the default action.
#[repr(C)]
#[derive(Default)]
struct KernelAction([c_ulong; 8]);

impl KernelAction {
    fn handler(&self) -> c_ulong {
        let Self([handler, ..]) = *self;
        handler
    }
}

/// Executes the first candidate that can be; returns the error if none can.
///
/// As the C libraries search `PATH`: they go on after errors that mean that there is no such
/// program here, also after `EACCES`, which they report in the end if they have found nothing.
/// There is no shell for a file without a format (`ENOEXEC`).
fn exec(program: &Program<'_>) -> Errno {
    let mut candidates = program.strings.get(program.candidates);
    let mut last = program.no_candidate;
    let mut was_denied = false;
    loop {
        // SAFETY: the list ends with a null pointer, at which this ends.
        let candidate = unsafe { *candidates };
        if candidate.is_null() {
            return if was_denied { libc::EACCES } else { last };
        }
        let (argv, envp) = (program.strings.get(program.argv), program.strings.get(program.envp));
        if let Err(errno) = call!(libc::SYS_execve, candidate, argv, envp) {
            last = errno;
        }
        match last {
            libc::EACCES => was_denied = true,
            libc::ENOENT | libc::ENOTDIR => {}
            libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT if cfg!(target_env = "gnu") => {}
            _ => return last,
        }
        candidates = candidates.wrapping_add(1);
    }
}
