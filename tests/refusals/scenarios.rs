//! The scenarios: what a program does with this library, each with one or a few children.
//!
//! Each step is tried again after an error, once all calls work again: then it has to succeed, with
//! what it would have returned at first. What a step returns without an error has to be right. Only
//! a refusal, which the library remembers, may fail the second time as well.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use futures_lite::future::{or, poll_once, yield_now, zip};
use pidfd_reaper::{
    ChildSet, Command, KillScope, OutputError, OutputLimits, Pidfd, Pipe, Reactor, Resource,
    Signal, StateChange, Stdio, Stdout, exited,
};

use rustix::process::getuid;

use crate::help::{note_error, still_fails};
use crate::runtimes::{Runtime, Smol};

/// Runs one on a runtime.
pub(crate) type Run<R> = fn(&R) -> io::Result<()>;

/// By name.
pub(crate) fn all<R: Runtime>() -> [(&'static str, Run<R>); 12] {
    [
        ("spawn", |runtime| runtime.block_on(spawn::<R::Reactor>())),
        ("failures", |runtime| runtime.block_on(failures::<R::Reactor>())),
        ("std", |runtime| runtime.block_on(by_std::<R::Reactor>())),
        ("pipes", |runtime| runtime.block_on(pipes::<R::Reactor>())),
        ("output", |runtime| runtime.block_on(output::<R::Reactor>())),
        ("limits", |runtime| runtime.block_on(limits::<R::Reactor>())),
        ("terminate", |runtime| runtime.block_on(terminate::<R::Reactor>())),
        ("drops", |runtime| runtime.block_on(drops::<R::Reactor>())),
        ("handles", |runtime| runtime.block_on(handles::<R::Reactor>())),
        ("set", |runtime| runtime.block_on(set::<R::Reactor>())),
        ("group", |runtime| runtime.block_on(group::<R::Reactor>())),
        ("stops", |runtime| runtime.block_on(stops::<R::Reactor>())),
    ]
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all::<Smol>().into_iter().map(|(name, _)| name)
}

/// The value of the step, or that of its second try.
macro_rules! again {
    ($step:literal, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => {
                note_error($step, &error);
                match $result {
                    Ok(value) => value,
                    Err(error) => return still_fails($step, error),
                }
            }
        }
    };
}

/// How long a child lives that nothing kills: to be found if nothing does.
const BOUND: &str = "4";
const GRACE: Duration = Duration::from_millis(20);

fn sh<R: Reactor>(script: &str) -> Command<R> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn sleep<R: Reactor>(seconds: &str) -> Command<R> {
    let mut command = Command::new("sleep");
    command.arg(seconds).stdin(Stdio::null());
    command
}

/// Is killed if the scenario ends early.
fn long_sleep<R: Reactor>() -> Command<R> {
    let mut command = sleep(BOUND);
    command.kill_on_drop(true);
    command
}

/// Ignores `SIGTERM`, and writes a line once it does.
fn stubborn<R: Reactor>() -> Command<R> {
    let mut command = sh(&format!("trap '' TERM; echo ready; exec sleep {BOUND}"));
    command.stdout(Stdio::piped());
    command
}

#[track_caller]
fn assert_code(status: ExitStatus, code: i32) {
    assert_eq!(status.code(), Some(code), "wrong status {status}");
}

#[track_caller]
fn assert_signal(status: ExitStatus, signal: i32) {
    assert_eq!(status.signal(), Some(signal), "wrong status {status}");
}

/// Reads a line, or all if there is none.
async fn read_line<R: Reactor>(pipe: &mut Pipe<R, Stdout>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.contains(&b'\n')
        && again!("read", poll_fn(|cx| pipe.poll_append(cx, &mut bytes)).await) > 0
    {}
    Ok(bytes)
}

async fn spawn<R: Reactor>() -> io::Result<()> {
    let mut child = again!("spawn", sh::<R>("exit 7").spawn());
    let handle = child.handle();
    assert_code(again!("wait", child.wait().await), 7);
    assert_code(again!("handle's wait", handle.wait().await), 7);
    assert!(handle.signal(Signal::TERM).is_err(), "a signal to a child that was reaped");
    // One that was not spawned last is asked before it is registered.
    let mut first = again!("spawn", sh::<R>("exit 5").spawn());
    let mut last = again!("spawn", sleep::<R>("0.01").spawn());
    assert_code(again!("wait", first.wait().await), 5);
    assert_code(again!("wait", last.wait().await), 0);
    let mut rest = again!("spawn", sleep::<R>("0.01").spawn());
    let status = again!("wait_timeout", rest.wait_timeout(Duration::from_secs(9)).await);
    assert_code(status.expect("it exits in time"), 0);
    assert!(again!("try_wait", rest.try_wait()).is_some());
    Ok(())
}

