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
//!
//! All three of these reap, forward and end with the command's code, or 128 and its signal, and are
//! held to it by the same tests (`tests/subreaper`). What differs, as measured:
//!
//! | | this | tini 0.19 | catatonit 0.1.7 |
//! |---|---|---|---|
//! | not as PID 1 | a child subreaper | with `-s` | a child subreaper |
//! | a signal's queued value and sender | kept | lost | lost |
//! | `SIGTSTP`, `SIGTTIN`, `SIGTTOU` sent to it | forwarded | the first one | none |
//! | started with `SIGCHLD` ignored | the status comes out | never ends | ends at once with 1 |
//! | descriptors that it keeps open | none | all | the first three |
//! | its working directory | `/` | as started | as started |
//! | wakes up in idleness | never | once a second | never |
//! | takes the terminal | if started in its foreground | always | always |
//! | gives it back at the end | yes | no | no |
//! | Ctrl-Z under a shell | the shell goes on | the shell hangs | has no effect |
//! | no such command; no permission | 127; 126 | 127; 126 | 1; 1 |
//! | the command's signal mask | as started | as started | three more signals |
//! | the command's `SIGPIPE` | the default (`exec` of std) | as started | as started |
//! | its share of memory (Pss) | 0.7 MB | 0.2 MB | 0.7 MB |

mod command;
mod demonstration;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    if env::args_os().len() > 1 { command::run(env::args_os()) } else { demonstration::run() }
}
