//! How the bodies make children, and what this program does as a child.

use std::env;
use std::fmt::Debug;
use std::fs;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child as StdChild, ChildStdin, Command as StdCommand, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pidfd_reaper::{Kill, Reaper, Wait};
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, getpgid, getppid, pidfd_open, setpgid};
use rustix::time::{ClockId, clock_gettime};

use crate::runtimes::Runtime;
use crate::sys;

/// A kind of child that a [`Reaper`] takes: the standard library's, or a
/// [`Process`](pidfd_reaper::Process).
pub(crate) trait Kind:
    Wait + Kill + Send + Unpin + TryFrom<StdChild, Error: Debug> + 'static
{
}

impl<W> Kind for W where W: Wait + Kill + Send + Unpin + TryFrom<StdChild, Error: Debug> + 'static {}

pub(crate) type ReaperOn<R, W> = Reaper<<R as Runtime>::Reactor, W>;

pub(crate) fn reaper<R: Runtime, W: Kind>(child: StdChild) -> ReaperOn<R, W> {
    Reaper::new(W::try_from(child).expect("nobody else has waited for it"))
}

pub(crate) fn sh(script: &str) -> StdCommand {
    let mut command = StdCommand::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that exits with `code` once its [`Hold`] is dropped.
pub(crate) fn held(code: u8) -> io::Result<(StdChild, Hold)> {
    let mut child = sh(&format!("read nothing; exit {code}")).stdin(Stdio::piped()).spawn()?;
    let hold = child.stdin.take().expect("it was piped");
    Ok((child, hold))
}

pub(crate) type Hold = ChildStdin;

/// Children that all end, with success, when this is dropped.
pub(crate) struct Flock {
    leash: OwnedFd,
    _hold: OwnedFd,
}

impl Flock {
    pub(crate) fn new() -> io::Result<Self> {
        let (leash, hold) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { leash, _hold: hold })
    }

    pub(crate) fn command(&self) -> io::Result<StdCommand> {
        let mut command = StdCommand::new("cat");
        command.stdin(self.leash()?);
        Ok(command)
    }

    /// What ends when this is dropped.
    pub(crate) fn leash(&self) -> io::Result<OwnedFd> {
        self.leash.try_clone()
    }
}

/// How many children to make where many are wanted: fewer on slow and small machines.
pub(crate) fn many(full: usize, small: usize) -> usize {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: usize = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    if env::var_os("CONFORMANCE_SMALL").is_some() || kib < 2 << 20 { small } else { full }
}

/// Waits until `done`, in the calling thread; fails with what `problem` says after a while.
pub(crate) fn until(problem: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{}", problem());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the process is in the state of this letter, as ps(1) shows it.
pub(crate) fn until_state(pid: u32, state: char) {
    until(
        || format!("process {pid} is in state {:?}, not {state}", state_of(pid)),
        || state_of(pid) == Some(state),
    );
}

/// Waits until the process runs this program, and sleeps.
pub(crate) fn until_it_runs(pid: u32, program: &str) {
    let runs = || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == program) && state_of(pid) == Some('S')
    };
    until(|| format!("process {pid} does not run {program}, asleep"), runs);
}

/// Waits until the process has ended, whether or not it was reaped.
pub(crate) fn until_ended(pid: u32) {
    until(|| format!("process {pid} runs on"), || has_ended(pid));
}

pub(crate) fn has_ended(pid: u32) -> bool {
    matches!(state_of(pid), None | Some('Z' | 'X'))
}

/// Waits until the process was reaped by someone.
pub(crate) fn until_gone(pid: u32) {
    until(|| format!("process {pid} is still there"), || state_of(pid).is_none());
}

pub(crate) fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The processor time that this process spends in a second of doing nothing.
///
/// A few wake-ups may still come in the first one, and take long on a slow machine. Whoever loops
/// goes on with it.
pub(crate) fn idle_second() -> Duration {
    let time = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let mut spent = Duration::MAX;
    for _ in 0..5 {
        let before = time();
        thread::sleep(Duration::from_secs(1));
        spent = spent.min(time().saturating_sub(before));
        if spent < LITTLE {
            break;
        }
    }
    spent
}

