//! How a child is started: what is asked for it, the plan made before the clone, the engine.

mod attributes;
pub(crate) mod builder;
pub(crate) mod engine;
mod plan;
pub(crate) mod stdio;
