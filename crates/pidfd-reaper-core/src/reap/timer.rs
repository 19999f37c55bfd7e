//! `Timer`: a timerfd on the same reactor as the children, so that no runtime's timer is needed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::lazy::LazyFd;
use crate::kernel::retry;
use crate::reactor::{Interest, Reactor};

/// Fires once, some time after it was set.
#[derive(Debug)]
pub(crate) struct Timer<R: Reactor> {
    fd: LazyFd<R>,
    fired: bool,
}

impl<R: Reactor> Timer<R> {
    /// One that is not set. Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: LazyFd::nonblocking(new_timerfd()?), fired: false })
    }

    /// Errors: those of [`new`](Self::new).
    pub(crate) fn after(duration: Duration) -> io::Result<Self> {
        let mut timer = Self::new()?;
        timer.set(duration)?;
        Ok(timer)
    }

    /// Has it fire once, after `duration`.
    pub(crate) fn set(&mut self, duration: Duration) -> io::Result<()> {
        self.fired = false;
        set(&self.fd, duration)
    }

    /// Registers it with the reactor now: what can fail fails here, and not at the first poll.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        self.fd.register(Interest::Readable)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fired {
            return Poll::Ready(Ok(()));
        }
        let polled = self
            .fd
            .poll_io(cx, Interest::Readable, |fd| Ok(retry(|| rustix::io::read(fd, &mut [0; 8]))?));
        self.fired = polled.is_ready();
        polled.map_ok(|_| ())
    }
}

/// A timer that is not set.
pub(crate) fn new_timerfd() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(retry(|| timerfd_create(TimerfdClockId::Monotonic, flags))?)
}

/// Has the timer fire once, after `duration`; at once if that is zero.
pub(crate) fn set(timer: impl AsFd, duration: Duration) -> io::Result<()> {
    // A time of zero would unset it.
    let duration = duration.max(Duration::from_nanos(1));
    let time = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            // Further away than any machine runs, and not so far that the kernel's sum overflows.
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(i64::MAX >> 32),
            tv_nsec: duration.subsec_nanos().into(),
        },
    };
    retry(|| timerfd_settime(&timer, TimerfdTimerFlags::empty(), &time))?;
    Ok(())
}
