//! waitpid(1): waits until processes have exited, which need not be its children. On Tokio,
//! current-thread.
//!
//! It shows how foreign processes are waited for by a pidfd, and what the kernel shows of their
//! exit.
//!
//! ```text
//! cargo run --example waitpid                            # a demonstration
//! cargo run --example waitpid -- -v 4711 4712
//! cargo run --example waitpid -- --timeout 2.5 --count 1 4711 4712
//! ```
//!
//! Options, statuses and messages are those of util-linux 2.42, whose tests it passes in
//! `tests/examples/waitpid.rs`. What differs:
//!
//! - `--verbose` prints the exit status too, where the kernel keeps it: from Linux 6.15 on, once the
//!   process's parent has reaped it. util-linux prints none.
//! - A timeout is a number of seconds, and has no units.
//! - Without arguments it runs the demonstration; in util-linux that is an error.

use std::fmt::{Debug, Display};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use lexopt::prelude::*;
use pidfd_reaper::tokio::{exit_status, exited};
use pidfd_reaper::{Pidfd, Signal};
use rustix::fs::fstat;
use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time;

const USAGE: &str = "Usage: waitpid [OPTION]... PID[:INODE]...

Waits until all processes have exited. A zombie has.

  -v, --verbose          print who has exited, and the status where the kernel
                         keeps it
  -t, --timeout=SECONDS  wait no longer than that; 0 is no limit
  -c, --count=COUNT      wait for so many of them only
  -e, --exited           accept a PID that no process has any more
  -h, --help             print this help
  -V, --version          print the version

INODE is that of the process's pidfd (Linux 6.9), which is never reused.

The status is 0 if they have exited, 1 after an error, 2 if the kernel has no
pidfds, and 3 after the timeout.";

const EXITED: u8 = 0;
const FAILED: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const TIMED_OUT: u8 = 3;

/// How long a verbose wait waits for the parent of a process to reap it, which makes the kernel show
/// the status. It may never do that.
const REAPING: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let status = match Plan::parse(lexopt::Parser::from_env()) {
        Ok(Request::Wait(plan)) => plan.run(|| ()).await,
        Ok(Request::Print(text)) => print(text).map_or_else(|error| fail(&error), |()| EXITED),
        Ok(Request::Demonstrate) => demonstrate().await.unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&format!("{error}\nTry 'waitpid --help' for more information.")),
    };
    ExitCode::from(status)
}

fn fail(error: &dyn Display) -> u8 {
    report(error);
    FAILED
}

/// Writes to standard error, where a failure (`ENOSPC`, `EPIPE`) must not end the program.
fn report(message: impl Display) {
    let _ = writeln!(io::stderr(), "waitpid: {message}");
}

fn print(message: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{message}")
        .map_err(|error| io::Error::new(error.kind(), format!("standard output: {error}")))
}

enum Request {
    Wait(Plan),
    Print(String),
    Demonstrate,
}

#[derive(Default)]
struct Plan {
    verbose: bool,
    timeout: Option<Duration>,
    count: Option<usize>,
    allows_exited: bool,
    processes: Vec<Id>,
}

/// A PID, which may have been reused, and the inode that its pidfd must have.
#[derive(Clone, Copy)]
struct Id {
    pid: u32,
    inode: Option<u64>,
}

