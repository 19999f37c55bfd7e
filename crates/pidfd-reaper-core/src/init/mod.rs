//! A process that takes in strangers: those whose parents have ended.

mod guard;
pub(crate) mod subreaper;
mod terminal;
