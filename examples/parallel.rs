//! `xargs -P`: runs a command for each argument, several at a time. On Tokio, multi-thread.
//!
//! It shows children in tasks of their own, each with its output in one piece.
//!
//! ```text
//! cargo run --example parallel                                     # a demonstration
//! ls | cargo run --example parallel -- -P 4 sha256sum
//! find . -print0 | cargo run --example parallel -- -0 sha256sum
//! ```
//!
//! Statuses are those of xargs from findutils; `tests/examples/parallel.rs` compares them. What
//! differs:
//!
//! - It runs a command for each line, as `xargs -d '\n' -L 1` does: blanks, quotes and backslashes
//!   are part of the argument. Without input it runs none, as `xargs -r` does.
//! - The output of each command is written in one piece, after its exit.
//! - Without `-P` it runs as many at a time as there are processors; in xargs that is one.
//! - Without arguments it runs the demonstration; xargs runs `echo`.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, BufRead, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{iter, mem};

use indicatif::{ProgressBar, ProgressStyle};
use lexopt::prelude::*;
use pidfd_reaper::tokio::Command;
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const USAGE: &str = "Usage: parallel [OPTION]... COMMAND [ARGUMENT]... <LINES

Runs COMMAND with each line of standard input as its last argument.

  -0, --null            the input is separated by NUL, not by newlines
  -P, --max-procs=MAX   run no more than MAX at a time; 0 is no limit; the
                        default is the number of processors
  -v, --verbose         print a summary on standard error at the end
  -h, --help            print this help
      --version         print the version

The status is
  0    if all succeeded
  123  if one has exited with 1 to 125
  124  if one has exited with 255; no more are started then
  125  if one was killed by a signal; no more are started then
  126  if COMMAND cannot be run
  127  if COMMAND is not found
  1    after any other error";

// The statuses of xargs.
const OWN_FAILURE: u8 = 1;
const FAILED: u8 = 123;
const ABORTED: u8 = 124;
const SIGNALLED: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

fn main() -> ExitCode {
    let plan = match Plan::parse() {
        Ok(Request::Run(plan)) => plan,
        Ok(Request::Print(text)) => {
            return match writeln!(io::stdout(), "{text}") {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => Stop::output(&error).report().into(),
            };
        }
        Err(error) => {
            report(format_args!("{error}\nTry 'parallel --help' for more information."));
            return OWN_FAILURE.into();
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            report(error);
            return OWN_FAILURE.into();
        }
    };
    let status = runtime.block_on(plan.run());
    status.into()
}

/// Writes to standard error, where a failure (`ENOSPC`, `EPIPE`) must not end the program.
fn report(message: impl Display) {
    let _ = writeln!(io::stderr(), "parallel: {message}");
}

enum Request {
    Run(Plan),
    Print(String),
}

/// What is to be run.
struct Plan {
    command: Vec<OsString>,
    input: Input,
    at_a_time: usize,
    verbose: bool,
}

enum Input {
    Stdin { separator: u8 },
    Lines(Vec<OsString>),
}

impl Plan {
    fn parse() -> Result<Request, lexopt::Error> {
        let mut at_a_time = thread::available_parallelism().map_or(1, NonZero::get);
        let mut separator = b'\n';
        let mut verbose = false;
        let mut args = lexopt::Parser::from_env();
        let mut is_empty = true;
        while let Some(arg) = args.next()? {
            is_empty = false;
            match arg {
                Short('0') | Long("null") => separator = 0,
                Short('P') | Long("max-procs") => {
                    at_a_time = match args.value()?.parse()? {
                        0 => usize::MAX,
                        max => max,
                    };
                }
                Short('v') | Long("verbose") => verbose = true,
                Short('h') | Long("help") => return Ok(Request::Print(USAGE.into())),
                Long("version") => {
                    return Ok(Request::Print(format!("parallel {}", env!("CARGO_PKG_VERSION"))));
                }
                Value(program) => {
                    let command = iter::once(program).chain(args.raw_args()?).collect();
                    let input = Input::Stdin { separator };
                    return Ok(Request::Run(Self { command, input, at_a_time, verbose }));
                }
                _ => return Err(arg.unexpected()),
            }
        }
        if is_empty {
            Ok(Request::Run(Self::demonstration(at_a_time)))
        } else {
            Err("missing command".into())
        }
    }

    /// Twelve children that sleep for tenths of a second.
    fn demonstration(at_a_time: usize) -> Self {
        let command = ["sh", "-c", "sleep 0.$0; echo slept for 0.$0 seconds"].map(Into::into);
        let lines = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 1, 2].map(|tenths| tenths.to_string().into());
        let input = Input::Lines(lines.into());
        Self { command: command.into(), input, at_a_time, verbose: true }
    }

    /// Runs it all, and returns the status to exit with. After an error no more are started; those
    /// that run are waited for, and their output is written.
    async fn run(mut self) -> u8 {
        let mut lines = mem::replace(&mut self.input, Input::Lines(Vec::new())).read();
        let mut results = Results::new();
        let mut running = JoinSet::new();
        let mut has_more = true;
        loop {
            let can_start = has_more && results.stop.is_none() && running.len() < self.at_a_time;
            tokio::select! {
                biased;
                Some(done) = running.join_next() => {
                    results.add(done.expect("a task neither panics nor is cancelled"));
                }
                line = lines.recv(), if can_start => match line {
                    Some(Ok(line)) => {
                        running.spawn(run(self.command.clone(), line));
                    }
                    Some(Err(error)) => results.stop_by(Stop::own("standard input", &error)),
                    None => has_more = false,
                },
                else => break,
            }
        }
        results.status(self.verbose)
    }
}

