//! Numbers that come round: after a theft or our own reap, a child's number is a stranger's.
//!
//! In a pid namespace of its own the kernel can be told which number is next.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{self, Child as StdChild, Command as StdCommand, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use futures_lite::future::poll_once;
use pidfd_reaper::{Process, StatusLost, orphans};
use rustix::process::{Pid, WaitOptions, geteuid, waitpid};
use rustix::time::{ClockId, clock_gettime};

use super::thefts::steal;
use super::{Body, Place, bodies};
use crate::children::{Hold, held, sh, until, until_no_orphans};
use crate::leaks::Snapshot;
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        stranger_after_a_theft.if_shown(numbers_can_be_chosen),
        stranger_after_our_reap.if_shown(numbers_can_be_chosen),
        child_of_ours_after_a_theft.if_shown(numbers_can_be_chosen),
        child_of_ours_seen_by_the_thread.only(Place::WithoutPidfd).if_shown(numbers_can_be_chosen),
        child_of_ours_in_place_of_an_orphan.if_shown(numbers_can_be_chosen),
    ]
}

const NEXT: &str = "/proc/sys/kernel/ns_last_pid";
const INSIDE: &str = "CONFORMANCE_NAMESPACE";

fn in_a_namespace(program: &str) -> StdCommand {
    let mut command = StdCommand::new("unshare");
    command.args(["-p", "-f", "--mount-proc", program]);
    command
}

fn numbers_can_be_chosen() -> bool {
    let mut test = in_a_namespace("test");
    test.args(["-w", NEXT]).stdout(Stdio::null()).stderr(Stdio::null());
    geteuid().is_root() && test.status().is_ok_and(|status| status.success())
}

/// Runs `body` as the first process of a namespace: this trial once more, which comes here again.
fn with_own_numbers(body: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        body()?;
        process::exit(0);
    }
    let program = env::current_exe()?;
    let program = program.to_str().expect("it is text");
    let status = in_a_namespace(program).env(INSIDE, "").status()?;
    assert!(status.success(), "in the namespace: {status}");
    Ok(())
}

/// A child of the library that is killed with its handle, and its number.
fn killed_on_drop<R: Runtime>() -> io::Result<(ChildOn<R>, u32)> {
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let child = command.kill_on_drop(true).stdin(Stdio::piped()).spawn()?;
    let pid = child.id().expect("it runs");
    Ok((child, pid))
}

/// A process that is no child of this one, with a number that is free; it ends with its parent's input.
struct Stranger(StdChild);

impl Stranger {
    /// Tried again if a thread that was started just then got the number, which it keeps not long.
    fn with_number(pid: u32) -> io::Result<Self> {
        let mut stranger = None;
        until(
            || format!("the number {pid} stays taken"),
            || {
                stranger = Self::try_number(pid).transpose();
                stranger.is_some()
            },
        );
        stranger.expect("there is an answer")
    }

