//! timeout(1): runs a command, and ends it when its time is over. On Tokio, current-thread.
//!
//! It shows that a wait may be cancelled and taken up again, and how signals are sent.
//!
//! ```text
//! cargo run --example timeout                          # a demonstration
//! cargo run --example timeout -- 2 sleep 60
//! cargo run --example timeout -- -k 1.5 2m make check  # SIGKILL, 1.5 seconds after SIGTERM
//! ```

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use lexopt::prelude::*;
use pidfd_reaper::tokio::Reaper;
use pidfd_reaper::{Process, Signal};
use tokio::time;

const USAGE: &str = "Usage: timeout [-k GRACE] TIME COMMAND [ARGUMENT]...

Sends SIGTERM to COMMAND after TIME, and SIGKILL after GRACE more. Both are numbers of seconds, or
with a suffix of minutes (m), hours (h) or days (d). TIME 0 means no end.";

// The statuses of coreutils; every other one is the command's own.
const TIMED_OUT: u8 = 124;
const OWN_FAILURE: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
const SIGNALLED: u8 = 128;
const KILLED: u8 = SIGNALLED + 9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let status = match Timeout::parse() {
        Ok(Some(timeout)) => timeout.run().await,
        Ok(None) => demonstrate().await,
        Err(error) => {
            eprintln!("timeout: {error}\n{USAGE}");
            OWN_FAILURE
        }
    };
    ExitCode::from(status)
}

struct Timeout {
    time: Duration,
    grace: Option<Duration>,
    command: Vec<OsString>,
}

impl Timeout {
    /// `None` without any arguments.
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        let mut args = lexopt::Parser::from_env();
        let mut grace = None;
        while let Some(arg) = args.next()? {
            match arg {
                Short('k') | Long("kill-after") => {
                    grace = Some(args.value()?.parse_with(duration)?);
                }
                Value(time) => {
                    let time = time.parse_with(duration)?;
                    let command: Vec<_> = args.raw_args()?.collect();
                    if command.is_empty() {
                        return Err("no command".into());
                    }
                    return Ok(Some(Self { time, grace, command }));
                }
                _ => return Err(arg.unexpected()),
            }
        }
        if grace.is_some() { Err("no time".into()) } else { Ok(None) }
    }

    /// The status to exit with; errors are told on standard error.
    async fn run(&self) -> u8 {
        let (program, args) = self.command.split_first().expect("a command was parsed");
        let child = match Command::new(program).args(args).spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("timeout: {program:?}: {error}");
                let not_found = error.kind() == io::ErrorKind::NotFound;
                return if not_found { NOT_FOUND } else { CANNOT_BE_RUN };
            }
        };
        let ended = match Process::try_from(child) {
            Ok(process) => self.see_to_its_end(process).await,
            Err(error) => Err(error),
        };
        ended.unwrap_or_else(|error| {
            eprintln!("timeout: {error}");
            OWN_FAILURE
        })
    }

    async fn see_to_its_end(&self, child: Process) -> io::Result<u8> {
        let mut child = Reaper::new(child);
        if self.time.is_zero() {
            return child.await.map(status);
        }
        // What ends early here is the waiting, not the child: nothing of it is lost.
        if let Ok(ended) = time::timeout(self.time, &mut child).await {
            return ended.map(status);
        }
        child.signal(Signal::TERM)?;
        // One that is stopped takes the signal only when it goes on.
        child.signal(Signal::CONT)?;
        if let Some(grace) = self.grace {
            if time::timeout(grace, &mut child).await.is_err() {
                child.signal(Signal::KILL)?;
                child.await?;
                return Ok(KILLED);
            }
        }
        child.await?;
        Ok(TIMED_OUT)
    }
}

/// The status of a command that ended in time, as a shell gives it.
fn status(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| Some(i32::from(SIGNALLED) + ended.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OWN_FAILURE)
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        unit => return Err(format!("no unit {unit:?}")),
    };
    let seconds = number.parse::<f64>().map_err(|error| format!("{number:?}: {error}"))?;
    Duration::try_from_secs_f64(seconds * unit).map_err(|error| error.to_string())
}

/// Runs each command for a fifth of a second, and SIGKILLs it after another.
async fn demonstrate() -> u8 {
    let commands =
        ["exit 7", "sleep 60", "trap '' TERM; while true; do sleep 0.01; done", "kill -USR1 $$"];
    for command in commands {
        let time = Duration::from_millis(200);
        let command_line = ["sh", "-c", command].map(OsString::from).to_vec();
        let timeout = Timeout { time, grace: Some(time), command: command_line };
        println!("{:>3}  {command}", timeout.run().await);
    }
    0
}
