//! `Process`: the record of one child. Nothing else in this library reaps it.

use std::fmt;
use std::io;
use std::mem;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, WaitIdOptions};

use super::changes::Broadcast;
use super::exit_thread::ExitThread;
use super::orphan::Orphan;
use super::orphans;
use super::scope::KillScope;
use super::wait::Wait;
use crate::kernel;
use crate::kernel::exit::{Exit, StatusLost};
use crate::kernel::fork_guard::ForkGuard;
use crate::kernel::pidfd::{Pidfd, ReapError, wait_by_pid};
use crate::kernel::procfs::{self, StartTime};
use crate::kernel::support::Support;
use crate::trace;

/// A child process of this process: its PID, its pidfd, and its exit once that is known.
///
/// Clones are cheap and share the one record: whichever finds that the child has exited reaps it for
/// all, and all get the same status. The pidfd is closed as soon as the exit is known. A `Process`
/// does nothing by itself when it is dropped: a [`Reaper`](crate::Reaper) or a
/// [`Child`](crate::Child) owns it and sees to that.
///
/// In a process that was forked from the child's parent, every call is an error.
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
/// // It is reaped now, and its PID may be reused: no signal goes there.
/// assert!(process.signal(Signal::TERM).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Process(Arc<Record>);

struct Record {
    pid: Pid,
    guard: ForkGuard,
    scope: KillScope,
    state: Mutex<State>,
}

pub(super) enum State {
    Running(Running),
    /// Boxed: most of a record's life is spent without it.
    Exited(Box<Exited>),
    Lost(Lost),
}

pub(super) struct Running {
    pub(super) access: Access,
    /// Boxed: most children never have any of it.
    pub(super) extras: Option<Box<Extras>>,
}

#[derive(Default)]
pub(super) struct Extras {
    /// Where its stops are published, once that was asked for.
    pub(super) changes: Option<Arc<Broadcast>>,
    /// Shared by all who wait for it without a pidfd, or whose pidfd cannot be registered.
    exit_thread: Option<ExitThread>,
}

pub(super) struct Exited {
    exit: Exit,
    pub(super) group: Group,
    /// Whether a call has returned it.
    is_reported: bool,
}

/// Something else reaped the child, and its status is lost.
#[derive(Default)]
pub(super) struct Lost {
    /// Kept if it reaches the rest of the child's group.
    pub(super) group: Option<Arc<Pidfd>>,
    /// Whether a call has returned that.
    is_reported: bool,
}

/// How the group of a child that has exited is reached.
pub(super) enum Group {
    /// Not at all: it is no matter of the child's scope, or the scope is done with.
    Gone,
    /// Through the pidfd of its leader, which was reaped (Linux 6.9).
    Pidfd(Arc<Pidfd>),
    /// By its number, which the zombie of its leader reserves: that is not reaped yet.
    Zombie(Access),
}

/// How an unreaped child is waited for and signalled.
#[derive(Clone)]
pub(super) enum Access {
    Pidfd(Arc<Pidfd>),
    /// By PID. The start time tells the child apart from another one that gets the same PID.
    Pid(Option<StartTime>),
}

impl Process {
    /// Takes over a child that was just started, and was not waited for.
    ///
    /// It cannot fail: where there is no pidfd, the child is waited for without.
    pub(crate) fn from_spawned(pid: Pid, pidfd: Option<Pidfd>, scope: KillScope) -> Self {
        let state = match pidfd {
            Some(pidfd) => State::running(Access::Pidfd(Arc::new(pidfd))),
            None => State::from_pid(pid),
        };
        trace::spawned(kernel::number(pid));
        Self::new(pid, scope, state)
    }

    fn new(pid: Pid, scope: KillScope, state: State) -> Self {
        let (guard, state) = (ForkGuard::new(), Mutex::new(state));
        Self(Arc::new(Record { pid, guard, scope, state }))
    }

    /// The process's PID. Once the child was reaped it may be reused.
    #[must_use]
    pub fn id(&self) -> u32 {
        kernel::number(self.0.pid)
    }

    /// Reaps the child if it has exited; `None` while it runs. It never blocks.
    ///
    /// # Errors
    ///
    /// - [`StatusLost`] if something else reaped the child and the kernel does not keep its status
    ///   (before Linux 6.15, or without a pidfd).
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a forked process: the child is its parent's.
    /// - An error of the system call, if a filter refuses it: the child stays as it is.
    pub fn try_exit(&self) -> io::Result<Option<Exit>> {
        let status = self.try_status()?;
        Ok(status.map(|status| match &*self.state() {
            State::Exited(exited) => exited.exit.reported(),
            State::Running(_) | State::Lost(_) => Exit { status, usage: None },
        }))
    }

