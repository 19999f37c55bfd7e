//! The driver: starts contenders, opens the gate for their children, and measures from outside.

mod counts;
mod instructions;
mod measures;
mod outside;
mod plan;
mod progress;
mod running;
mod syscalls;
pub(crate) mod tracer;

pub(crate) use counts::{Counts, count};
pub(crate) use plan::{Case, Sample, run};

/// What was measured: its name, with the unit, and the value.
pub(crate) type Figures = Vec<(&'static str, f64)>;
