//! The guard: a process that takes in strangers and reaps them, and passes signals on.
//!
//! It is the parent of the program, its *main child*, and of whatever the program's descendants
//! leave behind; the program is the parent of none of these. So neither can take the other's
//! statuses.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use super::terminal;
use crate::kernel::sys::signals::{HeldSignals, TakenSignal};
use crate::reap::scope::KillScope;

/// How many children are reaped in a row before signals are looked at again.
const BATCH: usize = 256;

/// The exit code if the main child's status is not to be had, which no kernel is known to do.
const STATUS_UNKNOWN: u8 = 255;

#[derive(Debug)]
pub(super) struct Guard {
    pub(super) main_child: Pid,
    pub(super) forwards_to: KillScope,
}

impl Guard {
    /// Until the main child ends; returns the code to exit with.
    pub(super) fn watch(&self, signals: &HeldSignals) -> u8 {
        // The working directory would keep a file system from being unmounted.
        let _ = rustix::process::chdir("/");
        // Several ends may come as one signal, so all that is dead is reaped for each.
        let mut more_may_be_dead = true;
        loop {
            if more_may_be_dead {
                match self.reap(signals) {
                    Reaped::AllDead => more_may_be_dead = false,
                    Reaped::Batch => {}
                    Reaped::MainChild(code) => return code,
                }
            }
            match signals.next(!more_may_be_dead) {
                Some(signal) if signal.is_of_a_child() => more_may_be_dead = true,
                Some(signal) => self.forward(&signal),
                // One of those that are not held has interrupted.
                None => {}
            }
        }
    }

    /// Reaps what is dead. If the main child is among it, what died with it is reaped as well.
    fn reap(&self, signals: &HeldSignals) -> Reaped {
        let mut code = None;
        for _ in 0..BATCH {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.main_child => {
                    if status.stopped() {
                        self.stop_with_it(status, signals);
                    } else {
                        code = Some(exit_code(status));
                    }
                }
                Ok(Some(_)) => {}
                Err(Errno::CHILD) if code.is_none() => code = Some(STATUS_UNKNOWN),
                Ok(None) | Err(_) => {
                    return code.map_or(Reaped::AllDead, |code| self.over(code));
                }
            }
        }
        code.map_or(Reaped::Batch, |code| self.over(code))
    }

    fn over(&self, code: u8) -> Reaped {
        terminal::take_back_from(self.main_child);
        Reaped::MainChild(code)
    }

    /// The main child's number is its own: it is unreaped, and only this thread reaps it.
    fn forward(&self, signal: &TakenSignal) {
        let to_group = match self.forwards_to {
            KillScope::Child => Err(Errno::SRCH),
            KillScope::Group => signal.pass_on_to_group(self.main_child),
        };
        // It may have left its group, or run as a user whom the guard may not signal: then there is
        // nobody to tell of it.
        let _ = to_group.or_else(|_| signal.pass_on(self.main_child));
    }

    /// Job control: a shell waits for the guard, so the guard stops when Ctrl-Z, or the use of the
    /// terminal in the background, has stopped the main child; and both go on together.
    fn stop_with_it(&self, status: WaitStatus, signals: &HeldSignals) {
        let by = |signal: Signal| status.stopping_signal() == Some(signal.as_raw());
        let suspended = by(Signal::TSTP);
        let stops = if suspended {
            // Else it was not the terminal, and no shell will continue the guard.
            terminal::take_back_from(self.main_child)
        } else if by(Signal::TTIN) || by(Signal::TTOU) {
            // A shell may have put the guard into the foreground meanwhile.
            !self.goes_on(|| terminal::hand_on_to(self.main_child)) && terminal::is_there()
        } else {
            false
        };
        if stops {
            let continued = signals.stop_as_from_a_terminal();
            // It did not stop if nobody is there to continue it. Then Ctrl-Z is to have no effect;
            // but use in the background would only stop the main child again.
            self.goes_on(|| terminal::hand_on_to(self.main_child) || continued || suspended);
        }
    }

    /// Continues the main child's group if that is `due`.
    fn goes_on(&self, due: impl FnOnce() -> bool) -> bool {
        due() && kill_process_group(self.main_child, Signal::CONT).is_ok()
    }
}

enum Reaped {
    AllDead,
    /// There may be more.
    Batch,
    /// And with which code to exit.
    MainChild(u8),
}

/// As shells have it: the code, or 128 and the signal.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(STATUS_UNKNOWN)
}
