//! What a cloned child does until it execs: system calls only.
//!
//! It runs in the memory of the parent, whose calling thread waits in `clone` meanwhile, while all
//! its other threads run on (see [`Shared`]). So it allocates nothing (another thread may be in the
//! allocator), takes no lock, calls nothing that may panic or unwind, and writes to its own stack,
//! to the cells it was given, and to errno. All that it needs was laid out by the parent.
//!
//! The same steps serve in a forked child, where the standard library starts it
//! (`CommandExt::pre_exec`): what is allowed here is allowed there.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::ptr;

use super::clone::{EXEC, Shared};

/// The kernel's set of signals: a bit for each, from the lowest of the first word on.
pub(crate) type SigSet = [c_ulong; 64 / c_ulong::BITS as usize];

pub(super) const ALL_SIGNALS: SigSet = [c_ulong::MAX; 64 / c_ulong::BITS as usize];
pub(super) const NO_SIGNALS: SigSet = [0; 64 / c_ulong::BITS as usize];

/// The last of the signals; the first is 1.
pub(crate) const LAST_SIGNAL: c_int = 64;

/// What the child does, laid out: the steps in their order, then the signals, then the exec.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) steps: &'a [Step<'a>],
    pub(crate) signals: Signals,
    /// Paths to execute, tried in this order; null-terminated, like the other two.
    pub(crate) candidates: &'a Pointers,
    pub(crate) argv: &'a Pointers,
    pub(crate) envp: &'a Pointers,
    /// The error if there are no candidates.
    pub(crate) no_candidate: c_int,
}

/// Strings for the kernel: pointers to strings that end with NUL, and a null pointer at the end.
///
/// Only [`Pointers::new`] makes one, so that this holds.
#[derive(Debug)]
pub(crate) struct Pointers {
    pointers: Vec<*const c_char>,
    /// What they point into. It is never changed, so its heap memory stays where it is.
    _bytes: Vec<u8>,
}

impl Pointers {
    /// Takes `count` strings that each end with NUL, one after the other.
    pub(crate) fn new(bytes: Vec<u8>, count: usize) -> Self {
        let mut pointers = Vec::with_capacity(count + 1);
        pointers.extend(
            bytes.split_inclusive(|byte| *byte == 0).map(|string| string.as_ptr().cast::<c_char>()),
        );
        assert!(pointers.len() == count && bytes.last().is_none_or(|last| *last == 0));
        pointers.push(ptr::null());
        Self { pointers, _bytes: bytes }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// What becomes of the signals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    /// The mask with which the program starts; that of the calling thread if there is none.
    pub(crate) mask: Option<SigSet>,
    /// Whether those that the parent ignores are set to their default as well.
    pub(crate) reset_ignored: bool,
}

/// One thing that the child does before it execs.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    ProcessGroup(c_int),
    Descriptors(&'a [Move]),
    Gid(u32),
    /// Without supplementary groups, as far as the privileges allow.
    DropGroups,
    Uid(u32),
    ChangeDirectory(&'a CStr),
}

/// A descriptor that the child gets.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) target: c_int,
    pub(crate) source: Source,
}

/// Where it comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A descriptor of the parent. The child writes here where it has moved its copy to.
    Fd(Cell<c_int>),
    /// `/dev/null`, opened by the child: it costs the parent nothing, not even a descriptor.
    Null,
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

type Errno = c_int;

cfg_if::cfg_if! {
    if #[cfg(any(target_arch = "x86", target_arch = "arm"))] {
        // The plain ones are from the time of 16-bit ids.
        const SETGROUPS: c_long = libc::SYS_setgroups32;
        const SETGID: c_long = libc::SYS_setgid32;
        const SETUID: c_long = libc::SYS_setuid32;
    } else {
        const SETGROUPS: c_long = libc::SYS_setgroups;
        const SETGID: c_long = libc::SYS_setgid;
        const SETUID: c_long = libc::SYS_setuid;
    }
}

