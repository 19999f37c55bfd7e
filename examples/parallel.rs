//! `xargs -P`: runs a command for each argument, several at a time. On Tokio, multi-thread.
//!
//! It shows children in tasks of their own, each with its output in one piece.
//!
//! ```text
//! cargo run --example parallel                                     # a demonstration
//! ls | cargo run --example parallel -- -P 4 sha256sum
//! ```

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::iter;
use std::num::NonZero;
use std::process::{ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lexopt::prelude::*;
use pidfd_reaper::tokio::Command;
use tokio::task::JoinSet;

const USAGE: &str = "Usage: parallel [-P NUMBER] COMMAND [ARGUMENT]... <LINES

Runs COMMAND with each line of standard input as its last argument, NUMBER of them at a time (as
many as there are processors). The status is 0 if all succeeded, 123 if one failed, 126 if COMMAND
cannot be run, 127 if it is not found, and 1 after any other error.";

// The statuses of xargs.
const FAILED: u8 = 123;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What is to be run.
struct Plan {
    command: Vec<OsString>,
    lines: Vec<String>,
    at_a_time: usize,
}

/// What came of one line.
struct Done {
    line: String,
    output: Output,
    time: Duration,
}

#[derive(Default)]
struct Summary {
    succeeded: u32,
    failed: u32,
    slowest: Option<(Duration, String)>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let plan = match Plan::parse() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("parallel: {error}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match plan.run().await {
        Ok(summary) => {
            println!("{summary}");
            if summary.failed == 0 { ExitCode::SUCCESS } else { FAILED.into() }
        }
        Err(error) => {
            eprintln!("parallel: {:?}: {error}", plan.command[0]);
            match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND.into(),
                _ => CANNOT_BE_RUN.into(),
            }
        }
    }
}

impl Plan {
    fn parse() -> Result<Self, lexopt::Error> {
        let mut at_a_time = thread::available_parallelism().map_or(1, NonZero::get);
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Short('P') => at_a_time = args.value()?.parse::<NonZero<usize>>()?.get(),
                Value(program) => {
                    let command = iter::once(program).chain(args.raw_args()?).collect();
                    let lines = io::stdin().lines().collect::<Result<_, _>>();
                    let lines = lines.map_err(|error| format!("standard input: {error}"))?;
                    return Ok(Self { command, lines, at_a_time });
                }
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Self::demonstration(at_a_time))
    }

    /// Twelve children that sleep for tenths of a second.
    fn demonstration(at_a_time: usize) -> Self {
        let command = ["sh", "-c", "sleep 0.$0; echo slept for 0.$0 seconds"].map(Into::into);
        let lines = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 1, 2].map(|tenths| tenths.to_string());
        Self { command: command.into(), lines: lines.into(), at_a_time }
    }

    /// Runs it all. An error is that of a command that could not be started; those that run then are
    /// abandoned.
    async fn run(&self) -> io::Result<Summary> {
        let bar = progress_bar(self.lines.len());
        let mut summary = Summary::default();
        let mut running = JoinSet::new();
        let mut lines = self.lines.iter();
        loop {
            while running.len() < self.at_a_time {
                let Some(line) = lines.next() else { break };
                running.spawn(run(self.command.clone(), line.clone()));
            }
            let Some(done) = running.join_next().await else { break };
            let done = done.expect("a task neither panics nor is cancelled")?;
            bar.suspend(|| done.print())?;
            bar.inc(1);
            summary.add(done);
        }
        bar.finish_and_clear();
        Ok(summary)
    }
}

async fn run(command: Vec<OsString>, line: String) -> io::Result<Done> {
    let start = Instant::now();
    let output = Command::new(&command[0])
        .args(&command[1..])
        .arg(&line)
        .stdin(Stdio::null())
        .output()
        .await?;
    Ok(Done { line, output, time: start.elapsed() })
}

impl Done {
    /// In one piece, whatever the others write.
    fn print(&self) -> io::Result<()> {
        io::stdout().write_all(&self.output.stdout)?;
        io::stderr().write_all(&self.output.stderr)
    }
}

impl Summary {
    fn add(&mut self, done: Done) {
        if done.output.status.success() {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        self.slowest = self.slowest.take().max(Some((done.time, done.line)));
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} succeeded, {} failed", self.succeeded, self.failed)?;
        match &self.slowest {
            Some((time, line)) => write!(f, "; the slowest, {line:?}, took {time:.2?}"),
            None => Ok(()),
        }
    }
}

/// It draws nothing where standard error is no terminal.
fn progress_bar(lines: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed}");
    ProgressBar::new(lines as u64).with_style(style.expect("the template is right"))
}
