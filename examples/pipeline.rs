//! A shell's pipeline: each child writes into the next one, with nobody in between. On smol.
//!
//! It shows how a child's pipe becomes another child's input, and that all of them are waited for.
//!
//! ```text
//! cargo run --example pipeline                                # a demonstration
//! cargo run --example pipeline -- 'cat /etc/services' 'grep tcp' 'wc -l'
//! ```

use std::env;
use std::io;
use std::process::{ExitCode, Stdio};

use futures_lite::AsyncReadExt;
use pidfd_reaper::smol::{Child, ChildStdout, Command};

fn main() -> io::Result<ExitCode> {
    let mut commands: Vec<String> = env::args().skip(1).collect();
    if commands.is_empty() {
        let text = "echo 'one fish two fish red fish blue fish'";
        commands = [text, "tr ' ' '\\n'", "sort", "uniq -c"].map(String::from).into();
    }
    smol::block_on(run(&commands))
}

/// Prints what comes out at the end, and how each command ended. It succeeds if all of them did.
async fn run(commands: &[String]) -> io::Result<ExitCode> {
    let (children, end) = start(commands)?;
    let mut output = String::new();
    if let Some(mut end) = end {
        end.read_to_string(&mut output).await?;
    }
    print!("{output}");

    let mut all_succeeded = true;
    for (command, mut child) in commands.iter().zip(children) {
        let status = child.wait().await?;
        println!("{command}: {status}");
        all_succeeded &= status.success();
    }
    Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the commands from left to right, and returns where the last one's output comes out.
fn start(commands: &[String]) -> io::Result<(Vec<Child>, Option<ChildStdout>)> {
    let mut children = Vec::new();
    let mut end: Option<ChildStdout> = None;
    for command in commands {
        let input = end.take().map_or(Ok(Stdio::inherit()), Stdio::try_from)?;
        let mut child =
            Command::new("sh").args(["-c", command]).stdin(input).stdout(Stdio::piped()).spawn()?;
        end = child.stdout.take();
        children.push(child);
    }
    Ok((children, end))
}