/// Spawns that fail by themselves, and attributes.
async fn failures<R: Reactor>() -> io::Result<()> {
    for command in [&mut Command::<R>::new("/nonexistent/program"), sh("").current_dir("/nowhere")]
    {
        for _ in 0..2 {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => note_error("failing spawn", &error),
                Ok(_) => panic!("wrong: there is no such program"),
            }
        }
    }
    let mut command = sh::<R>("read x <&9; umask; nice; exit 4");
    // Not a lower priority: a busy machine would let the child wait for long.
    command.session().nice(0).umask(0o27).rlimit(Resource::Core, 0, 0).reset_signals();
    command.fd(9, File::open("/dev/null")?).current_dir("/").stdout(Stdio::null());
    command.stderr_to_stdout().close_other_fds().uid(getuid().as_raw());
    let mut child = again!("spawn", command.spawn());
    assert_code(again!("wait", child.wait().await), 4);
    Ok(())
}

async fn by_std<R: Reactor>() -> io::Result<()> {
    let mut command = Command::<R>::new("sh");
    command.args(["-c", "echo std; exit 6"]).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped());
    let mut child = again!("spawn", command.spawn());
    assert_code(again!("wait", child.wait().await), 6);
    let mut pipe = child.stdout.take().expect("it was piped").into();
    assert_eq!(read_line(&mut pipe).await?, b"std\n", "wrong output");
    Ok(())
}

async fn pipes<R: Reactor>() -> io::Result<()> {
    let mut command = Command::<R>::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = again!("spawn", command.spawn());
    let mut stdin: Pipe<R, _> = child.stdin.take().expect("it was piped").into();
    let mut stdout: Pipe<R, _> = child.stdout.take().expect("it was piped").into();
    for line in ["one\n", "two\n"] {
        let written = again!("write", poll_fn(|cx| stdin.poll_write(cx, line.as_bytes())).await);
        assert_eq!(written, line.len(), "wrong count");
        assert_eq!(read_line(&mut stdout).await?, line.as_bytes(), "wrong output");
    }
    drop(stdin);
    assert_eq!(read_line(&mut stdout).await?, b"", "wrong output");
    assert_code(again!("wait", child.wait().await), 0);
    Ok(())
}

async fn output<R: Reactor>() -> io::Result<()> {
    let run = || async {
        let output = sh::<R>("echo out; echo err >&2; exit 3").output().await;
        output.inspect_err(|error| {
            let Some(error) = OutputError::from_io(error) else { return };
            assert!(b"out\n".starts_with(&error.stdout), "wrong output {error:?}");
            assert!(b"err\n".starts_with(&error.stderr), "wrong output {error:?}");
        })
    };
    let output = again!("output", run().await);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]), "wrong");
    assert_code(output.status, 3);
    assert_code(again!("status", sh::<R>("exit 2").status().await), 2);
    Ok(())
}

async fn limits<R: Reactor>() -> io::Result<()> {
    let limits = OutputLimits::new().time(Duration::from_millis(40)).grace(GRACE);
    let script = format!("echo out; exec sleep {BOUND}");
    let mut command = sh::<R>(&script);
    command.kill_on_drop(true);
    let output = again!("output_with", command.output_with(limits.clone()).await);
    assert!(output.timed_out && b"out\n".starts_with(&output.stdout), "wrong output {output:?}");
    assert_signal(output.exit.status, libc::SIGKILL);
    let limits = OutputLimits::new().bytes(4).kill_on_excess();
    let mut command = Command::<R>::new("yes");
    command.kill_on_drop(true);
    let output = again!("output_with", command.output_with(limits.clone()).await);
    assert!(output.stdout == b"y\ny\n" && output.stdout_excess > 0, "wrong output");
    Ok(())
}

async fn terminate<R: Reactor>() -> io::Result<()> {
    let mut child = again!("spawn", long_sleep::<R>().spawn());
    let end = again!("terminate", child.terminate(Duration::from_secs(9)).await);
    assert_signal(end.status, libc::SIGTERM);
    let mut child = again!("spawn", stubborn::<R>().kill_on_drop(true).spawn());
    let mut pipe = child.stdout.take().expect("it was piped").into();
    read_line(&mut pipe).await?;
    let end = again!("terminate", child.terminate(GRACE).await);
    assert_signal(end.status, libc::SIGKILL);
    let mut child = again!("spawn", long_sleep::<R>().spawn());
    again!("kill", child.kill().await);
    assert_signal(again!("wait", child.wait().await), libc::SIGKILL);
    Ok(())
}

