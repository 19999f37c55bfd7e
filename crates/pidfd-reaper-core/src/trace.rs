//! What happens to a child, told to `tracing` where the feature of that name is on; else nothing.
//!
//! All events have the target `pidfd_reaper`, the level `DEBUG` and the child's number as `pid`.

use std::io;
use std::process::ExitStatus;

/// Who found out that a child has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// A task that awaited it, or asked.
    Waiter,
    /// The same, woken by the thread that stands in for a pidfd.
    Fallback,
    OrphanQueue,
}

cfg_if::cfg_if! {
    if #[cfg(feature = "tracing")] {
        pub(crate) fn spawned(pid: u32) {
            tracing::debug!(target: "pidfd_reaper", pid, "spawned");
        }

        pub(crate) fn reaped(pid: u32, by: By, end: &io::Result<ExitStatus>) {
            match end {
                Ok(status) => tracing::debug!(target: "pidfd_reaper", pid, ?by, %status, "reaped"),
                Err(error) => {
                    tracing::debug!(target: "pidfd_reaper", pid, ?by, %error, "not reaped");
                }
            }
        }

        pub(crate) fn stolen(pid: u32, recovered: bool) {
            tracing::debug!(target: "pidfd_reaper", pid, recovered, "stolen");
        }

        pub(crate) fn orphaned(pid: u32) {
            tracing::debug!(target: "pidfd_reaper", pid, "orphaned");
        }

        pub(crate) fn fallback(pid: u32, because: &io::Error) {
            tracing::debug!(target: "pidfd_reaper", pid, %because, "waits by a thread");
        }

        pub(crate) fn direct_spawn_refused(because: &io::Error) {
            tracing::debug!(target: "pidfd_reaper", %because, "spawns by the standard library");
        }
    } else {
        pub(crate) fn spawned(_pid: u32) {}

        pub(crate) fn reaped(_pid: u32, _by: By, _end: &io::Result<ExitStatus>) {}

        pub(crate) fn stolen(_pid: u32, _recovered: bool) {}

        pub(crate) fn orphaned(_pid: u32) {}

        pub(crate) fn fallback(_pid: u32, _because: &io::Error) {}

        pub(crate) fn direct_spawn_refused(_because: &io::Error) {}
    }
}
