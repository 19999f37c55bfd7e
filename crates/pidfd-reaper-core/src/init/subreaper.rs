//! `Subreaper`: adopts and reaps the orphans that a program's descendants leave behind.

use std::io;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, child_subreaper, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, setpgid,
};

use super::guard::Guard;
use super::options::{Options, Remaining};
use super::{remaining, terminal};
use crate::kernel::sys::fork::SingleThread;
use crate::kernel::sys::signals::HeldSignals;
use crate::reap::scope::KillScope;

/// Adopts and reaps orphaned descendants of the program, as PID 1 of a container or as a
/// [child subreaper](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html).
///
/// Within one process an adopted process cannot be distinguished from a child that the standard
/// library or a runtime waits for. So [`guard`](Self::guard) makes two of one: the process forks,
/// and the program goes on as its own child, the *main child*. The old process stays behind as the
/// *guard*, with the PID that other processes know. Orphans are re-parented to the guard, which
/// reaps them; what the program starts is the program's. Neither sees the other's children.
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
/// - **Orphans**: it reaps each one that exits, however many do at a time.
/// - **Signals** that come to it go to the main child, with the value that was queued with them, or
///   to its whole group ([`forward_to`](Self::forward_to)), without: the kernel has no call for
///   that. [`forward_as`](Self::forward_as) and [`discard`](Self::discard) change which signal is
///   sent. `SIGKILL` and `SIGSTOP` stay with the guard, as do `SIGCHLD` and the signals of a fault
///   (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`, `SIGTRAP`, `SIGABRT`, `SIGSYS`).
/// - **Remaining processes**: when the main child exits, a guard that is PID 1 gives the others a
///   grace period of 5 seconds; a child subreaper leaves them running. See [`grace`](Self::grace)
///   and [`no_grace`](Self::no_grace).
/// - **Status**: it then exits with the main child's exit code. If a signal killed the main child,
///   the guard dies of the same signal, without a core dump; PID 1 cannot, and exits with 128 and
///   the number of the signal. [`success_code`](Self::success_code) makes it 0. Buffers and
///   destructors of the program are the main child's: the guard runs none.
/// - **Descriptors**: it closes all, and changes to `/`. A pipe or socket that the program closes is
///   closed.
/// - **Terminal**: the main child leads a process group of its own. If the program was in the
///   foreground of its terminal, that group is put there, so that Ctrl-C reaches it once; when it
///   exits the terminal goes back. If the main child died of `SIGINT` or `SIGQUIT` while it had the
///   terminal, and that signal did not come through the guard, the guard sends it to its own group
///   before it dies of it, as Ctrl-C would have done without a guard: bash ends a script only then.
///   Ctrl-Z stops both, and a shell continues both.
/// - **Cost**: the memory that the program had by then and has changed since (0.8 MB beside the
///   example `init`), and no wake-up but for signals and zombies; 50 a second in a grace period.
///
/// # What changes for the program
///
/// It keeps its signal mask and the disposition of `SIGCHLD`. Its PID is a new one and its parent is
/// the guard; it is no subreaper itself (and must not make itself one, or it adopts the orphans
/// again); it has no pending signals, file locks (`F_SETLK`) or timers of before. As leader of a
/// group it cannot call `setsid`.
///
/// Under systemd, `Type=notify` needs `NotifyAccess=all`, and socket activation compares the guard's
/// PID with `LISTEN_PID`.
///
/// # Limits
///
/// - Children from before [`guard`](Self::guard) are the guard's, as are those of the program from
///   which this one was started by `exec`: they are reaped, and ended in a grace period, as orphans
///   are.
/// - The guard cannot distinguish Ctrl-C from a `SIGINT` that another process sent to the main child
///   directly: its own group gets the signal in both cases.
/// - gVisor has no child subreapers: there it works as PID 1 only.
/// - If the guard is killed, the program goes on without it; see
///   [`die_with_guard`](Self::die_with_guard). If the guard is PID 1, the kernel kills all.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "it does nothing before `guard` is called"]
pub struct Subreaper {
    options: Options,
    death_signal: Option<Signal>,
}

impl Subreaper {
    /// Forwards signals to the main child alone, and does not kill it if the guard is killed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which processes get the signals that come to the guard: the main child alone, or its whole
    /// process group, in which the processes that it starts are unless they leave it.
    pub fn forward_to(mut self, scope: KillScope) -> Self {
        self.options.forwards_to = scope;
        self
    }

    /// Sends `sent` where `received` has come to the guard, as `dumb-init --rewrite` does: for a
    /// server that shuts down cleanly on `SIGQUIT` in a container that is stopped by `SIGTERM`.
    ///
    /// It is not applied twice: `forward_as(TERM, INT).forward_as(INT, TERM)` swaps the two. The
    /// last call for a signal counts. It has no effect for signals that stay with the guard
    /// ([list](Self#what-the-guard-does)).
    pub fn forward_as(mut self, received: Signal, sent: Signal) -> Self {
        self.options.signals.set(received.as_raw(), sent.as_raw());
        self
    }

    /// Does not forward `signal`. The guard ignores it, also in the grace period.
    pub fn discard(mut self, signal: Signal) -> Self {
        self.options.signals.set(signal.as_raw(), 0);
        self
    }

    /// Exits with 0 if the main child exits with `code`, or dies of the signal `code - 128`.
    ///
    /// For programs that report a clean shutdown with a code of their own: Java exits with 143 on
    /// `SIGTERM`. May be called for several codes, as tini takes several `-e`.
    pub fn success_code(mut self, code: u8) -> Self {
        self.options.success.insert(code);
        self
    }

