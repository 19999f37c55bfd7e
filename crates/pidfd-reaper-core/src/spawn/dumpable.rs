//! Keeps this process dumpable while a child changes its ids.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use crate::kernel::sys;

/// Which process holds the lock: its count of forks and one more; zero if it is free.
static HOLDER: AtomicU32 = AtomicU32::new(0);

/// How often the lock is asked for before the thread sleeps. A spawn takes some 100 µs.
const SPINS: u32 = 100;

/// While this is held, one child may change its user or group in the memory of this process.
///
/// The kernel keeps in that memory whether it may be dumped and traced (`PR_SET_DUMPABLE`), and
/// takes that away when a process changes its ids. For a cloned child the memory is the parent's:
/// afterwards the parent would leave no core dump, and an unprivileged debugger could not attach to
/// it. So it is set again once the child has executed its program.
///
/// Not before: until then the child runs as another user on the memory of this process, and a
/// process of that user could trace the child, and so write to this memory. That is why only one
/// such child may be in this phase at a time: were there two, the parent would make the memory
/// traceable for the end of the first while the second is in it.
///
/// The lock knows of forks. A process that was forked off while another thread held the lock has a
/// copy of it in that state, and no thread that would release it: it takes the lock over.
#[derive(Debug)]
pub(super) struct KeptDumpable {
    was_dumpable: bool,
}

impl KeptDumpable {
    pub(super) fn hold() -> Self {
        let own = sys::generation::generation();
        let mut expected = 0;
        let mut tries = 0;
        while let Err(holder) =
            HOLDER.compare_exchange_weak(expected, own, Ordering::Acquire, Ordering::Relaxed)
        {
            // Of another process: the one that this was forked off from.
            expected = if holder == own { 0 } else { holder };
            if holder != own {
                continue;
            }
            tries += 1;
            if tries < SPINS {
                thread::yield_now();
            } else {
                thread::sleep(Duration::from_micros(50));
            }
        }
        Self { was_dumpable: dumpable_behavior() == Ok(DumpableBehavior::Dumpable) }
    }
}

impl Drop for KeptDumpable {
    fn drop(&mut self) {
        if self.was_dumpable {
            // It cannot fail with this value.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        HOLDER.store(0, Ordering::Release);
    }
}
