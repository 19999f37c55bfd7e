//! Job control, for a command in a process group of its own.
//!
//! The terminal has one foreground group: its keys signal that one, and the kernel stops the others
//! when they read (`SIGTTIN`) or set the terminal (`SIGTTOU`). The command begins in the background,
//! so that a pipeline's other commands, which are in the group of timeout, keep the terminal:
//! `timeout 60 make | less`. When the command is stopped since it wants the terminal, and timeout is
//! in the foreground, the command's group is given the terminal and continued.
//!
//! From then on Ctrl-C and Ctrl-Z signal the command alone. Its exit by `SIGINT` shows in that of
//! timeout; and when it is stopped, timeout stops too, so that the shell takes the terminal back.

use std::fs::{self, File};
use std::future::pending;
use std::io;

use pidfd_reaper::tokio::Child;
use pidfd_reaper::{Signal, StateChange, StateChanges};
use rustix::process::{Pid, getpgid, getpgrp, getpid, getsid, kill_process};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal, and the command's stops.
pub(crate) struct Terminal {
    file: File,
    /// The command's.
    group: Pid,
    changes: StateChanges,
    /// Whether the command has asked for the terminal.
    is_wanted: bool,
}

impl Terminal {
    /// `None` without a controlling terminal, or without a thread that learns of stops.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let file = File::open("/dev/tty").ok()?;
        let group = Pid::from_raw(child.id()?.try_into().ok()?)?;
        Some(Self { file, group, changes: child.state_changes().ok()?, is_wanted: false })
    }

    /// Waits until the command is stopped.
    pub(crate) async fn stopped(&mut self) -> Signal {
        loop {
            match self.changes.next().await {
                Some(StateChange::Stopped(signal)) => return signal,
                Some(_) => {}
                None => pending().await,
            }
        }
    }

    /// Acts on a stop of the command.
    pub(crate) fn child_stopped(&mut self, child: &Child, signal: Signal) -> io::Result<()> {
        match signal {
            Signal::TTIN | Signal::TTOU => {
                self.is_wanted = true;
                // In the background it waits until the shell continues timeout.
                if self.is_foreground(getpgrp()) { self.go_on(child) } else { Ok(()) }
            }
            Signal::TSTP if !self.is_foreground(self.group) => Ok(()),
            // The kernel has no job-control signals for a group that no shell would continue.
            Signal::TSTP if !is_under_shell() => self.go_on(child),
            Signal::TSTP => stop_this_process(),
            _ => Ok(()),
        }
    }

    /// Acts on `SIGTSTP`, which the terminal has sent to the group of timeout.
    pub(crate) fn stop(child: &Child) -> io::Result<()> {
        if !is_under_shell() {
            return Ok(());
        }
        unless_exited(child.signal_group(Signal::TSTP))?;
        stop_this_process()
    }

    /// Continues the command, with the terminal if it wants that and timeout has it.
    pub(crate) fn go_on(&mut self, child: &Child) -> io::Result<()> {
        if self.is_wanted && self.is_foreground(getpgrp()) {
            tcsetpgrp(&self.file, self.group)?;
        }
        unless_exited(child.signal_group(Signal::CONT))
    }

    fn is_foreground(&self, group: Pid) -> bool {
        tcgetpgrp(&self.file) == Ok(group)
    }
}

fn unless_exited(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        sent => sent,
    }
}

fn stop_this_process() -> io::Result<()> {
    Ok(kill_process(getpid(), Signal::STOP)?)
}

/// Whether the leader of this process's group has a parent in the same session and another group,
/// which can continue it: else the group is orphaned, in the kernel's words.
fn is_under_shell() -> bool {
    let parent = parent_of(getpgrp());
    parent.is_some_and(|parent| {
        getsid(Some(parent)) == getsid(None) && getpgid(Some(parent)) != Ok(getpgrp())
    })
}

fn parent_of(process: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // "PID (NAME) STATE PARENT ...", where the name may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}