    /// Ends the processes that run when the main child has exited: sends them `SIGTERM`, and
    /// `SIGCONT` in case they are stopped; waits until none remains, for `time` at most; then kills
    /// them with `SIGKILL`. The guard exits after that.
    ///
    /// - **As PID 1** this is the default, with 5 seconds, and concerns all processes in the PID
    ///   namespace, also those that have entered it from outside (`docker exec`). Choose `time` so
    ///   that it ends, together with the time that the main child takes, before the container
    ///   runtime sends `SIGKILL`: Docker does that after 10 seconds.
    /// - **As a child subreaper** it concerns the descendants that the guard has adopted, each from
    ///   its adoption on: the guard signals its own children only. A process whose parent is alive
    ///   is left to its parent, until that exits and the guard adopts it; the deadline is the same
    ///   for all. A process that still runs 2 seconds after `SIGKILL` was sent (in an
    ///   uninterruptible sleep), or that the guard may not signal (of another user), goes to the
    ///   next subreaper.
    ///
    /// Processes to which a `SIGTERM` was [forwarded](Self::forward_to) before get a second one.
    /// A `SIGTERM` or `SIGINT` that comes to the guard in the grace period ends it, if it is not the
    /// first: if one has come before, or has killed the main child. Other signals are ignored then,
    /// since the main child is gone.
    pub fn grace(mut self, time: Duration) -> Self {
        self.options.remaining = Remaining::Terminate(time);
        self
    }

    /// Sends nothing to the processes that run when the main child has exited. If the guard is
    /// PID 1, the kernel kills them at once; else they run on as children of the next subreaper.
    ///
    /// This is the default as a child subreaper.
    pub fn no_grace(mut self) -> Self {
        self.options.remaining = Remaining::Leave;
        self
    }

    /// Makes the kernel send `signal` to the main child when the guard is killed.
    ///
    /// The kernel drops this setting when the main child changes its user or runs a set-user-ID
    /// program. See
    /// [PR_SET_PDEATHSIG(2const)](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html).
    pub fn die_with_guard(mut self, signal: Signal) -> Self {
        self.death_signal = Some(signal);
        self
    }

    /// Forks, and returns in the main child; the calling process becomes the guard.
    ///
    /// Call it first of all in `main`: only the calling thread exists in the main child, and what was
    /// written to a buffer before is flushed by the main child alone.
    ///
    /// # Errors
    ///
    /// Before the fork, so that nothing has changed:
    ///
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) if the process has other threads. If that
    ///   cannot be found out (no procfs, and a filter in front of `unshare`), that is an error too.
    /// - That of `prctl`, if the process is not PID 1 and cannot become a subreaper: on gVisor, or
    ///   behind a filter.
    /// - If a child subreaper was asked for a [`grace`](Self::grace) period:
    ///   [`Unsupported`](io::ErrorKind::Unsupported) if it cannot list its children, because procfs
    ///   is not mounted, shows another PID namespace, or the kernel is built without
    ///   `CONFIG_PROC_CHILDREN`.
    /// - `EAGAIN` or `ENOMEM` of `fork`, at a limit of processes or memory.
    ///
    /// After it, in the main child: that of `prctl`, if [`die_with_guard`](Self::die_with_guard)
    /// was refused by a filter. The guard exists then, and ends with the status of the program.
    ///
    /// See [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html) and
    /// [pid_namespaces(7)](https://man7.org/linux/man-pages/man7/pid_namespaces.7.html).
    pub fn guard(self) -> io::Result<()> {
        let alone = SingleThread::ask().map_err(|error| with("no guard was started", &error))?;
        self.check_grace()?;
        let role = Role::take_up()?;
        let outside = getpid();
        let signals = HeldSignals::hold().map_err(|errno| {
            role.give_up();
            with("the guard cannot hold signals back", &errno.into())
        })?;
        let in_foreground = terminal::Terminal::in_foreground().is_some();
        let forked = alone.stay_behind(|main_child| {
            // Both processes do it, so that it is done before either goes on.
            let _ = setpgid(Some(main_child), Some(main_child));
            Guard::new(main_child, self.options, &signals).run()
        });
        if let Err(errno) = forked {
            signals.let_go();
            role.give_up();
            let what = "the process cannot be forked (RLIMIT_NPROC? the pids cgroup?)";
            return Err(with(what, &errno.into()));
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

    /// An error now is better than processes that are left over later.
    fn check_grace(&self) -> io::Result<()> {
        if getpid() == Pid::INIT || self.options.remaining.grace(false).is_none() {
            return Ok(());
        }
        remaining::check_listing().map_err(|error| {
            let message = format!(
                "a grace period needs /proc/thread-self/children, which cannot be used: {error}"
            );
            io::Error::new(io::ErrorKind::Unsupported, message)
        })
    }
}

/// What makes the kernel re-parent orphans to this process.
struct Role {
    /// Whether this process was made a child subreaper just now, which can be undone.
    is_new: bool,
}

impl Role {
    fn take_up() -> io::Result<Self> {
        let has_it = getpid() == Pid::INIT || child_subreaper().is_ok_and(|set| set.is_some());
        if !has_it {
            set_child_subreaper(Some(getpid())).map_err(|errno| {
                let what = "this process is not PID 1 and cannot become a child subreaper (gVisor \
                            has none; else look for a filter)";
                with(what, &errno.into())
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

/// Makes the kernel send `signal` to this process when its parent, the guard, has exited.
fn bind_to(guard: Pid, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))
        .map_err(|errno| with("the program cannot be bound to its guard", &errno.into()))?;
    // It may have exited before that. (A parent in another PID namespace has no PID here.)
    if getppid().is_some_and(|parent| parent != guard) {
        kill_process(getpid(), signal)?;
    }
    Ok(())
}

fn with(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
