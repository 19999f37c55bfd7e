//! waitpid(1): waits until processes have ended, which need not be its children. On Tokio,
//! current-thread.
//!
//! It shows how strangers are awaited by a pidfd, and what is known of their end. From Linux 6.15
//! on a process has ended when its parent has reaped it, since it tells its status then.
//!
//! ```text
//! cargo run --example waitpid                            # a demonstration
//! cargo run --example waitpid -- -v 4711 4712
//! cargo run --example waitpid -- --timeout 2.5 --count 1 4711 4712
//! ```

use std::fmt::{Debug, Display};
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use lexopt::prelude::*;
use pidfd_reaper::tokio::exited;
use pidfd_reaper::{Pidfd, Signal};
use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time;

const USAGE: &str = "Usage: waitpid [-v] [-t SECONDS] [-c NUMBER | -e] PID...

Waits until all processes have ended.
  -v, --verbose          tell who has ended, and with which status where the kernel tells it
  -t, --timeout SECONDS  end with status 3 if it takes longer; 0 means no end
  -c, --count NUMBER     wait for so many of them only
  -e, --exited           a process that is not there any more is no error

The status is 0 if they have ended, 1 after an error, 2 if the kernel has no pidfds.";

// The statuses of util-linux.
const ENDED: u8 = 0;
const FAILED: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const TIMED_OUT: u8 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let status = match Plan::parse(lexopt::Parser::from_env()) {
        Ok(Some(plan)) => plan.run(|| ()).await,
        Ok(None) => demonstrate().await.unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&format!("{error}\n{USAGE}")),
    };
    ExitCode::from(status)
}

fn fail(error: &dyn Display) -> u8 {
    eprintln!("waitpid: {error}");
    FAILED
}

/// A task for each process.
type Waits = JoinSet<(u32, io::Result<Option<ExitStatus>>)>;

#[derive(Default)]
struct Plan {
    verbose: bool,
    timeout: Option<Duration>,
    count: Option<usize>,
    allows_exited: bool,
    pids: Vec<u32>,
}

