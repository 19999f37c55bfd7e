//! The examples that stand in for a tool, held against that tool's own tests.
//!
//! The programs run as a user runs them, so they have to be built. Cargo names the programs of a
//! package to its tests (`CARGO_BIN_EXE_…`), but not its examples: the first test builds them with
//! the features and the profile of this test, which costs nothing if `cargo test` has done it.
//!
//! ```text
//! cargo test -p conformance --test examples                      all of them
//! EXAMPLES=target/release/examples cargo test … --test examples  programs that are built already
//! ```

#[path = "../shared/helper.rs"]
mod helper;
mod parallel;
mod pipeline;
mod timeout;
mod timeout_groups;
mod timeout_terminal;
mod tool;
mod waitpid;