async fn drops<R: Reactor>() -> io::Result<()> {
    drop(again!("spawn", sleep::<R>("0.02").spawn()));
    drop(again!("spawn", sleep::<R>(BOUND).kill_on_drop(true).spawn()));
    drop(again!("spawn", sleep::<R>(BOUND).terminate_on_drop(GRACE).spawn()));
    let mut child = again!("spawn", stubborn::<R>().terminate_on_drop(GRACE).spawn());
    let mut pipe = child.stdout.take().expect("it was piped").into();
    read_line(&mut pipe).await?;
    drop(child);
    Ok(())
}

async fn handles<R: Reactor>() -> io::Result<()> {
    let child = again!("spawn", long_sleep::<R>().spawn());
    let (one, other) = (child.handle(), child.handle());
    assert!(poll_once(one.wait()).await.is_none_or(|waited| waited.is_err()), "it runs");
    let kill = async {
        yield_now().await;
        again!("kill", child.handle().kill());
        Ok(())
    };
    let ((one_end, other_end), killed) = zip(zip(one.wait(), other.wait()), kill).await;
    killed?;
    for (end, handle) in [(one_end, one), (other_end, other)] {
        let mut end = Some(end);
        let status = again!(
            "handle's wait",
            match end.take() {
                Some(end) => end,
                None => handle.wait().await,
            }
        );
        assert_signal(status, libc::SIGKILL);
    }
    Ok(())
}

async fn set<R: Reactor>() -> io::Result<()> {
    let mut set = ChildSet::<R>::new();
    for code in ["1", "2", "3"] {
        set.add(again!("spawn", sh::<R>(&format!("exit {code}")).spawn()));
    }
    let mut sum = 0;
    while let Some(mut ended) = set.next().await {
        let mut result = Some(ended.result);
        let status = again!(
            "set's next",
            match result.take() {
                Some(result) => result,
                None => ended.child.wait().await,
            }
        );
        sum += status.code().expect("wrong: it was not killed");
    }
    assert_eq!(sum, 6, "wrong statuses");
    Ok(())
}

async fn group<R: Reactor>() -> io::Result<()> {
    let mut command = sh::<R>(&format!("sleep {BOUND} & echo $!; exit 8"));
    command.kill_scope(KillScope::Group).kill_on_drop(true).stdout(Stdio::piped());
    let mut child = again!("spawn", command.spawn());
    let mut pipe = child.stdout.take().expect("it was piped").into();
    let line = read_line(&mut pipe).await?;
    let member = String::from_utf8_lossy(&line).trim().parse().expect("wrong: no PID");
    assert_code(again!("wait", child.wait().await), 8);
    // Where there are no pidfds, there is no such wait.
    if let Ok(pidfd) = Pidfd::open(member) {
        let exit = async {
            again!("exited", exited::<R>(&pidfd).await);
            Ok(())
        };
        let kill = async {
            yield_now().await;
            again!("kill", child.handle().kill());
            Ok(())
        };
        let (exited, killed) = zip(exit, kill).await;
        exited.and(killed)?;
    }
    again!("kill", child.kill().await);
    assert_code(again!("wait_scope", child.wait_scope().await), 8);
    Ok(())
}

async fn stops<R: Reactor>() -> io::Result<()> {
    // One that is stopped lives on.
    let mut child = again!("spawn", long_sleep::<R>().spawn());
    let mut changes = again!("state_changes", child.state_changes());
    for (signal, expected) in
        [(Signal::STOP, StateChange::Stopped(Signal::STOP)), (Signal::CONT, StateChange::Continued)]
    {
        again!("signal", child.signal(signal));
        let change = async { Ok(Some(changes.next().await)) };
        let silence = async {
            again!("wait_timeout", child.wait_timeout(Duration::from_secs(1)).await);
            Ok(None)
        };
        match or(change, silence).await? {
            Some(change) => assert_eq!(change, Some(expected), "wrong change"),
            // Where a filter refuses to wait for stops, none are seen.
            None => return still_fails("stops", io::ErrorKind::TimedOut),
        }
    }
    again!("start_kill", child.start_kill());
    assert_eq!(changes.next().await, None, "wrong change");
    assert_signal(again!("wait", child.wait().await), libc::SIGKILL);
    Ok(())
}
