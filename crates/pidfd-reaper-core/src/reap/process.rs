//! `Process`: the record of one child. Nothing else in this library reaps it.

use std::fmt;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions};

use super::changes::News;
use super::fallback::Watch;
use super::wait::Wait;
use crate::kernel;
use crate::kernel::exit::{Exit, StatusLost};
use crate::kernel::pidfd::Pidfd;
use crate::kernel::support::Support;
use crate::kernel::sys::{self, Target};
use crate::trace;

/// A child process of this process: its number, its pidfd, and its end once that is known.
///
/// Clones are cheap and share the one record: whoever finds the child ended reaps it for all, and
/// all get the same status. The pidfd is closed as soon as the end is known. A `Process` does
/// nothing by itself when it is dropped: a [`Reaper`](crate::Reaper) or a [`Child`](crate::Child)
/// owns it and sees to that.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use pidfd_reaper_core::{Process, Signal};
///
/// let child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let process = Process::try_from(child)?;
/// process.signal(Signal::TERM)?;
/// let exit = loop {
///     if let Some(exit) = process.try_exit()? {
///         break exit;
///     }
///     std::thread::yield_now();
/// };
/// assert!(!exit.status.success());
/// // It is reaped now, and its number may be a stranger's: no signal goes there.
/// assert!(process.signal(Signal::TERM).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Process(pub(crate) Arc<Record>);

pub(crate) struct Record {
    pid: Pid,
    /// Whether the rest of the child's group is killed before the child is reaped.
    pub(crate) sweep: AtomicBool,
    state: Mutex<State>,
}

pub(crate) enum State {
    Running {
        way: Way,
        /// Where its stops are told, once that was asked for.
        news: Option<Arc<News>>,
    },
    /// Boxed: most of a record's life is spent without it.
    Ended(Box<Exit>),
    Lost,
}

/// How a running child is waited for and signalled.
pub(crate) enum Way {
    Pidfd(Arc<Pidfd>),
    /// By number; the thread is there from the first wait on that finds the child running.
    Number(Option<Watch>),
}

impl Process {
    /// Takes over a child that was just started, and was not waited for.
    ///
    /// It cannot fail: where there is no pidfd, the child is waited for without.
    pub(crate) fn from_spawned(pid: Pid, pidfd: Option<Pidfd>) -> Self {
        let Some(pidfd) = pidfd else { return Self::of_unreaped(pid) };
        trace::spawned(kernel::number(pid));
        Self::with(pid, State::Running { way: Way::Pidfd(Arc::new(pidfd)), news: None })
    }

    fn of_unreaped(pid: Pid) -> Self {
        let way = match Pidfd::open_with(pid, Support::here()) {
            Ok(pidfd) => Way::Pidfd(Arc::new(pidfd)),
            Err(errno) => {
                trace::fallback(kernel::number(pid), &errno.into());
                Way::Number(None)
            }
        };
        trace::spawned(kernel::number(pid));
        Self::with(pid, State::Running { way, news: None })
    }

    fn with(pid: Pid, state: State) -> Self {
        Self(Arc::new(Record { pid, sweep: AtomicBool::new(false), state: Mutex::new(state) }))
    }

    /// The process's number. Once the child was reaped it may be another's.
    #[must_use]
    pub fn id(&self) -> u32 {
        kernel::number(self.0.pid)
    }

    /// Reaps the child if it has ended; `None` while it runs. It never blocks.
    ///
    /// # Errors
    ///
    /// [`StatusLost`] if something else reaped the child and the kernel does not tell its status
    /// any more (before Linux 6.15, or without a pidfd).
    pub fn try_exit(&self) -> io::Result<Option<Exit>> {
        let status = self.try_status()?;
        Ok(status.map(|status| match &*self.state() {
            State::Ended(exit) => **exit,
            State::Running { .. } | State::Lost => Exit { status, usage: None },
        }))
    }

