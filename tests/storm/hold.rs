//! A child in the hand: spawned, held by a pipe, let go, waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use pidfd_reaper::{Child, Process, Reactor, Reaper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::ledger::{Fault, Ledger};
use crate::program::Plan;

/// The command of a child that lives until a line comes through the pipe, and the pipe.
pub(crate) fn command(plan: Plan) -> Result<(Command, OwnedFd), Fault> {
    let (output, input) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Fault::Refused(errno.into()))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(plan.script()).stdin(output);
    Ok((command, input))
}

/// Lets the child go; it may be dead already.
pub(crate) fn release(input: &OwnedFd) {
    let _ = rustix::io::write(input, b"\n");
}

/// Resolves when the child is dead, reaped or not: its end of the pipe is closed then.
pub(crate) async fn gone(input: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(input, PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if polled.is_ok() && fds[0].revents().contains(PollFlags::ERR) {
            return;
        }
        pause().await;
    }
}

/// Waits, and again where there was no thread to do it with: the error says that this may be done.
pub(crate) async fn wait<R: Reactor>(
    ledger: &Ledger,
    child: &mut Child<R>,
) -> io::Result<ExitStatus> {
    loop {
        match child.wait().await {
            Err(error) if is_no_thread(&error) => ledger.tried_again(),
            end => return end,
        }
        pause().await;
    }
}

/// The same, for a child that others hold as well.
pub(crate) async fn wait_shared<R: Reactor>(
    ledger: &Ledger,
    reaper: &mut Reaper<R, Process>,
) -> io::Result<ExitStatus> {
    loop {
        match Pin::new(&mut *reaper).await {
            Err(error) if is_no_thread(&error) => ledger.tried_again(),
            end => return end,
        }
        pause().await;
    }
}

/// Whether what `poll_once` gave says that the child runs.
pub(crate) fn runs(polled: Option<io::Result<ExitStatus>>) -> Result<(), Fault> {
    match polled {
        None => Ok(()),
        Some(Err(error)) if is_no_thread(&error) => Ok(()),
        Some(end) => Err(Fault::Broken(format!("it is held, and ended with {end:?}"))),
    }
}

/// Whether it ended as planned.
pub(crate) fn check(plan: Plan, end: io::Result<ExitStatus>) -> Result<(), Fault> {
    match end {
        Ok(status) if status == plan.status() => Ok(()),
        end => Err(Fault::Broken(format!("expected {}, got {end:?}", plan.status()))),
    }
}

/// For what nobody wakes us for.
pub(crate) async fn pause() {
    smol::Timer::after(Duration::from_millis(10)).await;
}

fn is_no_thread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
