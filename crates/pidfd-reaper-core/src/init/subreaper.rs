//! `Subreaper`: reaps the strangers that are re-parented to a program, and only those.

use std::io;

use rustix::process::{
    Pid, Signal, child_subreaper, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, setpgid,
};

use super::guard::Guard;
use super::terminal;
use crate::kernel::sys::fork::SingleThread;
use crate::kernel::sys::signals::HeldSignals;
use crate::reap::scope::KillScope;

/// Takes in and reaps the strangers that the program's descendants leave behind, and only those:
/// as PID 1 of a container, or as a
/// [child subreaper](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html).
///
/// Within one process a stranger cannot be told from a child that the standard library or a runtime
/// waits for. So [`guard`](Self::guard) makes two of one: the process forks, and goes on as its own
/// child, the *main child*. The old process stays behind as the *guard*, with the process number
/// that the outside knows. What is orphaned goes to the guard, which reaps it; what the program
/// starts is the program's. Neither sees the other's children.
///
/// ```
/// use pidfd_reaper_core::{KillScope, Subreaper};
///
/// fn main() -> std::io::Result<()> {
///     // First of all: before threads, runtimes and children.
///     Subreaper::new().forward_to(KillScope::Group).guard()?;
///
///     // From here on it is the main child that runs. A runtime is built now, by hand, since
///     // `#[tokio::main]` would have built it before:
///     // tokio::runtime::Runtime::new()?.block_on(serve())
///     let status = std::process::Command::new("true").status()?;
///     assert!(status.success());
///     Ok(())
/// }
/// ```
///
/// # What the guard does
///
/// - **Orphans**: it reaps each one that ends, however many do at a time.
/// - **Signals** that come to it go to the main child, with the value that was queued with them, or
///   to its whole group ([`forward_to`](Self::forward_to)), without: the kernel has no call for
///   that. `SIGKILL` and `SIGSTOP` stay with the guard, as do `SIGCHLD` and the signals of a fault
///   (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`, `SIGTRAP`, `SIGABRT`, `SIGSYS`).
/// - **Status**: when the main child ends, it exits with the same code, or with 128 and the number
///   of the signal. Buffers and destructors of the program are the main child's: the guard runs
///   none.
/// - **Descriptors**: it closes all, and goes to `/`. A pipe or socket that the program closes is
///   closed.
/// - **Terminal**: the main child leads a process group of its own. If the program was in the
///   foreground of its terminal, that group is put there, so that Ctrl-C reaches it once; at the
///   end the terminal goes back. Ctrl-Z stops both, and a shell has both go on.
/// - **Cost**: the memory that the program had by then and has changed since (0.7 MB beside the
///   example `init`), and no wake-up but for signals and dead children.
///
/// # What the program keeps, and what changes for it
///
/// It has the signal mask and the disposition of `SIGCHLD` that it had. Its process number is a new
/// one and its parent is the guard; it is no subreaper itself (and must not make itself one, or
/// the strangers are its own again); it has no pending signals, file locks (`F_SETLK`) or timers of
/// before. As leader of a group it cannot call `setsid`.
///
/// Under systemd, `Type=notify` needs `NotifyAccess=all`, and socket activation looks for the
/// guard's number in `LISTEN_PID`.
///
/// # What it cannot
///
/// - Children from before [`guard`](Self::guard) are the guard's, as are those of the program from
///   which this one was started by `exec`: they are reaped as strangers are.
/// - Strangers that still run when the main child ends get no signal. If the guard is PID 1, its
///   end kills them all; else they go to the next subreaper above.
/// - gVisor has no child subreapers: there it works as PID 1 only.
/// - If the guard is killed, the program goes on without it; see
///   [`die_with_guard`](Self::die_with_guard). If the guard is PID 1, the kernel ends all.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "it does nothing before `guard` is called"]
pub struct Subreaper {
    forwards_to: KillScope,
    death_signal: Option<Signal>,
}

