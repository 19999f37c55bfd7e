//! What a pidfd shows of a process that something else reaps, or that is no child of this one.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::WaitIdOptions;

use super::exit::Exit;
use super::pidfd::{Pidfd, ReapError};
use super::support::Support;
use super::{retry, sys};

impl Pidfd {
    /// The exit of a process for which `waitid` answers `ECHILD`.
    pub(super) fn exit_of_stolen(&self) -> Result<Option<Exit>, ReapError> {
        // Poll before `PIDFD_GET_INFO`: if it shows the hang-up, the exit info is there.
        let events = self.events().map_err(ReapError::Call)?;
        if events.is_empty() {
            return Err(ReapError::NotChild);
        }
        match self.status_left() {
            Ok(Some(status)) => Ok(Some(Exit { status, usage: None })),
            // It has exited, and whatever reaps it is not done with it. The hang-up will show that.
            Ok(None) if events.contains(PollFlags::IN) && !events.contains(PollFlags::HUP) => {
                Ok(None)
            }
            _ => Err(ReapError::StatusLost),
        }
    }

    /// Whether the process has exited, be it a child of this one or not. A zombie has.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        Ok(!self.events()?.is_empty())
    }

    /// The status of a process that has exited, where the kernel shows it; `Pending` while it runs,
    /// and, on Linux 6.9 and later, until its parent has reaped it. It reaps nothing.
    pub(crate) fn poll_status(&self) -> io::Result<Poll<Option<ExitStatus>>> {
        let events = self.events()?;
        if events.is_empty() {
            return Ok(Poll::Pending);
        }
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(Some((status, _))) = self.waitid(peek, Support::here()) {
            return Ok(Poll::Ready(Some(status)));
        }
        Ok(match self.status_left() {
            Ok(Some(status)) => Poll::Ready(Some(status)),
            // Its parent has not reaped it. The hang-up will show when.
            Ok(None) if !events.contains(PollFlags::HUP) => Poll::Pending,
            _ => Poll::Ready(None),
        })
    }

    /// The status of a process that was reaped, by anyone; `None` while it was not, or on a kernel
    /// that does not keep it.
    fn status_left(&self) -> Result<Option<ExitStatus>, Errno> {
        let ask = || retry(|| sys::pidfd_info(self.fd(), sys::PIDFD_INFO_EXIT));
        let info = match ask() {
            // A process that is reaped between the kernel's look at its exit info and the look at
            // the process itself is found in neither place. By now its exit info is there.
            Err(Errno::SRCH) => ask(),
            answer => answer,
        }?;
        let has_status = info.mask & sys::PIDFD_INFO_EXIT != 0;
        Ok(has_status.then(|| status_from_raw(info.exit_code)))
    }
}

fn status_from_raw(raw: i32) -> ExitStatus {
    ExitStatus::from_raw(raw)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;
    use crate::kernel::support::KernelSupport;

    /// The kernel answers `ESRCH` at that moment, and has the status.
    #[test]
    fn a_process_that_is_reaped_during_the_call_has_its_status() {
        let recovers = KernelSupport::probe().exit_info.is_ok();
        for _ in 0..1000 {
            let mut child = Command::new("true").spawn().unwrap();
            let pidfd = Pidfd::open(child.id()).unwrap();
            let thief = thread::spawn(move || child.wait());
            while pidfd.events().unwrap().is_empty() {}
            let end = loop {
                // What a process that is not the parent calls.
                if let Some(end) = pidfd.exit_of_stolen().transpose() {
                    break end;
                }
            };
            match end {
                Ok(exit) => assert!(recovers && exit.status.success()),
                Err(error) => assert!(!recovers && error == ReapError::StatusLost, "{error:?}"),
            }
            thief.join().unwrap().unwrap();
        }
    }
}