    /// The same without the usage, which stays in the record.
    fn try_status(&self) -> io::Result<Option<ExitStatus>> {
        let mut state = self.lock()?;
        let found = match &mut *state {
            State::Exited(exited) => {
                exited.is_reported = true;
                return Ok(Some(exited.exit.status));
            }
            State::Lost(lost) => {
                lost.is_reported = true;
                return Err(self.status_lost());
            }
            State::Running(running) => self.find_exit(&running.access),
        };
        let (next, answer) = match found {
            Ok(None) => return Ok(None),
            Ok(Some(exited)) => {
                let status = exited.exit.status;
                (State::Exited(Box::new(exited)), Ok(status))
            }
            Err(ReapError::StatusLost | ReapError::NotChild) => {
                (state.lost(self.0.scope), Err(self.status_lost()))
            }
            Err(ReapError::Call(errno)) => return Err(errno.into()),
        };
        // The kernel reports the usage to whatever reaps.
        let is_recovered = matches!(&next, State::Exited(exited) if exited.exit.usage.is_none());
        let before = mem::replace(&mut *state, next);
        drop(state);
        // After the lock is released: subscribers and wakers may ask the child.
        if answer.is_err() || is_recovered {
            trace::stolen(self.id(), is_recovered);
        }
        before.publish_exit();
        answer.map(Some)
    }

    /// The exit of a child that is not known to have exited. It reaps the child, unless its zombie
    /// is needed to reach the rest of its group.
    fn find_exit(&self, access: &Access) -> Result<Option<Exited>, ReapError> {
        if self.0.scope != KillScope::Group {
            let exit = access.reap(self.0.pid)?;
            return Ok(exit.map(|exit| Exited::reported(exit, Group::Gone)));
        }
        if let Some(pidfd) = access.pidfd_of_group() {
            let exit = access.reap(self.0.pid)?;
            return Ok(exit.map(|exit| Exited::reported(exit, Group::Pidfd(pidfd))));
        }
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match access.waitid(self.0.pid, peek) {
            Ok(None) => Ok(None),
            Ok(Some((status, usage))) => {
                let exit = Exit { status, usage: Some(usage) };
                Ok(Some(Exited::reported(exit, Group::Zombie(access.clone()))))
            }
            // Something else has reaped it, or nothing can be learned without reaping.
            Err(_) => {
                let exit = access.reap(self.0.pid)?;
                Ok(exit.map(|exit| Exited::reported(exit, Group::Gone)))
            }
        }
    }

    /// Gives up the rest of the scope, and reaps the child if it has exited and only its group kept
    /// it. Whether nothing is left to be done.
    pub(super) fn release(&self) -> bool {
        let Ok(mut state) = self.lock() else { return true };
        let before = match &mut *state {
            State::Running(_) => return false,
            State::Lost(lost) => lost.group.take().map_or(Group::Gone, Group::Pidfd),
            State::Exited(exited) => {
                if let Group::Zombie(access) = &exited.group {
                    // A tracer may hold it.
                    if matches!(access.reap(self.0.pid), Ok(None) | Err(ReapError::Call(_))) {
                        return false;
                    }
                }
                mem::replace(&mut exited.group, Group::Gone)
            }
        };
        drop(state);
        // Closes the pidfd.
        drop(before);
        true
    }

    /// Reaps the child if it has exited and only its group kept it; the group stays in reach where
    /// that does not need the zombie.
    pub(crate) fn reap_zombie(&self) {
        let keeps_zombie = self.lock().is_ok_and(|state| match &*state {
            State::Exited(exited) => matches!(exited.group, Group::Zombie(_)),
            State::Running(_) | State::Lost(_) => false,
        });
        if keeps_zombie {
            self.release();
        }
    }

    /// Its PID until a call has returned its exit.
    pub(crate) fn own_id(&self) -> Option<u32> {
        let is_reported = match &*self.lock().ok()? {
            State::Running(_) => false,
            State::Exited(exited) => exited.is_reported,
            State::Lost(lost) => lost.is_reported,
        };
        (!is_reported).then(|| self.id())
    }

