//! How a child is started: what is asked for it, the plan made before the clone, the engine.

pub(crate) mod attributes;
pub(crate) mod builder;
mod by_std;
mod dumpable;
pub(crate) mod engine;
pub(crate) mod error;
mod plan;
pub(crate) mod resource;
pub(crate) mod stdio;