    fn try_number(pid: u32) -> io::Result<Option<Self>> {
        let script = format!(
            "exec 3<&0; echo {} > {NEXT}; sh -c 'read nothing; exit 9' <&3 & echo $!; \
             exec 3<&-; wait $!; exit $?",
            pid - 1
        );
        let mut parent = sh(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(parent.stdout.take().expect("it was piped")).read_line(&mut line)?;
        if line.trim() == pid.to_string() {
            return Ok(Some(Self(parent)));
        }
        drop(parent.stdin.take());
        parent.wait()?;
        Ok(None)
    }

    /// It was neither signalled nor reaped: it ends as it likes, and its parent is told so.
    fn end_unharmed(mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        assert_eq!(self.0.wait()?.code(), Some(9));
        Ok(())
    }
}

fn stranger_after_a_theft<R: Runtime>() -> io::Result<()> {
    with_own_numbers(|| {
        let runtime = R::new();
        let (mut child, pid) = killed_on_drop::<R>()?;
        let (mut abandoned, other_pid) = killed_on_drop::<R>()?;
        drop((child.stdin.take(), abandoned.stdin.take()));
        steal(pid);
        steal(other_pid);
        // The later one first: whoever comes after it does not get the number between.
        let other = Stranger::with_number(other_pid)?;
        let stranger = Stranger::with_number(pid)?;
        let error = child.start_kill().expect_err("it was reaped");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(child.signal_group(pidfd_reaper::Signal::KILL).is_err());
        match runtime.block_on(child.wait()) {
            Ok(status) => assert_eq!(status.code(), Some(7)),
            Err(error) => assert!(StatusLost::is(&error), "{error}"),
        }
        drop((child, abandoned));
        until_no_orphans();
        stranger.end_unharmed()?;
        other.end_unharmed()
    })
}

fn stranger_after_our_reap<R: Runtime>() -> io::Result<()> {
    with_own_numbers(|| {
        let (mut child, pid) = killed_on_drop::<R>()?;
        let handle = child.handle();
        assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
        let stranger = Stranger::with_number(pid)?;
        child.start_kill()?;
        assert!(handle.kill().is_err());
        assert!(handle.signal_group(pidfd_reaper::Signal::KILL).is_err());
        assert_eq!(R::new().block_on(handle.wait())?.code(), Some(7));
        drop((child, handle));
        stranger.end_unharmed()
    })
}

/// Another child of this process, with the PID `pid`, that exits with 9 when it is let go.
///
/// It starts in a later clock tick than what had the PID before: the kernel goes through all other
/// PIDs before it reuses one.
fn namesake(pid: u32) -> (StdChild, Hold) {
    let tick = || clock_gettime(ClockId::Boottime).tv_nsec / 10_000_000;
    let now = tick();
    until(|| "the clock stands still".into(), || tick() != now);
    let mut namesake = None;
    until(
        || format!("the PID {pid} stays in use"),
        || {
            let started = fs::write(NEXT, (pid - 1).to_string()).and_then(|()| held(9));
            let (mut child, hold) = started.expect("it can be started");
            if child.id() == pid {
                namesake = Some((child, hold));
            } else {
                drop(hold);
                child.wait().expect("it is our child");
            }
            namesake.is_some()
        },
    );
    namesake.expect("it was started")
}

/// Neither signalled nor reaped.
fn end_unharmed((mut namesake, hold): (StdChild, Hold)) -> io::Result<()> {
    assert_eq!(namesake.try_wait()?, None);
    drop(hold);
    assert_eq!(namesake.wait()?.code(), Some(9));
    Ok(())
}

fn check(end: io::Result<ExitStatus>) {
    match end {
        Ok(status) => assert_eq!(status.code(), Some(7)),
        Err(error) => assert!(StatusLost::is(&error), "{error}"),
    }
}

/// The PID is reused by another child of this process.
fn child_of_ours_after_a_theft<R: Runtime>() -> io::Result<()> {
    with_own_numbers(|| {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let process = Process::try_from(child)?;
        let mut wait = pidfd_reaper::Reaper::<R::Reactor, _>::new(process.clone());
        drop(hold);
        steal(pid);
        let namesake = namesake(pid);
        assert!(process.signal(pidfd_reaper::Signal::KILL).is_err());
        check(R::new().block_on(&mut wait));
        drop(wait);
        end_unharmed(namesake)
    })
}

/// The thread of the wait has seen the exit by then. The next poll does not spin.
fn child_of_ours_seen_by_the_thread<R: Runtime>() -> io::Result<()> {
    with_own_numbers(|| {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let mut wait = pidfd_reaper::Reaper::<R::Reactor, _>::new(Process::try_from(child)?);
        let runtime = R::new();
        let before = Snapshot::take();
        assert!(runtime.block_on(poll_once(&mut wait)).is_none());
        drop(hold);
        until(|| "the thread waits on".into(), || before.more_threads() == 0);
        steal(pid);
        let namesake = namesake(pid);
        check(runtime.block_on(&mut wait));
        end_unharmed(namesake)
    })
}

fn child_of_ours_in_place_of_an_orphan<R: Runtime>() -> io::Result<()> {
    struct Thief(u32, Mutex<Option<(StdChild, Hold)>>);
    impl Wake for Thief {
        /// Between the exit of the child and its reaping, if it comes in time.
        fn wake(self: Arc<Self>) {
            let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
            if waitpid(pid, WaitOptions::empty()).is_ok() {
                *self.1.lock().expect("no panic") = Some(namesake(self.0));
            }
        }
    }
    with_own_numbers(|| {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let child = ChildOn::<R>::from_std(child).map_err(io::Error::from)?;
        let thief = Arc::new(Thief(pid, Mutex::new(None)));
        let handle = child.handle();
        let runtime = R::new();
        runtime.block_on(async {
            let mut wait = std::pin::pin!(handle.wait());
            let waker = Waker::from(Arc::clone(&thief));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(child);
            drop(hold);
            // The runtime turns meanwhile.
            while !orphans().is_empty() {
                assert!(CommandOn::<R>::new("true").status().await?.success());
            }
            io::Result::Ok(())
        })?;
        let namesake = thief.1.lock().expect("no panic").take();
        namesake.map_or(Ok(()), end_unharmed)
    })
}
