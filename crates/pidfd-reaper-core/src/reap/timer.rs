//! `Timer`: a timerfd on the same reactor as the children, so that no runtime's timer is needed.

use std::io;
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
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        timerfd_settime(&fd, TimerfdTimerFlags::empty(), &once(duration))?;
        Ok(Self { fd: LazyFd::new(fd, Interest::Readable), fired: false })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fired {
            return Poll::Ready(Ok(()));
        }
        let polled = self.fd.poll_io(cx, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
        self.fired = polled.is_ready();
        polled.map_ok(|_| ())
    }
}

/// A time of zero would disarm the timer.
pub(crate) fn once(duration: Duration) -> Itimerspec {
    let duration = duration.max(Duration::from_nanos(1));
    Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            // Further away than any machine runs, and not so far that the kernel's sum overflows.
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).min(i64::MAX >> 32),
            tv_nsec: duration.subsec_nanos().into(),
        },
    }
}