    /// The same without the usage, which stays in the record.
    fn try_status(&self) -> io::Result<Option<ExitStatus>> {
        let mut state = self.state();
        let way = match &*state {
            State::Ended(exit) => return Ok(Some(exit.status)),
            State::Lost => return Err(self.lost()),
            State::Running { way, .. } => way,
        };
        if !self.sweep_before_reaping(way) {
            return Ok(None);
        }
        let found = match way {
            Way::Pidfd(pidfd) => pidfd.try_exit(),
            Way::Number(_) => self.try_exit_by_number(),
        };
        let (end, answer) = match found {
            Ok(None) => return Ok(None),
            Ok(Some(exit)) => {
                // The usage goes to whoever reaps.
                if exit.usage.is_none() {
                    trace::stolen(self.id(), true);
                }
                (State::Ended(Box::new(exit)), Ok(Some(exit.status)))
            }
            Err(error) if StatusLost::is(&error) => {
                trace::stolen(self.id(), false);
                (State::Lost, Err(error))
            }
            Err(error) => return Err(error),
        };
        let before = std::mem::replace(&mut *state, end);
        drop(state);
        if let State::Running { news: Some(news), .. } = &before {
            news.end();
        }
        // Closes the pidfd, outside the lock.
        drop(before);
        answer
    }

    fn try_exit_by_number(&self) -> io::Result<Option<Exit>> {
        match sys::waitid(Target::Pid(self.0.pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(end) => Ok(end.map(|(status, usage)| Exit { status, usage: Some(usage) })),
            Err(Errno::CHILD) => Err(self.lost()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its number while it is its own: `None` once the child was reaped.
    pub(crate) fn own_id(&self) -> Option<u32> {
        (!self.is_reaped()).then(|| self.id())
    }

    /// All that the record has of an end whose status was awaited.
    pub(crate) fn exit_with(&self, status: ExitStatus) -> io::Result<Exit> {
        Ok(self.try_exit()?.unwrap_or(Exit { status, usage: None }))
    }

    /// Whether the child's end is known, to the record: the kernel is not asked.
    #[must_use]
    pub fn is_reaped(&self) -> bool {
        !matches!(*self.state(), State::Running { .. })
    }

    /// Whether the child is unreaped, as far as the record knows, and has a pidfd.
    pub(crate) fn has_pidfd(&self) -> bool {
        matches!(*self.state(), State::Running { way: Way::Pidfd(_), .. })
    }

    fn lost(&self) -> io::Error {
        StatusLost::of(Some(self.id()))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0.pid
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait for Process {
    fn id(&self) -> u32 {
        Process::id(self)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.try_status()
    }

    /// The child's own pidfd, shared.
    fn pidfd(&self) -> io::Result<Arc<Pidfd>> {
        match &*self.state() {
            State::Running { way: Way::Pidfd(pidfd), .. } => Ok(Arc::clone(pidfd)),
            State::Running { way: Way::Number(_), .. } => Err(Errno::OPNOTSUPP.into()),
            State::Ended(_) | State::Lost => Err(Errno::SRCH.into()),
        }
    }

    /// The child's own thread, shared by all who wait for it.
    fn watch(&self) -> io::Result<Watch> {
        match &mut *self.state() {
            State::Running { way: Way::Number(watch @ None), .. } => {
                let started = Watch::start(self.id())?;
                Ok(watch.insert(started).clone())
            }
            State::Running { way: Way::Number(Some(watch)), .. } => Ok(watch.clone()),
            // Its pidfd could not be registered.
            State::Running { way: Way::Pidfd(_), .. } => Watch::start(self.id()),
            State::Ended(_) | State::Lost => Err(Errno::SRCH.into()),
        }
    }
}

/// Takes over a child of the standard library, which may have been waited for already.
///
/// Its pipes are closed, as they are when the child is dropped: take them out first.
impl TryFrom<Child> for Process {
    type Error = io::Error;

    fn try_from(mut child: Child) -> io::Result<Self> {
        Self::of_std(&mut child)
    }
}

impl Process {
    /// Asks the standard library's record first: the number of a child that it reaped is nobody's.
    pub(crate) fn of_std(child: &mut Child) -> io::Result<Self> {
        let pid = kernel::pid(child.id()).ok_or(Errno::INVAL)?;
        Ok(match Wait::try_wait(child)? {
            None => Self::of_unreaped(pid),
            Some(status) => Self::with(pid, State::Ended(Box::new(Exit { status, usage: None }))),
        })
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Process");
        f.field("pid", &self.0.pid);
        match &*self.state() {
            State::Running { way: Way::Pidfd(pidfd), .. } => f.field("pidfd", pidfd),
            State::Running { way: Way::Number(watch), .. } => f.field("watch", watch),
            State::Ended(exit) => f.field("exit", exit),
            State::Lost => f.field("exit", &"lost"),
        };
        f.finish()
    }
}
