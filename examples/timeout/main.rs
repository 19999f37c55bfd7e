//! timeout(1): runs a command, and ends it when its time is over. On Tokio, current-thread.
//!
//! It shows a child with a process group of its own, a grace period that the whole group has, waits
//! that are cancelled and taken up again, and signals that are passed on.
//!
//! ```text
//! cargo run --example timeout                          # a demonstration
//! cargo run --example timeout -- 2 sleep 60
//! cargo run --example timeout -- -k 1.5 2m make check  # SIGKILL, 1.5 seconds after SIGTERM
//! cargo run --example timeout -- --help
//! ```
//!
//! Options, statuses and messages are those of coreutils, whose tests it passes in
//! `tests/examples/timeout.rs`. What differs:
//!
//! | | this | coreutils 9.1 |
//! |---|---|---|
//! | process group | the command's own; timeout stays in its caller's | timeout's own, with the command in it |
//! | Ctrl-C in a script | ends the command and, by `SIGINT`, the script | has no effect on either |
//! | a command that reads the terminal | gets it, if timeout is in the foreground | the same, if timeout leads its group |
//! | with `-k`, others of the group after the command's exit | have the rest of the grace period, then `SIGKILL` | are left alone |
//! | Ctrl-Z | stops both, by `SIGSTOP` for timeout | stops both, by `SIGTSTP` |
//! | at `SIGKILL` | exits with 137 | is killed itself, unless `--foreground` |
//! | `timeout 9 setsid COMMAND` | `setsid` forks, since it leads a group, and is not waited for | `setsid` becomes COMMAND |
//! | a command that cannot be signalled (`EPERM`) | is reported | is not |
//! | real-time signals, hexadecimal times, shortened options | are errors | are accepted |
//! | without arguments | runs the demonstration | is an error |

mod options;
mod run;
#[path = "../shared/signals.rs"]
mod signals;
mod terminal;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use options::{Options, Request};
use run::{OWN_FAILURE, Outcome, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let status = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Request::Run(options)) => run(&options).await.exit(),
        Ok(Request::Demonstrate) => demonstrate().await.unwrap_or_else(|error| fail(&error)),
        Ok(Request::Print(text)) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => 0,
            Err(error) => fail(&error),
        },
        Err(error) => fail(&format!("{error}\nTry 'timeout --help' for more information.")),
    };
    ExitCode::from(status)
}

fn fail(error: &dyn Display) -> u8 {
    report(error);
    OWN_FAILURE
}

/// Writes to standard error, where a failure (`ENOSPC`, `EPIPE`) must not end the program.
fn report(message: impl Display) {
    let _ = writeln!(io::stderr(), "timeout: {message}");
}

/// Runs each command for a fifth of a second, and kills it after another.
async fn demonstrate() -> io::Result<u8> {
    let commands = [
        "exit 7",
        "sleep 60",
        "(sleep 60; echo too late) | cat",
        "trap '' TERM; while true; do sleep 0.01; done",
        "kill -USR1 $$",
    ];
    for command in commands {
        let time = Some(Duration::from_millis(200));
        let command_line = ["sh", "-c", command].map(OsString::from).to_vec();
        let options = Options { grace: time, ..Options::new(time, command_line) };
        let outcome: Outcome = run(&options).await;
        writeln!(io::stdout(), "{:>3}  {command}", outcome.code())?;
    }
    Ok(0)
}
