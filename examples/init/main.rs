//! A container's PID 1: forwards signals, reaps orphans, ends with its command's status.
//!
//! It shows [`Subreaper`](pidfd_reaper::Subreaper): two processes, of which the first stays behind
//! as the guard and the second becomes the command. It works as any other process too, as a child
//! subreaper.
//!
//! ```text
//! cargo run --example init                               # a demonstration
//! cargo run --example init -- sh -c 'sleep 1 & exit 7'
//! cargo run --example init -- -g -- my-server --port 80  # signals to the command's whole group
//! cargo run --example init -- -r TERM:QUIT -e 143 --grace 8 -- my-server
//! cargo run --example init -- --help
//! ```
//!
//! All four of these reap, forward and end with the command's code, and run the same tests
//! (`tests/subreaper`). What differs, as measured:
//!
//! | | this | tini 0.19 | catatonit 0.1.7 | dumb-init 1.2.5 |
//! |---|---|---|---|---|
//! | not as PID 1 | a child subreaper | with `-s` | a child subreaper | reaps no orphans |
//! | the command died of a signal | dies of it; 128 + n as PID 1 | 128 + n | 128 + n | 128 + n |
//! | a script in bash on Ctrl-C | ends | continues | continues | continues |
//! | processes that remain, as PID 1 | `SIGTERM`, up to 5 s | killed | killed | `SIGTERM`, killed |
//! | signals go to | the command, with `-g` its group | the same | the same | the group, with `-c` the command |
//! | a signal's queued value and sender | kept | lost | lost | lost |
//! | started with `SIGCHLD` ignored | the status comes out | never ends | ends at once with 1 | the status comes out |
//! | its working directory | `/` | as started | as started | `/` |
//! | no such command; no permission | 127; 126 | 127; 126 | 1; 1 | 2; 2 |
//! | its share of memory (Pss) | 0.8 MB | 0.2 MB | 0.7 MB | 0.2 MB |
//!
//! | | this | tini 0.19 | catatonit 0.1.7 |
//! |---|---|---|---|
//! | `SIGTSTP`, `SIGTTIN`, `SIGTTOU` sent to it | forwarded | the first one | none |
//! | descriptors that it keeps open | none | all | the first three |
//! | wakes up in idleness | never | once a second | never |
//! | takes the terminal | if started in its foreground | always | always |
//! | gives it back at the end | yes | no | no |
//! | Ctrl-Z under a shell | the shell continues both | the shell hangs | has no effect |
//! | the command's signal mask | as started | as started | three more signals |
//! | the command's `SIGPIPE` | the default (`exec` of std) | as started | as started |
//!
//! The options have the letters of tini and dumb-init where they mean the same, so that a container's
//! entry point can be moved. What differs:
//!
//! - `-s` is always on. `-v` and `-w` are accepted and print nothing: the guard has closed its
//!   standard error. tini's `-l` and the environment variables of both are not known.
//! - `-c` means the command alone, as in dumb-init. `-g` is not the default, as in tini.
//! - `-r` takes names and numbers. dumb-init replaces `SIGTSTP`, `SIGTTIN` and `SIGTTOU` by
//!   `SIGSTOP` unless asked otherwise, and stops itself on them; this forwards them.
//! - The command does not get a session of its own, as dumb-init gives it, but a process group.
//! - `--help` goes to standard output; without an argument the demonstration runs.

mod command;
mod demonstration;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    if env::args_os().len() > 1 { command::run(env::args_os()) } else { demonstration::run() }
}