    /// All that the record has of an exit whose status was awaited.
    pub(crate) fn exit_with(&self, status: ExitStatus) -> io::Result<Exit> {
        Ok(self.try_exit()?.unwrap_or(Exit { status, usage: None }))
    }

    /// Whether the child's exit is known to the record: it makes no system call.
    ///
    /// In a forked process it is `true`: there is nothing to wait for.
    #[must_use]
    pub fn is_reaped(&self) -> bool {
        !self.guard().is_here() || !matches!(*self.state(), State::Running(_))
    }

    /// Whether nothing of the child's scope is left, as far as the record knows.
    pub(crate) fn is_done(&self) -> bool {
        !self.guard().is_here()
            || match &*self.state() {
                State::Running(_) => false,
                State::Lost(lost) => lost.group.is_none(),
                State::Exited(exited) => matches!(exited.group, Group::Gone),
            }
    }

    /// Whether the child is unreaped, as far as the record knows, and has a pidfd.
    pub(super) fn has_pidfd(&self) -> bool {
        matches!(&*self.state(), State::Running(Running { access: Access::Pidfd(_), .. }))
    }

    /// Whether both are of one child.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn status_lost(&self) -> io::Error {
        StatusLost::new(Some(self.id())).into()
    }

    pub(super) fn pid(&self) -> Pid {
        self.0.pid
    }

    pub(crate) fn guard(&self) -> ForkGuard {
        self.0.guard
    }

    pub(crate) fn scope(&self) -> KillScope {
        self.0.scope
    }

    /// The only way to the state that does not ask the guard first.
    ///
    /// # Errors
    ///
    /// In a forked process: another thread of the parent may have held the lock.
    pub(super) fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        self.0.guard.check(self.id())?;
        Ok(self.state())
    }

    /// For those who have asked the guard.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exited {
    fn reported(exit: Exit, group: Group) -> Self {
        Self { exit, group, is_reported: true }
    }
}

impl State {
    /// Of a child that nothing else is known to have reaped.
    ///
    /// Something else may have reaped it by now (`waitpid(-1)` in another thread, or the kernel, if
    /// `SIGCHLD` is ignored). Then there is no process with its PID (`ESRCH`), or the PID was reused
    /// and the pidfd is of another process. In both cases the child is lost: its PID is not used.
    fn from_pid(pid: Pid) -> Self {
        let support = Support::here();
        let refused = match Pidfd::open_with(pid, support) {
            Ok(pidfd) => {
                return match pidfd.is_unreaped_child(support) {
                    Ok(false) => Self::Lost(Lost::default()),
                    Ok(true) | Err(_) => Self::running(Access::Pidfd(Arc::new(pidfd))),
                };
            }
            Err(Errno::SRCH) => return Self::Lost(Lost::default()),
            Err(errno) => errno,
        };
        trace::fallback(kernel::number(pid), &refused.into());
        Self::running(Access::Pid(procfs::start_time(pid)))
    }

    fn running(access: Access) -> Self {
        Self::Running(Running { access, extras: None })
    }

    fn lost(&self, scope: KillScope) -> Self {
        let group = match self {
            Self::Running(Running { access, .. }) if scope == KillScope::Group => {
                access.pidfd_of_group()
            }
            _ => None,
        };
        Self::Lost(Lost { group, is_reported: true })
    }

    fn publish_exit(self) {
        if let Self::Running(Running { extras: Some(extras), .. }) = self {
            if let Some(changes) = extras.changes {
                changes.publish_exit();
            }
        }
    }
}

impl Access {
    fn reap(&self, pid: Pid) -> Result<Option<Exit>, ReapError> {
        match self {
            Self::Pidfd(pidfd) => pidfd.reap(),
            Self::Pid(started) => {
                if procfs::is_another(pid, *started) {
                    return Err(ReapError::StatusLost);
                }
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                match wait_by_pid(pid, options, Support::here()) {
                    Ok(exit) => Ok(exit.map(|(status, usage)| Exit { status, usage: Some(usage) })),
                    Err(Errno::CHILD) => Err(ReapError::StatusLost),
                    Err(errno) => Err(ReapError::Call(errno)),
                }
            }
        }
    }

