//! The same steps in a child that the standard library forks.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command as StdCommand;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::child::{self, SigSet, Signals};
use super::steps::{Errno, Step, call, errno};

/// A closure in a command of the standard library that takes steps in its child.
///
/// The closure stays in the command for good. The steps are lent to it for one spawn: at other
/// times, or if the command is started by others, it does nothing.
#[derive(Debug)]
pub(crate) struct Hook(Arc<AtomicPtr<Lent<'static>>>);

#[derive(Debug)]
struct Lent<'a> {
    steps: &'a [Step<'a>],
    signals: Signals,
    failed: Failed,
}

/// The count of the step that failed, from 1 on, in memory that a fork does not copy. The standard
/// library passes on the error alone.
#[derive(Debug)]
struct Failed(*mut AtomicUsize);

impl Failed {
    fn map() -> Result<Self, Errno> {
        let (size, protection) = (size_of::<AtomicUsize>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address that the kernel chooses, replaces none.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        if mapping == libc::MAP_FAILED { Err(errno()) } else { Ok(Self(mapping.cast())) }
    }

    fn count(&self) -> &AtomicUsize {
        // SAFETY: it was mapped, zeroed and aligned to a page, and is unmapped by the drop only.
        unsafe { &*self.0 }
    }
}

impl Drop for Failed {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nothing refers to it any more.
        unsafe { libc::munmap(self.0.cast(), size_of::<AtomicUsize>()) };
    }
}

impl Hook {
    pub(crate) fn install(std: &mut StdCommand) -> Self {
        let slot = Arc::new(AtomicPtr::<Lent<'static>>::new(ptr::null_mut()));
        let its = Arc::clone(&slot);
        let closure = move || {
            // SAFETY: the pointer is null, or comes from `lend`, which keeps what it points to
            // until it has set it to null again. In the forked child nothing does that: there the
            // memory is a copy of what it was during `lend`.
            match unsafe { its.load(Ordering::Relaxed).as_ref() } {
                Some(lent) => take(lent).map_err(io::Error::from_raw_os_error),
                None => Ok(()),
            }
        };
        // SAFETY: it makes system calls only, and allocates nothing, not for its error either: that
        // is allowed in the child of a fork.
        unsafe { std.pre_exec(closure) };
        Self(slot)
    }

    /// Runs `spawn`, and has the steps taken in the child that it starts. Returns the index of the
    /// step that failed there, if one did, as well.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; nothing was run then.
    pub(crate) fn lend<T>(
        &self,
        steps: &[Step<'_>],
        signals: Signals,
        spawn: impl FnOnce() -> T,
    ) -> io::Result<(T, Option<usize>)> {
        /// Takes the steps back, also from a panic.
        struct TakeBack<'a>(&'a AtomicPtr<Lent<'static>>);
        impl Drop for TakeBack<'_> {
            fn drop(&mut self) {
                self.0.store(ptr::null_mut(), Ordering::Relaxed);
            }
        }
        let failed = Failed::map().map_err(io::Error::from_raw_os_error)?;
        let lent = Lent { steps, signals, failed };
        let _take_back = TakeBack(&self.0);
        self.0.store((&raw const lent).cast_mut().cast(), Ordering::Relaxed);
        let spawned = spawn();
        Ok((spawned, lent.failed.count().load(Ordering::Relaxed).checked_sub(1)))
    }
}

fn take(lent: &Lent<'_>) -> Result<(), Errno> {
    for (index, step) in lent.steps.iter().enumerate() {
        if let Err(errno) = step.take() {
            lent.failed.count().store(index.wrapping_add(1), Ordering::Relaxed);
            return Err(errno);
        }
    }
    if lent.signals.are_default() {
        return Ok(());
    }
    let mut mask = child::NO_SIGNALS;
    let (how, none) = (libc::SIG_SETMASK, ptr::null::<SigSet>());
    call!(libc::SYS_rt_sigprocmask, how, none, &raw mut mask, size_of::<SigSet>())?;
    child::release_signals(&lent.signals.mask.unwrap_or(mask), lent.signals.reset_ignored)
}