impl Plan {
    fn parse(mut args: lexopt::Parser) -> Result<Request, lexopt::Error> {
        let mut plan = Self::default();
        let mut is_empty = true;
        while let Some(arg) = args.next()? {
            is_empty = false;
            match arg {
                Short('v') | Long("verbose") => plan.verbose = true,
                Short('t') | Long("timeout") => plan.timeout = args.value()?.parse_with(timeout)?,
                Short('c') | Long("count") => plan.count = Some(args.value()?.parse()?),
                Short('e') | Long("exited") => plan.allows_exited = true,
                Short('h') | Long("help") => return Ok(Request::Print(USAGE.into())),
                Short('V') | Long("version") => {
                    return Ok(Request::Print(format!("waitpid {}", env!("CARGO_PKG_VERSION"))));
                }
                Value(id) => plan.processes.push(id.parse_with(id_of)?),
                _ => return Err(arg.unexpected()),
            }
        }
        let processes = plan.processes.len();
        match plan.count {
            _ if is_empty => Ok(Request::Demonstrate),
            _ if processes == 0 => Err("no PIDs specified".into()),
            Some(_) if plan.allows_exited => {
                Err("options --count and --exited exclude each other".into())
            }
            Some(0) => Err("invalid count: 0".into()),
            Some(count) if count > processes => {
                Err(format!("can't wait for {count} of {processes} PIDs").into())
            }
            _ => Ok(Request::Wait(plan)),
        }
    }

    /// The status to exit with; errors are reported on standard error. `opened` is called once each
    /// PID has become a pidfd, from when on PID reuse does no harm.
    async fn run(&self, opened: impl FnOnce()) -> u8 {
        let mut waits = Waits::default();
        for &id in &self.processes {
            match id.open() {
                Ok(pidfd) => waits.add(id.pid, pidfd),
                Err(error) if self.allows_exited && is(&error, Errno::SRCH) => {
                    if self.verbose {
                        report(format_args!("PID {} has exited, skipping", id.pid));
                    }
                }
                Err(error) => {
                    fail(&format!("could not open PID {}: {error}", id.pid));
                    return if is(&error, Errno::NOSYS) { NOT_SUPPORTED } else { FAILED };
                }
            }
        }
        opened();
        let exits = waits.exits(self.count, self.verbose);
        let in_time = match self.timeout {
            Some(timeout) => time::timeout(timeout, exits).await,
            None => Ok(exits.await),
        };
        // Of those that have exited, also after a timeout.
        let printed = waits.print().await;
        match in_time {
            Ok(Ok(())) => printed.map_or_else(|error| fail(&error), |()| EXITED),
            Ok(Err(error)) => fail(&error),
            Err(_) if self.verbose => {
                print("Timeout expired").map_or_else(|error| fail(&error), |()| TIMED_OUT)
            }
            Err(_) => TIMED_OUT,
        }
    }
}

fn timeout(text: &str) -> Result<Option<Duration>, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or_else(|| format!("invalid timeout: '{text}'"))?;
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(time).filter(|time| !time.is_zero()))
}

fn id_of(text: &str) -> Result<Id, String> {
    let (pid, inode) = match text.split_once(':') {
        Some((pid, inode)) => (pid, Some(inode.parse())),
        None => (text, None),
    };
    let inode = inode.transpose().map_err(|error| format!("invalid inode: {error}"))?;
    let pid = pid.parse().map_err(|error| format!("invalid PID: {error}"))?;
    Ok(Id { pid, inode })
}

impl Id {
    fn open(self) -> io::Result<Pidfd> {
        let pidfd = Pidfd::open(self.pid)?;
        match self.inode {
            // The PID was reused: the process that is meant has exited.
            Some(inode) if fstat(&pidfd)?.st_ino != inode => Err(Errno::SRCH.into()),
            _ => Ok(pidfd),
        }
    }
}

/// A task for each process, and, if statuses are printed, one for the line of each that has exited.
#[derive(Default)]
struct Waits {
    waits: JoinSet<io::Result<(u32, Pidfd)>>,
    lines: JoinSet<io::Result<()>>,
}

impl Waits {
    fn add(&mut self, pid: u32, pidfd: Pidfd) {
        self.waits.spawn(async move { exited(&pidfd).await.map(|()| (pid, pidfd)) });
    }

    /// Waits for so many exits.
    async fn exits(&mut self, count: Option<usize>, verbose: bool) -> io::Result<()> {
        for _ in 0..count.unwrap_or(self.waits.len()) {
            let Some(joined) = self.waits.join_next().await else { break };
            let (pid, pidfd) = joined.expect("a task neither panics nor is cancelled")?;
            if verbose {
                self.lines.spawn(line(pid, pidfd));
            }
        }
        Ok(())
    }