impl Input {
    /// Lines as they arrive, read by a thread: a read of standard input blocks.
    fn read(self) -> mpsc::Receiver<io::Result<OsString>> {
        let (sender, receiver) = mpsc::channel(16);
        thread::spawn(move || {
            let sent: Box<dyn Iterator<Item = io::Result<OsString>>> = match self {
                Self::Lines(lines) => Box::new(lines.into_iter().map(Ok)),
                Self::Stdin { separator } => {
                    let lines = io::stdin().lock().split(separator);
                    Box::new(lines.map(|line| line.map(OsString::from_vec)))
                }
            };
            for line in sent {
                let is_error = line.is_err();
                if sender.blocking_send(line).is_err() || is_error {
                    break;
                }
            }
        });
        receiver
    }
}

/// What came of one line.
struct Done {
    line: OsString,
    output: Output,
    time: Duration,
}

async fn run(command: Vec<OsString>, line: OsString) -> Result<Done, Stop> {
    let start = Instant::now();
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]).arg(&line);
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().map_err(|error| Stop::spawn(&command, &error))?;
    // This is no failure of the command: its output is lost here.
    let output = child.wait_with_output().await.map_err(|error| Stop::own("a command", &error))?;
    let done = Done { line, output, time: start.elapsed() };
    Ok(done)
}

impl Done {
    /// In one piece, whatever the others write.
    fn write(&self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.output.stdout)?;
        stdout.flush()?;
        // As with `report`.
        let _ = io::stderr().write_all(&self.output.stderr);
        Ok(())
    }
}

/// Why no more are started.
struct Stop {
    status: u8,
    message: String,
}

impl Stop {
    fn own(what: &str, error: &io::Error) -> Self {
        Self { status: OWN_FAILURE, message: format!("{what}: {error}") }
    }

    fn output(error: &io::Error) -> Self {
        Self::own("standard output", error)
    }

    /// An error of the spawn, which may be the command's or that of the fork.
    fn spawn(command: &[OsString], error: &io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let status = match errno {
            Some(Errno::NOENT) => NOT_FOUND,
            // `TOOBIG` is for the line, and no errno for a NUL in it.
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TOOBIG)
            | None => OWN_FAILURE,
            Some(_) => CANNOT_BE_RUN,
        };
        Self { status, message: format!("{}: {error}", command[0].to_string_lossy()) }
    }

    fn report(&self) -> u8 {
        report(&self.message);
        self.status
    }
}

struct Results {
    bar: ProgressBar,
    succeeded: u32,
    failed: u32,
    slowest: Option<(Duration, OsString)>,
    stop: Option<Stop>,
}

impl Results {
    /// The progress is drawn only on a terminal.
    fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {pos} done {elapsed}");
        let bar = ProgressBar::no_length().with_style(style.expect("the template is right"));
        Self { bar, succeeded: 0, failed: 0, slowest: None, stop: None }
    }

    fn add(&mut self, done: Result<Done, Stop>) {
        let done = match done {
            Ok(done) => done,
            Err(stop) => return self.stop_by(stop),
        };
        if let Err(error) = self.bar.suspend(|| done.write()) {
            self.stop_by(Stop::output(&error));
        }
        self.bar.inc(1);
        let status = done.output.status;
        if status.success() {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        let line = done.line.to_string_lossy();
        if let Some(signal) = status.signal() {
            let message = format!("{line}: terminated by signal {signal}");
            self.stop_by(Stop { status: SIGNALLED, message });
        } else if status.code() == Some(255) {
            let message = format!("{line}: exited with status 255; aborting");
            self.stop_by(Stop { status: ABORTED, message });
        }
        self.slowest = self.slowest.take().max(Some((done.time, done.line)));
    }

    /// The first reason is the status.
    fn stop_by(&mut self, stop: Stop) {
        self.bar.suspend(|| stop.report());
        self.stop.get_or_insert(stop);
    }

    fn status(&self, verbose: bool) -> u8 {
        self.bar.finish_and_clear();
        if verbose {
            report(self);
        }
        match &self.stop {
            Some(stop) => stop.status,
            None if self.failed > 0 => FAILED,
            None => 0,
        }
    }
}

impl Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} succeeded, {} failed", self.succeeded, self.failed)?;
        match &self.slowest {
            Some((time, line)) => write!(f, "; the slowest, {line:?}, took {time:.2?}"),
            None => Ok(()),
        }
    }
}
