//! A container's PID 1: forwards signals, reaps what is orphaned, ends with its command's status.
//!
//! It shows [`Subreaper`](pidfd_reaper::Subreaper): two processes, of which the first stays behind
//! as the guard and the second becomes the command. It works as any other process too, as a child
//! subreaper.
//!
//! ```text
//! cargo run --example init                               # a demonstration
//! cargo run --example init -- sh -c 'sleep 1 & exit 7'
//! cargo run --example init -- -g -- my-server --port 80  # signals to the command's whole group
//! ```

mod command;
mod demonstration;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    if env::args_os().len() > 1 { command::run(env::args_os()) } else { demonstration::run() }
}