    async fn print(&mut self) -> io::Result<()> {
        let mut printed = Ok(());
        while let Some(line) = self.lines.join_next().await {
            printed = printed.and(line.expect("a task neither panics nor is cancelled"));
        }
        printed
    }
}

async fn line(pid: u32, pidfd: Pidfd) -> io::Result<()> {
    match time::timeout(REAPING, exit_status(&pidfd)).await {
        Ok(Ok(Some(status))) => print(format_args!("PID {pid} finished, {status}")),
        _ => print(format_args!("PID {pid} finished")),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Waits for processes that are no children of this one, and fails if a status is not the expected
/// one.
async fn demonstrate() -> io::Result<u8> {
    let plan = |pids: &[u32]| Plan {
        verbose: true,
        processes: pids.iter().map(|&pid| Id { pid, inode: None }).collect(),
        ..Plan::default()
    };

    let (mut first, mut second) = (Foreign::start(7)?, Foreign::start(0)?);
    let both = plan(&[first.pid, second.pid]);
    let status = both.run(|| drop((first.hold.take(), second.hold.take()))).await;
    check("two that exit", status, EXITED)?;
    check("the first one's status, by its parent", first.status()?, Some(7))?;
    check("the second one's", second.status()?, Some(0))?;

    let (mut short, long) = (Foreign::start(0)?, Foreign::start(0)?);
    let one = Plan { count: Some(1), ..plan(&[short.pid, long.pid]) };
    check("one of two", one.run(|| drop(short.hold.take())).await, EXITED)?;
    check("that one's status", short.status()?, Some(0))?;
    let in_time = Plan { timeout: Some(Duration::from_millis(100)), ..plan(&[long.pid]) };
    check("one that does not exit in time", in_time.run(|| ()).await, TIMED_OUT)?;
    let pidfd = Pidfd::open(long.pid)?;
    let mut sent = Ok(());
    let status = plan(&[long.pid]).run(|| sent = pidfd.send_signal(Signal::TERM)).await;
    sent?;
    check("the same, after a SIGTERM", status, EXITED)?;
    check("its status, as a shell has it", long.status()?, Some(128 + Signal::TERM.as_raw()))?;

    // Larger than any PID that Linux gives.
    let unused = i32::MAX.unsigned_abs();
    check("one that is not there", plan(&[unused]).run(|| ()).await, FAILED)?;
    let exited = Plan { allows_exited: true, ..plan(&[unused]) };
    check("the same with --exited", exited.run(|| ()).await, EXITED)?;
    Ok(EXITED)
}

fn check<T: Copy + PartialEq + Debug>(what: &str, is: T, expected: T) -> io::Result<()> {
    print(format_args!("{is:?}: {what}"))?;
    let wrong = || io::Error::other(format!("{what}: {is:?}, not {expected:?}"));
    if is == expected { Ok(()) } else { Err(wrong()) }
}

/// A process that is a shell's child, not ours, and exits once its `hold` is dropped.
struct Foreign {
    pid: u32,
    hold: Option<ChildStdin>,
    parent: Child,
}

impl Foreign {
    fn start(code: u8) -> io::Result<Self> {
        // A shell starts a background process with no input, unless that is redirected.
        let script = format!(
            "exec 3<&0; (read nothing; exit {code}) <&3 3<&- >&- & echo $!; exec 3<&- <&-; wait $!"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut parent = command.spawn()?;
        let hold = parent.stdin.take();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().expect("it was piped")).read_line(&mut line)?;
        let pid = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { pid, hold, parent })
    }

    /// The shell exits after it, with its status.
    fn status(mut self) -> io::Result<Option<i32>> {
        Ok(self.parent.wait()?.code())
    }
}
