//! What people call: `Command`, `Child` and its pipes, with the names of `tokio::process`.

mod attributes;
pub(crate) mod child;
#[expect(clippy::module_inception, reason = "named after the one type that lives in it")]
pub(crate) mod command;
pub(crate) mod ending;
pub(crate) mod handle;
mod jobs;
pub(crate) mod limits;
mod output;
pub(crate) mod pipe;
pub(crate) mod set;
