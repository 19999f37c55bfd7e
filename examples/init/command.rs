//! The init itself.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use lexopt::prelude::*;
use pidfd_reaper::{KillScope, Signal, Subreaper};

const USAGE: &str = "Usage: init [-g] [-k] [--] COMMAND [ARGUMENT]...

Runs COMMAND, reaps what its descendants orphan, and ends with its status.

  -g, --group  pass signals on to the whole process group of COMMAND
  -k, --kill   have the kernel kill COMMAND if init is killed";

const OWN_FAILURE: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

struct Init {
    subreaper: Subreaper,
    command: Vec<OsString>,
}

/// It comes back only if the command could not be run; the guard then ends with the same status.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let status = match Init::parse(args) {
        Ok(init) => init.become_command(),
        Err(error) => {
            eprintln!("init: {error}\n{USAGE}");
            OWN_FAILURE
        }
    };
    ExitCode::from(status)
}

impl Init {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut args = lexopt::Parser::from_iter(args);
        let mut subreaper = Subreaper::new();
        while let Some(arg) = args.next()? {
            match arg {
                Short('g') | Long("group") => subreaper = subreaper.forward_to(KillScope::Group),
                Short('k') | Long("kill") => subreaper = subreaper.die_with_guard(Signal::KILL),
                Value(program) => {
                    let mut command = vec![program];
                    command.extend(args.raw_args()?);
                    return Ok(Self { subreaper, command });
                }
                _ => return Err(arg.unexpected()),
            }
        }
        Err("no command".into())
    }

    /// The status to exit with if it did not become the command.
    fn become_command(&self) -> u8 {
        if let Err(error) = self.subreaper.guard() {
            eprintln!("init: {error}");
            return OWN_FAILURE;
        }
        let (program, args) = self.command.split_first().expect("a command was parsed");
        let error = Command::new(program).args(args).exec();
        eprintln!("init: {program:?}: {error}");
        if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_BE_RUN }
    }
}
