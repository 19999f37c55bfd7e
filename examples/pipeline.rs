//! A shell's pipeline: each child writes into the next one, with no process in between. On smol.
//!
//! It shows how a child's pipe becomes another child's input, and that all of them are waited for.
//!
//! ```text
//! cargo run --example pipeline                                # a demonstration
//! cargo run --example pipeline -- 'cat /etc/services' 'grep tcp' 'wc -l'
//! ```
//!
//! The output of the last command goes to standard output, and how each of them exited to standard
//! error. The status is 0 if all succeeded, 1 if one did not, and 125 if the pipeline itself failed:
//! if it cannot write the output, for example. Then the commands find their pipe closed, and are
//! still waited for.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{ExitCode, Stdio};

use futures_lite::AsyncReadExt;
use pidfd_reaper::smol::{Child, ChildStdout, Command};

const A_COMMAND_FAILED: u8 = 1;
const OWN_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let mut commands: Vec<OsString> = env::args_os().skip(1).collect();
    if commands.is_empty() {
        let text = "echo 'one fish two fish red fish blue fish'";
        commands = [text, "tr ' ' '\\n'", "sort", "uniq -c"].map(OsString::from).into();
    }
    smol::block_on(run(&commands)).into()
}

/// The status to exit with; errors are reported on standard error.
async fn run(commands: &[OsString]) -> u8 {
    let (children, started) = start(commands);
    let copied = match started {
        Ok(Some(end)) => copy(end).await,
        Ok(None) => Ok(()),
        Err(error) => Err(of("a command cannot be started", &error)),
    };
    // The pipe is closed by now, so no command waits for a reader.
    let mut status = match copied {
        Ok(()) => 0,
        Err(error) => fail(&error),
    };
    for (command, mut child) in commands.iter().zip(children) {
        match child.wait().await {
            Ok(exit) => {
                if !exit.success() && status == 0 {
                    status = A_COMMAND_FAILED;
                }
                // The command's bytes as they are. A failure here must not end the program.
                let line = [command.as_bytes(), format!(": {exit}\n").as_bytes()].concat();
                let _ = io::stderr().write_all(&line);
            }
            Err(error) => status = fail(&error),
        }
    }
    status
}

/// Starts the commands from left to right. Returns those that were started, and where the output of
/// the last one comes out.
fn start(commands: &[OsString]) -> (Vec<Child>, io::Result<Option<ChildStdout>>) {
    let mut children = Vec::new();
    let mut end: Option<ChildStdout> = None;
    for command in commands {
        let mut child = Command::new("sh");
        child.arg("-c").arg(command).stdout(Stdio::piped());
        let input = end.take().map_or(Ok(Stdio::inherit()), Stdio::try_from);
        match input.and_then(|input| child.stdin(input).spawn()) {
            Ok(mut child) => {
                end = child.stdout.take();
                children.push(child);
            }
            Err(error) => return (children, Err(error)),
        }
    }
    (children, Ok(end))
}

/// Copies to standard output, until the end or until that cannot be written.
async fn copy(mut from: ChildStdout) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.map_err(|error| of("the last pipe", &error))?;
        if length == 0 {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&buffer[..length]).and_then(|()| stdout.flush());
        written.map_err(|error| of("standard output", &error))?;
    }
}

fn of(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn fail(error: &dyn Display) -> u8 {
    let _ = writeln!(io::stderr(), "pipeline: {error}");
    OWN_FAILURE
}