    /// What `options` ask for, without blocking, while the child is unreaped.
    pub(super) fn waitid(
        &self,
        pid: Pid,
        options: WaitIdOptions,
    ) -> Result<Option<(ExitStatus, kernel::usage::ResourceUsage)>, Errno> {
        let options = options | WaitIdOptions::NOHANG;
        match self {
            Self::Pidfd(pidfd) => pidfd.waitid(options, Support::here()),
            Self::Pid(started) if procfs::is_another(pid, *started) => Err(Errno::CHILD),
            Self::Pid(_) => wait_by_pid(pid, options, Support::here()),
        }
    }
}

impl Drop for Record {
    /// The zombie of a group's leader is reaped with the last handle.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let State::Exited(exited) = state else { return };
        let Group::Zombie(access) = &exited.group else { return };
        if !self.guard.is_here() {
            return;
        }
        if matches!(access.reap(self.pid), Ok(None) | Err(ReapError::Call(_))) {
            // A tracer holds it.
            let state = State::running(access.clone());
            let process = Process::new(self.pid, KillScope::Child, state);
            Orphan::abandon_process(process, None, orphans::of_this_process(), None);
        }
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
        match &*self.lock()? {
            State::Running(Running { access: Access::Pidfd(pidfd), .. }) => Ok(Arc::clone(pidfd)),
            State::Running(_) => Err(Errno::OPNOTSUPP.into()),
            State::Exited(_) | State::Lost(_) => Err(Errno::SRCH.into()),
        }
    }

    /// The child's own thread, shared by all who wait for it, however many waits are cancelled.
    ///
    /// A thread that has returned although the child does not count as exited waited for another
    /// process: the child was stolen, and its PID reused. Then the status is lost. Where the start
    /// time cannot be read, another thread waits, for as long as that process runs: nothing spins.
    fn exit_thread(&self) -> io::Result<ExitThread> {
        let mut state = self.lock()?;
        let State::Running(running) = &mut *state else { return Err(Errno::SRCH.into()) };
        if let Access::Pid(started) = running.access {
            if procfs::is_another(self.0.pid, started) {
                let before =
                    mem::replace(&mut *state, State::Lost(Lost { group: None, is_reported: true }));
                drop(state);
                trace::stolen(self.id(), false);
                before.publish_exit();
                return Err(self.status_lost());
            }
        }
        let extras = running.extras.get_or_insert_default();
        match &extras.exit_thread {
            Some(thread) if !thread.has_returned() => Ok(thread.clone()),
            _ => Ok(extras.exit_thread.insert(ExitThread::start(self.id())?).clone()),
        }
    }
}

/// Takes over a child of the standard library, which may have been waited for already.
///
/// Its pipes are closed, as they are when the child is dropped: take them out first.
impl TryFrom<Child> for Process {
    type Error = io::Error;

    fn try_from(mut child: Child) -> io::Result<Self> {
        Self::from_std(&mut child, KillScope::Child)
    }
}

impl Process {
    /// Asks the standard library's record first: the PID of a child that it reaped may be reused.
    ///
    /// That reaps a child which has exited. The usage comes with the status, so it is collected
    /// before.
    pub(crate) fn from_std(child: &mut Child, scope: KillScope) -> io::Result<Self> {
        let pid = kernel::pid(child.id()).ok_or(Errno::INVAL)?;
        let peek = || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            wait_by_pid(pid, options, Support::here())
        };
        let seen = peek().ok().flatten();
        Ok(match Wait::try_wait(child)? {
            None => Self::from_spawned(pid, None, scope),
            Some(status) => {
                // It was this child that was seen if there is none with that PID from now on.
                let usage = seen.filter(|_| peek() == Err(Errno::CHILD)).map(|(_, usage)| usage);
                let (exit, group) = (Exit { status, usage }, Group::Gone);
                // One that was waited for before has had its exit reported.
                let exited = Exited { exit, group, is_reported: usage.is_none() };
                Self::new(pid, scope, State::Exited(Box::new(exited)))
            }
        })
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Process");
        f.field("pid", &self.0.pid);
        match self.lock().as_deref() {
            Ok(State::Running(Running { access: Access::Pidfd(pidfd), .. })) => {
                f.field("pidfd", pidfd)
            }
            Ok(State::Running(Running { extras, .. })) => {
                let thread = extras.as_ref().and_then(|extras| extras.exit_thread.as_ref());
                f.field("exit_thread", &thread)
            }
            Ok(State::Exited(exited)) => f.field("exit", &exited.exit),
            Ok(State::Lost(_)) => f.field("exit", &"lost"),
            Err(_) => f.field("inherited", &true),
        };
        f.finish()
    }
}
