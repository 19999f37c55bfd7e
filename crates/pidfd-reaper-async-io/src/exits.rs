//! The one [`ExitSet`] of the process, behind one registration with async-io.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use async_io::Async;
use pidfd_reaper_core::{ExitSet, ExitSource, SharedFd};

/// Leads to the exit set of the process. It takes no memory: it is in each of thousands of sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exits;

static EXITS: OnceLock<Registered> = OnceLock::new();

#[derive(Debug)]
struct Registered {
    set: Async<ExitSet>,
    /// What async-io wakes when there are exits to be dispatched.
    turn: Waker,
}

impl Exits {
    pub(crate) fn register(fd: SharedFd) -> io::Result<ExitSource<Self>> {
        Self::make()?;
        ExitSet::register(Self, fd)
    }

    /// Made by the first wait, and there as long as the process, as async-io's own reactor is.
    fn make() -> io::Result<()> {
        if EXITS.get().is_some() {
            return Ok(());
        }
        let set = Async::new_nonblocking(ExitSet::new()?)?;
        let made = Registered { set, turn: Arc::new(Turn).into() };
        made.arm()?;
        EXITS.get_or_init(|| made);
        Ok(())
    }
}

impl Deref for Exits {
    type Target = ExitSet;

    fn deref(&self) -> &ExitSet {
        EXITS.get().expect("it is made before anything is registered").set.get_ref()
    }
}

impl Registered {
    /// Has async-io wake `turn` when there are exits, also if there are some now.
    fn arm(&self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.turn);
        // After an event it is ready once, for that event.
        while let Poll::Ready(ready) = self.set.poll_readable(&mut cx) {
            ready?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Turn;

impl Wake for Turn {
    /// Dispatches without asking async-io, which may wake for an event and then answer that there is
    /// none.
    fn wake(self: Arc<Self>) {
        let Some(exits) = EXITS.get() else { return };
        let dispatched = match exits.set.get_ref().dispatch() {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => exits.arm(),
        };
        if dispatched.is_err() {
            exits.set.get_ref().close();
        }
    }
}
