//! The guard: a process that adopts orphans, reaps them, and passes signals on.
//!
//! It is the parent of the program, its *main child*, and of the orphans that the program's
//! descendants leave behind; the program is the parent of none of these. So neither can reap the
//! other's children.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, wait};

use super::options::Options;
use super::remaining::{Ending, Scope, is_interruption};
use super::terminal;
use crate::kernel::sys::signals::{self, AcceptedSignal, HeldSignals};
use crate::reap::scope::KillScope;

/// How many children are reaped in a row before the guard looks for signals again.
const BATCH: usize = 256;

/// The exit code if `wait` returned no status of the main child, which no kernel is known to do.
const STATUS_UNKNOWN: u8 = 255;

pub(super) struct Guard<'a> {
    main_child: Pid,
    options: Options,
    held: &'a HeldSignals,
    /// Whether a `SIGTERM` or `SIGINT` has come to the guard.
    interrupted: bool,
    /// Which of the signals of a terminal's keys have come to the guard: bits by number.
    received: u32,
}

/// How the main child ended.
struct MainExit {
    /// `None` if it cannot be known.
    status: Option<WaitStatus>,
    /// Whether its process group was in the foreground of the terminal until then.
    had_terminal: bool,
}

impl<'a> Guard<'a> {
    pub(super) fn new(main_child: Pid, options: Options, held: &'a HeldSignals) -> Self {
        Self { main_child, options, held, interrupted: false, received: 0 }
    }

    /// Does all that a guard does, until its end; returns the code to exit with.
    pub(super) fn run(mut self) -> u8 {
        // The working directory would keep a file system from being unmounted.
        let _ = rustix::process::chdir("/");
        let exit = self.watch();
        let is_pid_1 = getpid() == Pid::INIT;
        if let Some(grace) = self.options.remaining.grace(is_pid_1) {
            let scope = if is_pid_1 { Scope::Namespace } else { Scope::Children };
            let by_interruption =
                exit.status.and_then(WaitStatus::terminating_signal).is_some_and(is_interruption);
            Ending {
                scope,
                held: self.held,
                map: &self.options.signals,
                interrupted: self.interrupted || by_interruption,
            }
            .run(grace);
        }
        self.end_like(&exit, is_pid_1)
    }

    /// Returns when the main child has exited.
    fn watch(&mut self) -> MainExit {
        // Several exits may come as one SIGCHLD, so all zombies are reaped for each.
        let mut more_may_be_dead = true;
        loop {
            if more_may_be_dead {
                match self.reap() {
                    Reaped::All => more_may_be_dead = false,
                    Reaped::Batch => {}
                    Reaped::MainChild(status) => {
                        let had_terminal = terminal::take_back_from(self.main_child);
                        return MainExit { status, had_terminal };
                    }
                }
            }
            let signal = if more_may_be_dead {
                self.held.next_within(Duration::ZERO)
            } else {
                self.held.next()
            };
            match signal {
                Some(signal) if signal.is_of_a_child() => more_may_be_dead = true,
                Some(signal) => self.forward(&signal),
                // There is none, or one of those that are not held has interrupted.
                None => {}
            }
        }
    }

    /// Reaps zombies. If the main child is among them, those that exited with it are reaped too.
    fn reap(&self) -> Reaped {
        let mut main_child = None;
        for _ in 0..BATCH {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.main_child => {
                    if status.stopped() {
                        self.stop_with_it(status);
                    } else {
                        main_child = Some(status);
                    }
                }
                Ok(Some(_)) => {}
                Err(Errno::CHILD) => return Reaped::MainChild(main_child),
                Ok(None) | Err(_) => return main_child.map_or(Reaped::All, Reaped::of_main_child),
            }
        }
        main_child.map_or(Reaped::Batch, Reaped::of_main_child)
    }

    /// The main child's PID is its own: it is unreaped, and only this thread reaps it.
    fn forward(&mut self, received: &AcceptedSignal) {
        let Some(signal) = self.options.signals.get(received.number()) else { return };
        self.interrupted |= is_interruption(received.number());
        self.received |= bit(signal);
        let to_group = match self.options.forwards_to {
            KillScope::Child => Err(Errno::SRCH),
            KillScope::Group => signals::signal_group(self.main_child, signal),
        };
        // It may have left its group, or run as a user whom the guard may not signal: then there is
        // nowhere to report that.
        let _ = to_group.or_else(|_| received.pass_on(self.main_child, signal));
    }

    /// Job control: a shell waits for the guard, so the guard stops when Ctrl-Z, or the use of the
    /// terminal in the background, has stopped the main child; and both are continued together.
    fn stop_with_it(&self, status: WaitStatus) {
        let by = |signal: Signal| status.stopping_signal() == Some(signal.as_raw());
        let suspended = by(Signal::TSTP);
        let stops = if suspended {
            // Else it was not the terminal, and no shell will continue the guard.
            terminal::take_back_from(self.main_child)
        } else if by(Signal::TTIN) || by(Signal::TTOU) {
            // A shell may have put the guard into the foreground meanwhile.
            !self.continues(|| terminal::hand_on_to(self.main_child)) && terminal::is_there()
        } else {
            false
        };
        if stops {
            let continued = self.held.stop_as_from_a_terminal();
            // It did not stop if no shell is there to continue it. Then Ctrl-Z has no effect; but
            // use in the background would only stop the main child again.
            self.continues(|| terminal::hand_on_to(self.main_child) || continued || suspended);
        }
    }

    /// Continues the main child's group if that is `due`.
    fn continues(&self, due: impl FnOnce() -> bool) -> bool {
        due() && kill_process_group(self.main_child, Signal::CONT).is_ok()
    }

    /// Ends this process as the main child has ended, or returns the exit code that stands for it.
    fn end_like(&self, exit: &MainExit, is_pid_1: bool) -> u8 {
        let Some(status) = exit.status else { return STATUS_UNKNOWN };
        let code = exit_code(status);
        if self.options.success.contains(code) {
            return 0;
        }
        match status.terminating_signal() {
            // The kernel protects PID 1 from its own signals.
            Some(signal) if !is_pid_1 => {
                if exit.had_terminal {
                    self.signal_own_group_like_a_terminal(signal);
                }
                self.held.die_of(signal);
                code
            }
            _ => code,
        }
    }

    /// Ctrl-C and Ctrl-\ signal the foreground process group, which was the main child's. Without a
    /// guard it would have been the group of the guard and of a script that runs it.
    ///
    /// bash ends a script only if it has received `SIGINT` itself and the command died of it. So
    /// the guard sends the signal to its own group, where it blocks it until it dies of it. Not if
    /// the signal came to the guard before: then it was meant for the program alone.
    fn signal_own_group_like_a_terminal(&self, signal: i32) {
        let from_keys = signal == Signal::INT.as_raw() || signal == Signal::QUIT.as_raw();
        if from_keys && self.received & bit(signal) == 0 {
            let _ = signals::signal_own_group(signal);
        }
    }
}

enum Reaped {
    All,
    /// There may be more.
    Batch,
    /// `None` if it cannot be known.
    MainChild(Option<WaitStatus>),
}

impl Reaped {
    fn of_main_child(status: WaitStatus) -> Self {
        Self::MainChild(Some(status))
    }
}

/// Each standard signal has a bit of its own; the real-time signals share the lowest.
fn bit(signal: i32) -> u32 {
    u32::try_from(signal).ok().and_then(|signal| 1_u32.checked_shl(signal)).unwrap_or(1)
}

/// As shells have it: the code, or 128 and the signal.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(STATUS_UNKNOWN)
}
