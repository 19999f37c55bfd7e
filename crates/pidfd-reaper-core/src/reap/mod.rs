//! A child after its spawn: registered, readable, reaped; or dropped, an orphan, reaped.

pub(crate) mod changes;
pub(crate) mod deadline;
pub(crate) mod drive;
pub(crate) mod exit_thread;
pub(crate) mod foreign;
pub(crate) mod lazy;
pub(crate) mod orphan;
pub(crate) mod orphans;
pub(crate) mod process;
pub(crate) mod queue;
#[cfg(all(test, loom))]
mod queue_model;
pub(crate) mod readiness;
pub(crate) mod reaper;
pub(crate) mod registered;
pub(crate) mod scope;
pub(crate) mod signal;
mod stops;
mod thread;
pub(crate) mod timer;
pub(crate) mod wait;
pub(crate) mod wakers;
