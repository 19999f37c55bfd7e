//! A parent for orphaned processes, beside a program that starts children of its own.

mod guard;
mod options;
mod remaining;
pub(crate) mod subreaper;
mod terminal;
