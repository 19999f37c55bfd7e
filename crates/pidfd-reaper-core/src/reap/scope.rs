//! The scope of a child: the processes that `kill`, `terminate`, limits and drops act on, and the
//! wait until none of them runs.
//!
//! The kernel reports no event when the last member leaves a group. So a wait for that waits for the
//! exit of one member after another, through a pidfd of each; where that cannot be, it looks now and
//! then.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgid, test_kill_process};

use super::lazy::LazyFd;
use super::process::{Group, Process, State};
use super::signal::signal_group_of;
use super::timer::Timer;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::procfs;
use crate::kernel::support::Support;
use crate::reactor::{Interest, Reactor};

/// The processes that killing and terminating a child act on:
/// [`Command::kill_scope`](crate::Command::kill_scope).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KillScope {
    /// The child alone.
    #[default]
    Child,
    /// The child and the whole process group that it leads.
    Group,
}

/// What of a scope still runs. A zombie does not.
#[derive(Debug, PartialEq, Eq)]
enum Members {
    Empty,
    /// The child itself runs, or the named members of its group.
    Running(Vec<Pid>),
    /// Procfs does not show them, and zombies among them cannot be told apart from running ones.
    Unknown,
}

impl Process {
    /// Whether nothing of the scope runs, as far as can be seen.
    pub(super) fn is_scope_empty(&self) -> bool {
        self.is_done() || matches!(self.members(), Ok(Members::Empty))
    }

    fn members(&self) -> io::Result<Members> {
        let state = self.lock()?;
        let pidfd = match &*state {
            State::Running(_) => return Ok(Members::Running(vec![self.pid()])),
            State::Exited(exited) => match &exited.group {
                Group::Gone => return Ok(Members::Empty),
                Group::Pidfd(pidfd) => Some(pidfd),
                Group::Zombie(_) => None,
            },
            State::Lost(lost) if lost.group.is_none() => return Ok(Members::Empty),
            State::Lost(lost) => lost.group.as_ref(),
        };
        if pidfd.is_some_and(|pidfd| signal_group_of(pidfd, None) == Err(Errno::SRCH)) {
            return Ok(Members::Empty);
        }
        // Procfs is read after the lock is released: it takes milliseconds.
        drop(state);
        Ok(match procfs::running_members(self.pid()) {
            None => Members::Unknown,
            Some(members) if members.is_empty() => Members::Empty,
            Some(members) => Members::Running(members),
        })
    }
}

/// The shortest and the longest pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How often a group that was killed is looked at where procfs does not show whether only zombies
/// are left of it.
const LOOKS: usize = 10;

/// Waits until nothing of the scope of a child runs, whose own exit is known.
#[derive(Debug)]
pub(crate) struct ScopeWait<R: Reactor> {
    process: Process,
    /// Whether it kills what is left, and leaves alone what may not be signalled.
    kills: bool,
    waits_for: Option<Event<R>>,
    pause: Duration,
    looks: usize,
}

#[derive(Debug)]
enum Event<R: Reactor> {
    Exit(LazyFd<R>),
    Pause(Timer<R>),
}

impl<R: Reactor> ScopeWait<R> {
    pub(crate) fn new(process: Process) -> Self {
        Self { process, kills: false, waits_for: None, pause: PAUSE, looks: 0 }
    }

    pub(crate) fn killing(process: Process) -> Self {
        Self { kills: true, ..Self::new(process) }
    }

    /// Ready when nothing runs; the scope is done with then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.process.guard().check(self.process.id())?;
        while !self.process.is_done() {
            if let Some(event) = &mut self.waits_for {
                let happened = ready!(event.poll(cx));
                self.waits_for = None;
                happened?;
            }
            if self.kills {
                // An error means that the group is empty, or that what is left may not be killed.
                let _ = self.process.signal_scope(Signal::KILL);
            }
            let event = match self.process.members()? {
                Members::Empty => None,
                Members::Unknown if self.kills && self.looks > LOOKS => None,
                Members::Unknown => Some(self.pause()?),
                Members::Running(members) => self.next_exit(&members)?,
            };
            self.looks += 1;
            match event {
                Some(event) => self.waits_for = Some(event),
                None if self.process.release() => {}
                // A tracer holds the zombie of the leader.
                None => self.waits_for = Some(self.pause()?),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The exit of one of the members; `None` if there is none to wait for.
    fn next_exit(&mut self, members: &[Pid]) -> io::Result<Option<Event<R>>> {
        let mut members = members.iter();
        let awaited = members.find(|member| {
            // One that runs as another user is not going to exit by our SIGKILL.
            !self.kills || test_kill_process(**member) != Err(Errno::PERM)
        });
        let Some(&member) = awaited else { return Ok(None) };
        let Ok(pidfd) = Pidfd::open_with(member, Support::here()) else {
            return self.pause().map(Some);
        };
        // Asked after the pidfd was opened: if the PID was reused before, this is another process.
        if getpgid(Some(member)) != Ok(self.process.pid()) {
            return self.pause().map(Some);
        }
        Ok(Some(Event::Exit(LazyFd::nonblocking(OwnedFd::from(pidfd)))))
    }

    fn pause(&mut self) -> io::Result<Event<R>> {
        let timer = Timer::after(self.pause)?;
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
        Ok(Event::Pause(timer))
    }
}

impl<R: Reactor> Event<R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Pause(timer) => timer.poll(cx),
            Self::Exit(fd) => fd.poll_io(cx, Interest::Exit, crate::kernel::pidfd::exited_or_wait),
        }
    }
}