impl Plan {
    /// `None` without any arguments.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let mut plan = Self::default();
        let mut is_empty = true;
        while let Some(arg) = args.next()? {
            is_empty = false;
            match arg {
                Short('v') | Long("verbose") => plan.verbose = true,
                Short('t') | Long("timeout") => {
                    let time = Duration::try_from_secs_f64(args.value()?.parse()?);
                    let time = time.map_err(|error| format!("invalid timeout: {error}"))?;
                    plan.timeout = Some(time).filter(|time| !time.is_zero());
                }
                Short('c') | Long("count") => plan.count = Some(args.value()?.parse()?),
                Short('e') | Long("exited") => plan.allows_exited = true,
                Value(pid) => plan.pids.push(pid.parse()?),
                _ => return Err(arg.unexpected()),
            }
        }
        match plan.count {
            _ if is_empty => return Ok(None),
            _ if plan.pids.is_empty() => return Err("no PIDs specified".into()),
            Some(_) if plan.allows_exited => {
                return Err("--count and --exited exclude each other".into());
            }
            Some(count) if count == 0 || count > plan.pids.len() => {
                return Err(format!("cannot wait for {count} of {}", plan.pids.len()).into());
            }
            _ => {}
        }
        Ok(Some(plan))
    }

    /// The status to exit with; errors are told on standard error. `opened` is called when each
    /// number has come to mean its process, whatever becomes of the number.
    async fn run(&self, opened: impl FnOnce()) -> u8 {
        let mut waits = Waits::new();
        for &pid in &self.pids {
            match Pidfd::open(pid) {
                Ok(pidfd) => {
                    waits.spawn(async move { (pid, exited(&pidfd).await.map(|()| None)) });
                }
                Err(error) if self.allows_exited && is(&error, Errno::SRCH) => {
                    self.say(format_args!("{pid} has exited, skipping"));
                }
                Err(error) => {
                    fail(&format!("could not open PID {pid}: {error}"));
                    return if is(&error, Errno::NOSYS) { NOT_SUPPORTED } else { FAILED };
                }
            }
        }
        opened();
        let ends = self.see_ends(&mut waits);
        let ended = match self.timeout {
            Some(timeout) => time::timeout(timeout, ends).await,
            None => Ok(ends.await),
        };
        match ended {
            Ok(Ok(())) => ENDED,
            Ok(Err(error)) => fail(&error),
            Err(_) => {
                self.say("timeout expired");
                TIMED_OUT
            }
        }
    }

    async fn see_ends(&self, waits: &mut Waits) -> io::Result<()> {
        for _ in 0..self.count.unwrap_or(waits.len()) {
            let Some(joined) = waits.join_next().await else { break };
            let (pid, status) = joined.expect("a task neither panics nor is cancelled");
            match status? {
                Some(status) => self.say(format_args!("{pid} has ended, {status}")),
                None => self.say(format_args!("{pid} has ended")),
            }
        }
        Ok(())
    }

    fn say(&self, what: impl Display) {
        if self.verbose {
            println!("{what}");
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Waits for processes that are no children of this one, and fails if anything is not as it should
/// be.
async fn demonstrate() -> io::Result<u8> {
    let plan = |pids: &[u32]| Plan { verbose: true, pids: pids.to_vec(), ..Plan::default() };

    let (mut first, mut second) = (Stranger::start(7)?, Stranger::start(0)?);
    let both = plan(&[first.pid, second.pid]);
    let status = both.run(|| drop((first.hold.take(), second.hold.take()))).await;
    check("two that end", status, ENDED)?;
    check("the first one's status, by its parent", first.status()?, Some(7))?;
    check("the second one's", second.status()?, Some(0))?;

    let (mut short, long) = (Stranger::start(0)?, Stranger::start(0)?);
    let one = Plan { count: Some(1), ..plan(&[short.pid, long.pid]) };
    check("one of two", one.run(|| drop(short.hold.take())).await, ENDED)?;
    check("that one's status", short.status()?, Some(0))?;
    let in_time = Plan { timeout: Some(Duration::from_millis(100)), ..plan(&[long.pid]) };
    check("one that does not end in time", in_time.run(|| ()).await, TIMED_OUT)?;
    let pidfd = Pidfd::open(long.pid)?;
    let mut sent = Ok(());
    let status = plan(&[long.pid]).run(|| sent = pidfd.send_signal(Signal::TERM)).await;
    sent?;
    check("the same, after a SIGTERM", status, ENDED)?;
    check("its status, as a shell has it", long.status()?, Some(128 + Signal::TERM.as_raw()))?;

    // Larger than any number that Linux gives.
    let nobody = i32::MAX.unsigned_abs();
    check("one that is not there", plan(&[nobody]).run(|| ()).await, FAILED)?;
    let exited = Plan { allows_exited: true, ..plan(&[nobody]) };
    check("the same with --exited", exited.run(|| ()).await, ENDED)?;
    Ok(ENDED)
}

fn check<T: Copy + PartialEq + Debug>(what: &str, is: T, expected: T) -> io::Result<()> {
    println!("{is:?}: {what}");
    let wrong = || io::Error::other(format!("{what}: {is:?}, not {expected:?}"));
    if is == expected { Ok(()) } else { Err(wrong()) }
}

/// A process that is a shell's child, not ours, and ends once its `hold` is dropped.
struct Stranger {
    pid: u32,
    hold: Option<ChildStdin>,
    parent: Child,
}

impl Stranger {
    fn start(code: u8) -> io::Result<Self> {
        // A shell gives what it starts in the background no input, unless it is told to.
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

    /// Its parent ends with it, and with its status.
    fn status(mut self) -> io::Result<Option<i32>> {
        Ok(self.parent.wait()?.code())
    }
}
