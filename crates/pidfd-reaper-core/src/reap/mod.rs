//! The way of a child after its spawn: registered, readable, reaped; or dropped, an orphan, reaped.

pub(crate) mod changes;
pub(crate) mod deadline;
pub(crate) mod fallback;
pub(crate) mod latch;
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
pub(crate) mod signal;
mod stops;
pub(crate) mod stranger;
mod thread;
pub(crate) mod timer;
pub(crate) mod wait;
