//! `Timer`: a timerfd on the same reactor as the children, so that no runtime's timer is needed.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::lazy::LazyFd;
use crate::reactor::{Interest, Reactor};

/// Fires once, some time after it was made.
#[derive(Debug)]
pub(crate) struct Timer<R: Reactor> {
    fd: LazyFd<R>,
    fired: bool,
}

impl<R: Reactor> Timer<R> {
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn after(duration: Duration) -> io::Result<Self> {
        let fd = new_timerfd()?;
        set(&fd, duration)?;
        Ok(Self { fd: LazyFd::nonblocking(fd), fired: false })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fired {
            return Poll::Ready(Ok(()));
        }
        let polled =
            self.fd.poll_io(cx, Interest::Readable, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
        self.fired = polled.is_ready();
        polled.map_ok(|_| ())
    }
}

/// A timer that is not set.
pub(crate) fn new_timerfd() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Has the timer fire once, after `duration`; at once if that is zero.
pub(crate) fn set(timer: &OwnedFd, duration: Duration) -> io::Result<()> {
    // A time of zero would disarm it.
    let duration = duration.max(Duration::from_nanos(1));
    let time = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            // Further away than any machine runs, and not so far that the kernel's sum overflows.
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(i64::MAX >> 32),
            tv_nsec: duration.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &time)?;
    Ok(())
}