impl Subreaper {
    /// Signals go to the main child alone, and it goes on if the guard is killed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who gets the signals that come to the guard: the main child alone, or its whole group, which
    /// is also what it starts, unless that is put into other groups.
    pub fn forward_to(mut self, scope: KillScope) -> Self {
        self.forwards_to = scope;
        self
    }

    /// Has the kernel send `signal` to the main child when the guard is killed.
    ///
    /// The kernel forgets it when the main child changes its user or runs a set-user-ID program.
    /// See [PR_SET_PDEATHSIG(2const)](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html).
    pub fn die_with_guard(mut self, signal: Signal) -> Self {
        self.death_signal = Some(signal);
        self
    }

    /// Leaves a guard behind, and returns in the main child.
    ///
    /// Call it first of all in `main`: only the calling thread comes along, and what was written to
    /// a buffer before is written by the main child alone.
    ///
    /// # Errors
    ///
    /// Before the fork, so that nothing has changed:
    ///
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) if the process has other threads. If
    ///   neither `/proc` nor the kernel tells (no procfs, and a filter in front of `unshare`),
    ///   that is an error too.
    /// - That of `prctl`, if the process is not PID 1 and cannot become a subreaper: on gVisor, or
    ///   behind a filter.
    /// - `EAGAIN` or `ENOMEM` if there may be no further process.
    ///
    /// After it, in the main child: that of `prctl`, if [`die_with_guard`](Self::die_with_guard)
    /// was refused by a filter. The guard is there then, and exits with what the program exits
    /// with.
    pub fn guard(self) -> io::Result<()> {
        let alone = SingleThread::ask().map_err(|error| told("no guard was started", &error))?;
        let role = Role::take_up()?;
        let outside = getpid();
        let signals = HeldSignals::hold().map_err(|errno| {
            role.give_up();
            told("the guard cannot hold signals back", &errno.into())
        })?;
        let in_foreground = terminal::Terminal::in_foreground().is_some();
        let forked = alone.stay_behind(|main_child| {
            // Both do it, so that it is done whoever comes first.
            let _ = setpgid(Some(main_child), Some(main_child));
            Guard { main_child, forwards_to: self.forwards_to }.watch(&signals)
        });
        if let Err(errno) = forked {
            signals.let_go();
            role.give_up();
            let what = "the process cannot be forked (RLIMIT_NPROC? the pids cgroup?)";
            return Err(told(what, &errno.into()));
        }
        // A new process is no leader of a session: this cannot fail.
        let _ = setpgid(None, None);
        if in_foreground {
            terminal::put_into_foreground();
        }
        let bound = self.death_signal.map_or(Ok(()), |signal| bind_to(outside, signal));
        signals.let_go();
        bound
    }
}

/// What makes the kernel give strangers to this process.
struct Role {
    /// Whether it was given that role now, and may lose it again.
    is_new: bool,
}

impl Role {
    fn take_up() -> io::Result<Self> {
        let has_it = getpid() == Pid::INIT || child_subreaper().is_ok_and(|set| set.is_some());
        if !has_it {
            set_child_subreaper(Some(getpid())).map_err(|errno| {
                let what = "this process is not PID 1 and cannot become a child subreaper (gVisor \
                            has none; else look for a filter)";
                told(what, &errno.into())
            })?;
        }
        Ok(Self { is_new: !has_it })
    }

    fn give_up(&self) {
        if self.is_new {
            let _ = set_child_subreaper(None);
        }
    }
}

/// Has the kernel send `signal` to this process when its parent, the guard, has ended.
fn bind_to(guard: Pid, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))
        .map_err(|errno| told("the program cannot be bound to its guard", &errno.into()))?;
    // It may have ended before that. (A parent in another pid namespace has no number here.)
    if getppid().is_some_and(|parent| parent != guard) {
        kill_process(getpid(), signal)?;
    }
    Ok(())
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
