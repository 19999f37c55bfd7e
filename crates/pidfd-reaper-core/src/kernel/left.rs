//! What is left to be known of a process that something else reaps, or that is no child of ours.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::WaitIdOptions;

use super::exit::{Exit, StatusLost};
use super::pidfd::Pidfd;
use super::support::Support;
use super::sys;

impl Pidfd {
    /// What is left to be known of a process that `waitid` denies.
    pub(super) fn exit_of_stolen(&self) -> io::Result<Option<Exit>> {
        // Taken before the question: a process that is gone by now has left its status behind.
        let events = self.events()?;
        match self.status_left() {
            Ok(Some(status)) => Ok(Some(Exit { status, usage: None })),
            // It has ended, and whoever takes the status is not done with it. The hang-up will say
            // so.
            Ok(None) if events.contains(PollFlags::IN) && !events.contains(PollFlags::HUP) => {
                Ok(None)
            }
            _ => Err(StatusLost::of(self.number())),
        }
    }

    /// Whether a process, of whomever, has ended; and its status, where that is told.
    ///
    /// It reaps nothing.
    pub(crate) fn poll_end(&self) -> io::Result<Poll<Option<ExitStatus>>> {
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
            // Its parent has not reaped it. The hang-up will say when.
            Ok(None) if !events.contains(PollFlags::HUP) => Poll::Pending,
            _ => Poll::Ready(None),
        })
    }

    /// The status of a process that was reaped, by anyone; `None` while it was not, or on a kernel
    /// that does not keep it.
    fn status_left(&self) -> Result<Option<ExitStatus>, Errno> {
        let ask = || sys::pidfd_info(self.fd(), sys::PIDFD_INFO_EXIT);
        let info = match ask() {
            // Reaped between the kernel's looks at what is left of it and at itself, it is nowhere:
            // by now it has left its status.
            Err(Errno::SRCH) => ask(),
            answer => answer,
        }?;
        let is_told = info.mask & sys::PIDFD_INFO_EXIT != 0;
        Ok(is_told.then(|| status_from_raw(info.exit_code)))
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

    /// In that instant the kernel says that there is no such process, and has its status.
    #[test]
    fn reaped_in_the_midst_of_the_question_its_status_is_there() {
        let recovers = KernelSupport::probe().exit_info.is_ok();
        for _ in 0..1000 {
            let mut child = Command::new("true").spawn().unwrap();
            let pidfd = Pidfd::open(child.id()).unwrap();
            let thief = thread::spawn(move || child.wait());
            while pidfd.events().unwrap().is_empty() {}
            let end = loop {
                // As one asks who may not wait for it.
                if let Some(end) = pidfd.exit_of_stolen().transpose() {
                    break end;
                }
            };
            match end {
                Ok(exit) => assert!(recovers && exit.status.success()),
                Err(error) => assert!(!recovers && StatusLost::is(&error), "{error}"),
            }
            thief.join().unwrap().unwrap();
        }
    }
}
