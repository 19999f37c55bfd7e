//! The controlling terminal, which the guard gives to the main child's group and takes back.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::kernel::sys::terminal;

/// The controlling terminal of this process. `SIGTTOU` has to be blocked when it is given away.
#[derive(Debug)]
pub(crate) struct Terminal(OwnedFd);

impl Terminal {
    fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open("/dev/tty", flags, Mode::empty()) {
            Ok(fd) => Some(Self(fd)),
            // A bare root has no /dev.
            Err(_) => io::stdin().as_fd().try_clone_to_owned().ok().map(Self),
        }
    }

    /// If this process's group is the one in its foreground.
    ///
    /// In a new PID namespace both groups may be outside of it, and show as 0. They are treated as
    /// the same one, since a program in the background rarely gets a namespace and a terminal.
    pub(super) fn in_foreground() -> Option<Self> {
        Self::open().filter(|this| this.is_with(terminal::own_group()))
    }

    fn is_with(&self, group: i32) -> bool {
        terminal::foreground(self.0.as_fd()) == Ok(group)
    }

    /// An error means that it was hung up, or is another session's by now: there is nothing to do.
    fn give_to(&self, group: i32) {
        let _ = terminal::set_foreground(self.0.as_fd(), group);
    }
}

/// Whether this process has a terminal at all.
pub(super) fn is_there() -> bool {
    Terminal::open().is_some()
}

/// Takes the terminal back from the group of `leader`, if that has it. Whether it did.
pub(super) fn take_back_from(leader: Pid) -> bool {
    let terminal = Terminal::open().filter(|this| this.is_with(raw(leader)));
    terminal.inspect(|terminal| terminal.give_to(terminal::own_group())).is_some()
}

/// Gives the terminal to the group of `leader`, if this process's group has it. Whether it did.
pub(super) fn hand_on_to(leader: Pid) -> bool {
    Terminal::in_foreground().inspect(|terminal| terminal.give_to(raw(leader))).is_some()
}

/// Puts the group of this process, its leader, into the foreground.
pub(super) fn put_into_foreground() {
    if let Some(terminal) = Terminal::open() {
        terminal.give_to(terminal::own_group());
    }
}

fn raw(leader: Pid) -> i32 {
    leader.as_raw_nonzero().get()
}
