//! `Readiness`: waits until a child may have exited, then asks it; what makes a child a future.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use super::exit_thread::ExitListener;
use super::orphans;
use super::registered::Registered;
use super::timer::Timer;
use super::wait::Wait;
use crate::kernel::exit::StatusLost;
use crate::kernel::fork_guard::ForkGuard;
use crate::kernel::pidfd::Pidfd;
use crate::reactor::{Interest, Reactor, SharedFd};
use crate::trace::{self, By};

/// How one waiter learns that its child has exited.
///
/// It may be polled in one runtime after another, and dropped at any time: what counts is the
/// child's own state. Every registration but that of the child which was spawned last begins with
/// asking the child.
#[derive(Debug)]
pub(crate) enum Readiness<R: Reactor> {
    /// Started, under this PID, and not polled yet.
    Started(u32),
    /// Nothing is registered: not polled yet, or given up.
    Unregistered,
    Pidfd(Box<Registered<R>>),
    Thread(Box<ExitListener>),
    /// Neither can be: the child is asked again after a pause.
    Timer(Box<Pause<R>>),
}

#[derive(Debug)]
pub(crate) struct Pause<R: Reactor> {
    timer: Timer<R>,
    duration: Duration,
    /// How a thread that waited for the child has failed.
    thread_error: Option<Errno>,
}

/// The PID of the child that was spawned last, until it is polled.
///
/// A child that was spawned last has almost certainly not exited: its pidfd is registered without
/// calling `waitid` first, which saves a system call.
///
/// Threads that spawn at the same time overwrite each other's PID, and then one of the children is
/// asked first, as any other is. A child that has exited all the same costs nothing but latency: an
/// epoll reports a pidfd that is readable when it is added. So the order of these accesses does not
/// matter, and a PID that was reused does not either.
static LATEST: AtomicU32 = AtomicU32::new(NONE);

const NONE: u32 = 0;

fn is_latest(pid: u32) -> bool {
    LATEST.compare_exchange(pid, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Whether an error of [`Wait::exit_thread`] means that the exit is known by now.
fn is_known(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::SRCH) || StatusLost::is(error)
}

/// The shortest and the longest pause between two questions to a child.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl<R: Reactor> Readiness<R> {
    pub(crate) fn of_spawned(pid: u32) -> Self {
        LATEST.store(pid, Ordering::Relaxed);
        Self::Started(pid)
    }

    /// Polls for the exit of `child`: the one loop in which all that can happen to a wait happens.
    ///
    /// `guard` is of the process whose child it is. What was registered is given up before it
    /// returns `Ready`.
    pub(crate) fn poll_exit<W: Wait + ?Sized>(
        &mut self,
        child: &mut W,
        guard: ForkGuard,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<ExitStatus>> {
        // A forked process has neither the reactor nor the thread that would wake it.
        guard.check(child.id())?;
        orphans::of_this_process().retry();
        let mut reactor_errors = 0;
        let mut by = By::Waiter;
        // Registered in this very poll: with the reactor that it is polled in.
        let mut is_current = false;
        let (mut thread_error, mut pause) = (None, PAUSE);
        loop {
            match self {
                Self::Started(pid) => {
                    *self = match is_latest(*pid).then(|| Self::register_spawned(child)) {
                        Some(Ok(registered)) => registered,
                        _ => Self::Unregistered,
                    };
                    is_current = true;
                }
                Self::Unregistered => {
                    // For a child that has exited this is the only system call, and it needs no
                    // reactor.
                    if let Some(end) = child.try_wait().transpose() {
                        trace::reaped(child.id(), by, &end);
                        return Poll::Ready(end);
                    }
                    match Self::register(child, reactor_errors < 2, thread_error, pause) {
                        Ok(registered) => (*self, is_current) = (registered, true),
                        // A clone may have reaped the child since it was asked.
                        Err(error) => return Poll::Ready(child.try_wait()?.ok_or(error)),
                    }
                }
                Self::Pidfd(registered) => {
                    let polled = registered.poll_io(cx, |_| match child.try_wait() {
                        Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                        Ok(Some(status)) => Ok(Ok(status)),
                        Err(error) => Ok(Err(error)),
                    });
                    if polled.is_pending() && (is_current || registered.is_current()) {
                        return Poll::Pending;
                    }
                    *self = Self::Unregistered;
                    match polled {
                        Poll::Ready(Ok(end)) => {
                            trace::reaped(child.id(), by, &end);
                            return Poll::Ready(end);
                        }
                        // The runtime was shut down. Once more on the one that polls now, then
                        // without.
                        Poll::Ready(Err(_)) => reactor_errors += 1,
                        // Begun in another runtime, which may never run again.
                        Poll::Pending => {}
                    }
                }
                Self::Thread(listener) => {
                    thread_error = ready!(listener.poll(cx)).err();
                    *self = Self::Unregistered;
                    by = By::Fallback;
                }
                Self::Timer(timer) => {
                    // An error is the reactor's: then the child is asked, and waited for anew.
                    let _ = ready!(timer.timer.poll(cx));
                    pause = LONGEST_PAUSE.min(2 * timer.duration);
                    thread_error = timer.thread_error;
                    *self = Self::Unregistered;
                    by = By::Fallback;
                }
            }
        }
    }

    /// Registers the child's pidfd with the current reactor, or else has a thread wait for the
    /// child, or else a timer.
    ///
    /// `thread_error` is how a thread has failed although the child runs. Another would fail as well,
    /// and again: that would spin.
    fn register<W: Wait + ?Sized>(
        child: &W,
        may_react: bool,
        thread_error: Option<Errno>,
        pause: Duration,
    ) -> io::Result<Self> {
        let pidfd = may_react.then(|| child.pidfd());
        if let Some(Ok(pidfd)) = pidfd {
            match Self::on_reactor(R::current()?, &pidfd) {
                Ok(registered) => return Ok(registered),
                Err(error) => trace::fallback(child.id(), &error),
            }
        }
        let error = match thread_error {
            Some(errno) => errno.into(),
            None => match child.exit_thread() {
                Ok(thread) => return Ok(Self::Thread(Box::new(thread.listen()))),
                // A clone has reaped the child, or it is known to be stolen: there is nothing to
                // wait for.
                Err(error) if is_known(&error) => return Err(error),
                Err(error) => error,
            },
        };
        let on_timer = Timer::after(pause).and_then(|mut timer| {
            timer.register()?;
            Ok(timer)
        });
        match on_timer {
            Ok(timer) => Ok(Self::Timer(Box::new(Pause { timer, duration: pause, thread_error }))),
            Err(_) => Err(error),
        }
    }

    fn register_spawned<W: Wait + ?Sized>(child: &W) -> io::Result<Self> {
        Self::on_reactor(R::current()?, &child.pidfd()?)
    }

    fn on_reactor(reactor: R, pidfd: &Arc<Pidfd>) -> io::Result<Self> {
        let registered = match Registered::with(reactor, Arc::clone(pidfd).into(), Interest::Exit) {
            // Another task waits for the same child: an epoll takes a descriptor once, but any
            // number of its copies.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let copy = SharedFd::from(Arc::new(pidfd.try_clone()?));
                Registered::with(R::current()?, copy, Interest::Exit)
            }
            registered => registered,
        }?;
        Ok(Self::Pidfd(Box::new(registered)))
    }
}
