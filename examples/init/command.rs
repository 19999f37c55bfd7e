//! The init itself: its command line, and how it becomes the command.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use lexopt::prelude::*;
use pidfd_reaper::{KillScope, Signal, Subreaper};
use rustix::process::{getpid, getppid, kill_process, set_parent_process_death_signal};

const USAGE: &str = "Usage: init [OPTION]... [--] COMMAND [ARGUMENT]...

Runs COMMAND, forwards signals to it, reaps orphans, and ends with its status.

  -g, --group          forward signals to the whole process group of COMMAND
  -c, --single-child   forward signals to COMMAND alone; same as --no-grace
  -r, --rewrite S:R    forward signal R where S has arrived; 0 for none
  -e CODE              exit with 0 if COMMAND exits with CODE, or if it dies of
                       the signal CODE - 128
      --grace SECONDS  when COMMAND has exited, send SIGTERM to the processes
                       that remain, and SIGKILL to those that remain after
                       SECONDS; 5 as PID 1
      --no-grace       leave them to the kernel; the default if not PID 1
  -k, --kill           kill COMMAND if init is killed
  -p SIGNAL            get SIGNAL when the parent of init exits
  -s, -v, -w           no effect: it always is a subreaper, and never prints
  -h, --help           print this help
  -V, --version        print the version

A signal is a number or a name: 15, TERM or SIGTERM.

tini knows -g, -s, -p, -e, -v, -w and --version; dumb-init knows -c, -r, -v, -h
and -V, and forwards to the group unless -c is given. Their environment
variables have no effect.";

const OWN_FAILURE: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Those that a signal can be named for.
const SIGNALS: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

enum Request {
    Run(Init),
    Print(String),
}

struct Init {
    subreaper: Subreaper,
    parent_death_signal: Option<Signal>,
    command: Vec<OsString>,
}

/// It returns only if the command could not be run; the guard then ends with the same status.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let status = match parse(args) {
        Ok(Request::Run(init)) => init.become_command(),
        Ok(Request::Print(text)) => {
            println!("{text}");
            0
        }
        Err(error) => {
            eprintln!("init: {error}\n{USAGE}");
            OWN_FAILURE
        }
    };
    ExitCode::from(status)
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, lexopt::Error> {
    let mut args = lexopt::Parser::from_iter(args);
    let mut subreaper = Subreaper::new();
    let mut parent_death_signal = None;
    while let Some(arg) = args.next()? {
        subreaper = match arg {
            Short('g') | Long("group") => subreaper.forward_to(KillScope::Group),
            Short('c') | Long("single-child") => subreaper.forward_to(KillScope::Child).no_grace(),
            Short('r') | Long("rewrite") => {
                let (received, sent) = args.value()?.parse_with(rewriting)?;
                match sent {
                    Some(sent) => subreaper.forward_as(received, sent),
                    None => subreaper.discard(received),
                }
            }
            Short('e') => subreaper.success_code(args.value()?.parse()?),
            Long("grace") => subreaper.grace(args.value()?.parse_with(seconds)?),
            Long("no-grace") => subreaper.no_grace(),
            Short('k') | Long("kill") => subreaper.die_with_guard(Signal::KILL),
            Short('p') => {
                parent_death_signal = Some(args.value()?.parse_with(signal)?);
                subreaper
            }
            Short('s' | 'v' | 'w') | Long("verbose") => subreaper,
            Short('h') | Long("help") => return Ok(Request::Print(USAGE.into())),
            Short('V') | Long("version") => {
                return Ok(Request::Print(format!("init {}", env!("CARGO_PKG_VERSION"))));
            }
            Value(program) => {
                let mut command = vec![program];
                command.extend(args.raw_args()?);
                return Ok(Request::Run(Init { subreaper, parent_death_signal, command }));
            }
            _ => return Err(arg.unexpected()),
        };
    }
    Err("no command".into())
}

impl Init {
    /// The status to exit with if it did not become the command.
    fn become_command(&self) -> u8 {
        // It is set for the process that becomes the guard, and not inherited by the command.
        let bound = self.parent_death_signal.map_or(Ok(()), bind_to_parent);
        if let Err(error) = bound.and_then(|()| self.subreaper.guard()) {
            eprintln!("init: {error}");
            return OWN_FAILURE;
        }
        let (program, args) = self.command.split_first().expect("a command was parsed");
        let error = Command::new(program).args(args).exec();
        eprintln!("init: {program:?}: {error}");
        if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_BE_RUN }
    }
}

/// Makes the kernel send `signal` to this process when its parent exits.
fn bind_to_parent(signal: Signal) -> io::Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(signal))?;
    // The kernel sends nothing for a parent that exited before.
    if getppid() != parent {
        kill_process(getpid(), signal)?;
    }
    Ok(())
}

/// `S:R`; `None` for an `R` of 0.
fn rewriting(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (received, sent) = text.split_once(':').ok_or("not of the form S:R")?;
    let sent = if sent == "0" { None } else { Some(signal(sent)?) };
    Ok((signal(received)?, sent))
}

fn signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let mut named = SIGNALS.into_iter();
    named
        .find(|(own, signal)| *own == name || signal.as_raw().to_string() == text)
        .map(|(_, signal)| signal)
        .ok_or_else(|| format!("no signal {text:?}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