/// A system call. Its arguments are as the kernel wants them: integers, and pointers that are valid
/// for what the call reads and writes.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        // SAFETY: none of these calls affects memory but through the pointers passed, each of which
        // comes from a reference, or from `Pointers`, and has the size that the call expects.
        let result: c_long = unsafe { libc::syscall($number $(, $argument)*) };
        if result == -1 { Err(errno()) } else { Ok(result) }
    }};
}

/// The thread-local errno of the parent's calling thread, which restores it.
fn errno() -> Errno {
    // SAFETY: the C library returns a valid pointer; the thread that it belongs to waits.
    unsafe { *libc::__errno_location() }
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

impl Step<'_> {
    /// Takes it.
    fn take(&self) -> Result<(), Errno> {
        match *self {
            Self::ProcessGroup(group) => call!(libc::SYS_setpgid, 0, group)?,
            Self::Descriptors(moves) => return place(moves),
            Self::DropGroups => match call!(SETGROUPS, 0, ptr::null::<u32>()) {
                Err(libc::EPERM) => 0,
                result => result?,
            },
            Self::Gid(gid) => call!(SETGID, gid)?,
            Self::Uid(uid) => call!(SETUID, uid)?,
            Self::ChangeDirectory(path) => call!(libc::SYS_chdir, path.as_ptr())?,
        };
        Ok(())
    }
}

/// Gives the child its descriptors.
///
/// A source may have the number of another's target: `stdout` may be descriptor 2 and `stderr`
/// descriptor 1, or a pipe may have got a number below 3 because that was closed. So the sources
/// that would be overwritten are first moved to numbers that are no target. Then each is copied to
/// its target, which makes a descriptor that stays open across the exec; one that has its number
/// already only loses close-on-exec. All else is close-on-exec, and the kernel closes it.
fn place(moves: &[Move]) -> Result<(), Errno> {
    let is_target = |fd: c_int| moves.iter().any(|other| other.target == fd);
    for Move { target, source } in moves {
        let Source::Fd(fd) = source else { continue };
        if fd.get() == *target || !is_target(fd.get()) {
            continue;
        }
        let mut least: c_int = 3;
        loop {
            let copy = fd_of(call!(libc::SYS_fcntl, fd.get(), libc::F_DUPFD_CLOEXEC, least)?);
            if !is_target(copy) {
                fd.set(copy);
                break;
            }
            // It is overwritten when its turn comes.
            least = copy.wrapping_add(1);
        }
    }
    for Move { target, source } in moves {
        match source {
            Source::Fd(fd) if fd.get() == *target => {
                call!(libc::SYS_fcntl, *target, libc::F_SETFD, 0)?
            }
            Source::Fd(fd) => call!(libc::SYS_dup3, fd.get(), *target, 0)?,
            Source::Null => open_null(*target)?,
        };
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel's descriptors are ints")]
fn fd_of(result: c_long) -> c_int {
    result as c_int
}

/// Opens `/dev/null` as `target`: for reading if that is standard input, else for writing.
fn open_null(target: c_int) -> Result<c_long, Errno> {
    let flags = if target == 0 { libc::O_RDONLY } else { libc::O_WRONLY };
    let fd = fd_of(call!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), flags, 0)?);
    if fd != target {
        call!(libc::SYS_dup3, fd, target, 0)?;
        call!(libc::SYS_close, fd)?;
    }
    Ok(0)
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
fn release_signals(mask: &SigSet, reset_ignored: bool) -> Result<(), Errno> {
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
    let mut candidates = program.candidates.as_ptr();
    let mut last = program.no_candidate;
    let mut was_denied = false;
    loop {
        // SAFETY: the list ends with a null pointer, at which this ends.
        let candidate = unsafe { *candidates };
        if candidate.is_null() {
            return if was_denied { libc::EACCES } else { last };
        }
        let (argv, envp) = (program.argv.as_ptr(), program.envp.as_ptr());
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