/// More than a few wake-ups take, and much less than a loop does.
pub(crate) const LITTLE: Duration = Duration::from_millis(50);

pub(crate) fn until_no_orphans() {
    let orphans = pidfd_reaper::orphans();
    until(|| format!("{} orphans are left", orphans.len()), || orphans.is_empty());
}

/// The environment variable that makes this program a child; it has one of the roles.
pub(crate) const ROLE: &str = "CONFORMANCE_ROLE";

/// This program, to play `role` as a child.
pub(crate) fn myself(role: &str) -> io::Result<StdCommand> {
    let mut command = StdCommand::new(env::current_exe()?);
    command.env(ROLE, role);
    Ok(command)
}

/// Plays the role.
pub(crate) fn play(role: &str) -> ! {
    let words: Vec<_> = role.split(' ').collect();
    match words[..] {
        // Its first thread ends; another goes on until the end of standard input.
        ["leader"] => {
            thread::spawn(|| {
                wait_for_end_of_input();
                sys::exit_process(9);
            });
            sys::exit_thread()
        }
        // Traces a process until the end of standard input, and never waits for it.
        ["tracer", pid] => {
            sys::seize(pid.parse().expect("a number")).expect("we may trace it");
            println!("traced");
            wait_for_end_of_input();
            process::exit(0)
        }
        // Sends a pidfd of its child over standard input, and reaps that child, which is to end by
        // SIGTERM.
        ["sender"] => {
            let mut child = StdCommand::new("sleep").arg("600").stdin(Stdio::null()).spawn();
            let child = child.as_mut().expect("sleep can be started");
            let pid = Pid::from_child(child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("there are pidfds");
            send(io::stdin().as_fd(), pidfd.as_fd()).expect("someone receives it");
            drop(pidfd);
            let status = child.wait().expect("it is our child");
            process::exit(i32::from(status.signal() != Some(libc::SIGTERM)))
        }
        // Leaves the group that it leads, in which it has started another.
        ["leaver"] => {
            let member = StdCommand::new("sleep").arg("600").stdout(Stdio::null()).spawn();
            println!("{}", member.expect("sleep can be started").id());
            let outside = getpgid(getppid()).expect("the parent is there");
            setpgid(None, Some(outside)).expect("it is the same session");
            println!("left");
            wait_for_end_of_input();
            process::exit(1)
        }
        ["arg0"] => {
            print!("{}", env::args().next().unwrap_or_default());
            let _ = io::stdout().flush();
            process::exit(0)
        }
        _ => panic!("there is no role {role}"),
    }
}

/// Sends a descriptor over a socket, with one byte.
fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)), "there is space for one");
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

fn wait_for_end_of_input() {
    let _ = io::stdin().read(&mut [0]);
}

/// A process that traces another, and holds its zombie.
pub(crate) struct Tracer(StdChild);

impl Tracer {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut command = myself(&format!("tracer {pid}"))?;
        let mut tracer = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(tracer.stdout.take().expect("it was piped")).read_line(&mut line)?;
        assert_eq!(line, "traced\n");
        Ok(Self(tracer))
    }

    /// Ends it, and thereby lets go of the one that it traces.
    pub(crate) fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it is our child").success());
    }
}

/// Runs `body` in a process of its own, which then exits at once as a program does.
///
/// It is this trial again, so what the body does before it comes to this is done there too.
pub(crate) fn in_another_process(body: impl FnOnce()) -> io::Result<()> {
    const INSIDE: &str = "CONFORMANCE_INSIDE";
    if env::var_os(INSIDE).is_some() {
        body();
        process::exit(0);
    }
    let status = StdCommand::new(env::current_exe()?).env(INSIDE, "").status()?;
    assert!(status.success(), "the other process has failed: {status}");
    Ok(())
}
