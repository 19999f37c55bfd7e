//! `Readiness`: waits until a child may have ended, then asks; what makes a child a future.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use event_listener::EventListener;

use super::fallback::Watch;
use super::orphans;
use super::registered::Registered;
use super::wait::Wait;
use crate::kernel::pidfd::Pidfd;
use crate::reactor::{Interest, Reactor, SharedFd};
use crate::trace::{self, By};

/// How one waiter learns that its child has ended.
///
/// It may be polled in one runtime after another, and dropped at any time: what counts is the
/// child's own state. Every registration but a just started child's begins with asking the child.
#[derive(Debug)]
pub(crate) enum Readiness<R: Reactor> {
    /// Started, under this number, and not polled yet.
    Started(u32),
    /// Nothing is registered: not polled yet, or given up.
    Unregistered,
    Pidfd(Box<Registered<R>>),
    Thread(Box<(Watch, EventListener)>),
}

/// The child that was started last, until it is polled.
///
/// That one is most likely still on its way to its first instruction, and is registered unasked: it
/// saves the question. If it has ended all the same, the reactor tells.
static LATEST: AtomicU32 = AtomicU32::new(NONE);

const NONE: u32 = 0;

fn is_latest(pid: u32) -> bool {
    LATEST.compare_exchange(pid, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

impl<R: Reactor> Readiness<R> {
    pub(crate) fn of_started(pid: u32) -> Self {
        LATEST.store(pid, Ordering::Relaxed);
        Self::Started(pid)
    }

    /// Polls for the end of `child`: the one loop in which all that can happen to a wait happens.
    ///
    /// What was registered is given up before it returns `Ready`.
    pub(crate) fn poll_exit<W: Wait + ?Sized>(
        &mut self,
        child: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<ExitStatus>> {
        orphans::of_this_process().retry();
        let mut reactor_errors = 0;
        let mut by = By::Waiter;
        // Registered in this very poll: with the reactor that it is polled in.
        let mut is_current = false;
        loop {
            match self {
                Self::Started(pid) => {
                    *self = match is_latest(*pid).then(|| Self::register_unasked(child)) {
                        Some(Ok(registered)) => registered,
                        _ => Self::Unregistered,
                    };
                    is_current = true;
                }
                Self::Unregistered => {
                    // A child that is dead by now costs this one system call, and needs no reactor.
                    if let Some(end) = child.try_wait().transpose() {
                        trace::reaped(child.id(), by, &end);
                        return Poll::Ready(end);
                    }
                    match Self::register(child, reactor_errors < 2) {
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
                Self::Thread(thread) => {
                    let (watch, listener) = &mut **thread;
                    if !watch.has_ended() {
                        ready!(Pin::new(listener).poll(cx));
                    }
                    *self = Self::Unregistered;
                    by = By::Fallback;
                }
            }
        }
    }

    /// Registers the child's pidfd with the current reactor, or else has a thread wait for the
    /// child.
    fn register<W: Wait + ?Sized>(child: &W, may_react: bool) -> io::Result<Self> {
        let pidfd = may_react.then(|| child.pidfd());
        if let Some(Ok(pidfd)) = pidfd {
            match Self::on_reactor(R::current()?, &pidfd) {
                Ok(registered) => return Ok(registered),
                Err(error) => trace::fallback(child.id(), &error),
            }
        }
        let watch = child.watch()?;
        let listener = watch.listen();
        Ok(Self::Thread(Box::new((watch, listener))))
    }

    fn register_unasked<W: Wait + ?Sized>(child: &W) -> io::Result<Self> {
        Self::on_reactor(R::current()?, &child.pidfd()?)
    }

    fn on_reactor(reactor: R, pidfd: &Arc<Pidfd>) -> io::Result<Self> {
        let registered = match Registered::with(reactor, Arc::clone(pidfd).into(), Interest::Exit) {
            // Somebody else waits for the same child: an epoll takes a descriptor once, but any
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
