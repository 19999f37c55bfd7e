//! Scopes: what kill, terminate, limits and drops do to a whole group, at any time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use futures_lite::future::{block_on as block_on_nothing, poll_once};
use pidfd_reaper::{KillScope, OutputLimits, Signal, StatusLost, orphans};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, getpgid, getpgrp};

use super::thefts::steal;
use super::{Body, bodies};
use crate::children::{
    Hold, has_ended, many, myself, sh, until_ended, until_it_runs, until_no_orphans, until_state,
};
use crate::leaks::has_children;
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        leader_that_left_its_group,
        leader_that_left_its_group_within_limits,
        group_reached_after_the_wait,
        group_reached_by_a_drop_after_the_wait,
        group_killed_by_a_handle,
        group_left_alone_by_a_drop,
        group_reached_after_a_theft,
        group_awaited,
        group_has_its_grace_by_call,
        group_has_its_grace_by_drop,
        group_ended_by_a_time_limit,
        group_ended_by_an_excess,
        scope_set_back_to_the_child,
        killed_is_what_the_status_says.long(),
        terminate_fails_before_the_signal.if_it(R::HAS_OWN_REACTOR),
    ]
}

const LONG: Duration = Duration::from_secs(600);

/// A group whose leader exits with 7 at once, and has a member that runs until it is let go.
fn left_behind<R: Runtime>(
    set_up: impl FnOnce(&mut CommandOn<R>),
) -> io::Result<(ChildOn<R>, u32, Hold)> {
    let script = "exec 3<&0; sh -c 'read nothing' <&3 >/dev/null & echo $!; exec 3<&-; exit 7";
    let mut command = CommandOn::<R>::from(sh(script));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_scope(KillScope::Group);
    set_up(&mut command);
    let mut child = command.spawn()?;
    let stdout: pidfd_reaper::Pipe<R::Reactor, _> = child.stdout.take().expect("piped").into();
    let mut line = String::new();
    BufReader::new(File::from(stdout.into_owned_fd()?)).read_line(&mut line)?;
    let member = line.trim().parse().map_err(io::Error::other)?;
    let stdin: pidfd_reaper::Pipe<R::Reactor, _> = child.stdin.take().expect("piped").into();
    until_it_runs(member, "sh");
    Ok((child, member, Hold::from(stdin.into_owned_fd()?)))
}

/// A leader that has left its group, in which its own child still is.
fn left_leader<R: Runtime>() -> io::Result<CommandOn<R>> {
    let mut command = CommandOn::<R>::from(myself("leaver")?);
    command.kill_scope(KillScope::Group).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

fn leader_that_left_its_group<R: Runtime>() -> io::Result<()> {
    for by_termination in [false, true] {
        let mut child = left_leader::<R>()?.spawn()?;
        let stdout: pidfd_reaper::Pipe<R::Reactor, _> = child.stdout.take().expect("piped").into();
        let mut lines = BufReader::new(File::from(stdout.into_owned_fd()?)).lines();
        let mut line = || lines.next().unwrap_or_else(|| Ok(String::new()));
        let member = line()?.parse().map_err(io::Error::other)?;
        assert_eq!(line()?, "left");
        let _stdin = child.stdin.take();
        // Neither the leader nor the member is missed.
        child.signal_scope(Signal::STOP)?;
        until_state(child.id().expect("it runs"), 'T');
        until_state(member, 'T');
        child.handle().signal_scope(Signal::CONT)?;
        R::new().block_on(async {
            if by_termination {
                let end = child.terminate(LONG).await?;
                assert_eq!(end.status.signal(), Some(libc::SIGTERM));
            } else {
                child.kill().await?;
            }
            io::Result::Ok(())
        })?;
        assert!(has_ended(member));
    }
    Ok(())
}

fn leader_that_left_its_group_within_limits<R: Runtime>() -> io::Result<()> {
    let limits = OutputLimits::new().time(Duration::from_millis(300));
    let (input, _hold) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = left_leader::<R>()?;
    let output = R::new().block_on(command.stdin(input).output_with(limits))?;
    assert!(output.timed_out);
    assert_eq!(output.exit.status.signal(), Some(9));
    Ok(())
}

fn group_reached_after_the_wait<R: Runtime>() -> io::Result<()> {
    let (mut child, member, _hold) = left_behind::<R>(|_| ())?;
    let runtime = R::new();
    for _ in 0..2 {
        assert_eq!(runtime.block_on(child.wait())?.code(), Some(7));
        assert_eq!(child.id(), None);
    }
    child.signal(Signal::TERM).expect_err("the leader has exited");
    child.signal_group(Signal::STOP)?;
    until_state(member, 'T');
    child.start_kill()?;
    until_ended(member);
    // Nothing is left: that is no error, but for who asks for a signal.
    runtime.block_on(child.kill())?;
    child.start_kill()?;
    let error = child.signal_group(Signal::TERM).expect_err("the group is empty");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(!has_children(), "the leader is reaped once its group is empty");

    let (mut child, member, _hold) = left_behind::<R>(|_| ())?;
    assert_eq!(runtime.block_on(child.wait())?.code(), Some(7));
    let end = runtime.block_on(child.terminate(LONG))?;
    assert_eq!((end.status.code(), end.killed, end.scope_killed), (Some(7), false, false));
    assert!(has_ended(member));
    assert!(!has_children());
    Ok(())
}

fn group_reached_by_a_drop_after_the_wait<R: Runtime>() -> io::Result<()> {
    for grace in [None, Some(LONG)] {
        for waits in [true, false] {
            let (mut child, member, _hold) = left_behind::<R>(|command| {
                match grace {
                    None => command.kill_on_drop(true),
                    Some(grace) => command.terminate_on_drop(grace),
                };
            })?;
            if waits {
                assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
            } else {
                until_state(child.id().expect("it was not waited for"), 'Z');
            }
            drop(child);
            until_ended(member);
            until_no_orphans();
            assert!(!has_children());
        }
    }
    // And by the drop at the end of `output`.
    let mut command = CommandOn::<R>::from(sh("sleep 600 >/dev/null 2>&1 & echo $!"));
    command.kill_scope(KillScope::Group).kill_on_drop(true);
    let output = R::new().block_on(command.output())?;
    let member = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a PID");
    until_ended(member);
    Ok(())
}

fn group_killed_by_a_handle<R: Runtime>() -> io::Result<()> {
    let (mut child, member, _hold) = left_behind::<R>(|_| ())?;
    let handle = child.handle();
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
    handle.kill()?;
    assert_eq!(R::new().block_on(handle.wait_scope())?.code(), Some(7));
    assert!(has_ended(member));
    assert_eq!(handle.kill().expect_err("nothing is left").kind(), io::ErrorKind::InvalidInput);
    Ok(())
}

/// Without a policy, and no zombie stays, although there is a handle.
fn group_left_alone_by_a_drop<R: Runtime>() -> io::Result<()> {
    for waits in [true, false] {
        let (mut child, member, hold) = left_behind::<R>(|_| ())?;
        let handle = child.handle();
        if waits {
            assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
        }
        drop(child);
        until_no_orphans();
        assert!(!has_children());
        assert!(!has_ended(member));
        assert_eq!(handle.try_wait()?.and_then(|status| status.code()), Some(7));
        drop(hold);
        until_ended(member);
    }
    Ok(())
}

/// The status may be lost by that, the group is not, where the kernel can reach it (6.9).
fn group_reached_after_a_theft<R: Runtime>() -> io::Result<()> {
    let (mut child, member, hold) = left_behind::<R>(|_| ())?;
    steal(child.id().expect("it was not waited for"));
    match R::new().block_on(child.wait()) {
        Ok(status) => assert_eq!(status.code(), Some(7)),
        Err(error) => assert!(StatusLost::is(&error), "{error}"),
    }
    match child.signal_group(Signal::KILL) {
        Ok(()) => until_ended(member),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
    }
    drop(hold);
    until_ended(member);
    Ok(())
}

fn group_awaited<R: Runtime>() -> io::Result<()> {
    let (mut child, member, hold) = left_behind::<R>(|_| ())?;
    R::new().block_on(async {
        assert_eq!(child.wait().await?.code(), Some(7));
        let handle = child.handle();
        let mut other = std::pin::pin!(handle.wait_scope());
        assert!(poll_once(&mut other).await.is_none());
        let mut wait = std::pin::pin!(child.wait_scope());
        assert!(poll_once(&mut wait).await.is_none());
        drop(hold);
        assert_eq!(wait.await?.code(), Some(7));
        assert!(has_ended(member));
        assert_eq!(other.await?.code(), Some(7));
        io::Result::Ok(())
    })?;
    assert!(!has_children());
    Ok(())
}

/// A leader that exits at SIGTERM, and a member that has something to do then.
fn with_a_worker<R: Runtime>(
    seconds: &str,
    grace: Duration,
) -> io::Result<(ChildOn<R>, u32, impl BufRead)> {
    let script = format!(
        "(trap 'sleep {seconds}; echo saved; exit' TERM; echo ready; \
         while :; do sleep 0.01; done) & echo $!; wait"
    );
    let (said, says) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = CommandOn::<R>::from(sh(&script));
    command.stdout(says).kill_scope(KillScope::Group).terminate_on_drop(grace);
    let child = command.spawn()?;
    drop(command);
    let mut said = BufReader::new(File::from(said));
    let (mut first, mut second) = (String::new(), String::new());
    said.read_line(&mut first)?;
    said.read_line(&mut second)?;
    let worker = if first.trim() == "ready" { second } else { first };
    Ok((child, worker.trim().parse().map_err(io::Error::other)?, said))
}

fn group_has_its_grace_by_call<R: Runtime>() -> io::Result<()> {
    let (mut child, worker, mut said) = with_a_worker::<R>("0.1", LONG)?;
    let end = R::new().block_on(child.terminate(LONG))?;
    assert_eq!((end.killed, end.scope_killed), (false, false));
    assert!(has_ended(worker), "it returns when the group is empty");
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    assert_eq!(text, "saved\n");
    Ok(())
}

fn group_has_its_grace_by_drop<R: Runtime>() -> io::Result<()> {
    let (child, _, mut said) = with_a_worker::<R>("0.1", LONG)?;
    drop(child);
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    assert_eq!(text, "saved\n");
    // Long before the grace period is over.
    until_no_orphans();
    assert!(!has_children());
    // One that does not make it in time.
    let (child, worker, mut said) = with_a_worker::<R>("600", Duration::from_millis(10))?;
    drop(child);
    until_ended(worker);
    text.clear();
    said.read_to_string(&mut text)?;
    assert_eq!(text, "");
    until_no_orphans();
    Ok(())
}

fn group_ended_by_a_time_limit<R: Runtime>() -> io::Result<()> {
    let limits = OutputLimits::new().time(Duration::from_millis(200));
    // The leader exits at once; what it has started holds the pipe.
    let mut command = CommandOn::<R>::from(sh("sleep 600 & echo $!; exit 7"));
    command.kill_scope(KillScope::Group);
    let output = R::new().block_on(command.output_with(limits))?;
    assert_eq!(output.exit.status.code(), Some(7));
    assert!(!output.timed_out, "the child itself was in time");
    let member = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a PID");
    assert!(has_ended(member));
    Ok(())
}

/// What a grandchild goes on to write after the child's exit is bounded as well.
fn group_ended_by_an_excess<R: Runtime>() -> io::Result<()> {
    let limits = OutputLimits::new().bytes(10).kill_on_excess();
    let script = "(while :; do echo 123456789; done) & exit 7";
    let mut command = CommandOn::<R>::from(sh(script));
    command.kill_scope(KillScope::Group);
    let output = R::new().block_on(command.output_with(limits))?;
    // The excess may have come before the exit.
    assert!(matches!(
        (output.exit.status.code(), output.exit.status.signal()),
        (Some(7), _) | (_, Some(9))
    ));
    assert_eq!(output.stdout, b"123456789\n");
    assert!(output.stdout_excess > 0);
    Ok(())
}

fn scope_set_back_to_the_child<R: Runtime>() -> io::Result<()> {
    let group_of = |command: &mut CommandOn<R>| -> io::Result<Option<Pid>> {
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id().expect("it runs")).ok().and_then(Pid::from_raw);
        let group = getpgid(pid)?;
        R::new().block_on(child.kill())?;
        Ok(Some(group).filter(|group| Some(*group) != pid))
    };
    for by_std in [false, true] {
        let mut command = CommandOn::<R>::new("cat");
        command.stdin(pidfd_reaper::Stdio::piped());
        if by_std {
            command.as_std_mut();
        }
        command.kill_scope(KillScope::Group).kill_scope(KillScope::Child);
        assert_eq!(group_of(&mut command)?, Some(getpgrp()));
        assert_eq!(group_of(command.kill_scope(KillScope::Group))?, None);
        assert_eq!(group_of(command.kill_scope(KillScope::Child))?, Some(getpgrp()));
        assert_eq!(group_of(command.process_group(0))?, None);
    }
    Ok(())
}

/// The end of the grace period and the exit meet.
fn killed_is_what_the_status_says<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    for round in 0..many(100, 20) {
        let mut child = CommandOn::<R>::from(sh("trap 'exit 0' TERM; kill -STOP $$; :")).spawn()?;
        until_state(child.id().expect("it is stopped"), 'T');
        let grace = Duration::from_micros(u64::try_from(200 + round % 50 * 20).expect("small"));
        let end = runtime.block_on(child.terminate(grace))?;
        assert_eq!(end.killed, end.status.signal() == Some(9), "{end:?}");
    }
    Ok(())
}

fn terminate_fails_before_the_signal<R: Runtime>() -> io::Result<()> {
    let mut child = CommandOn::<R>::from(StdCommand::new("cat")).stdin(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    block_on_nothing(child.terminate(LONG)).expect_err("there is no runtime");
    assert_eq!(child.try_wait()?, None);
    // It ends as it likes, not by a signal.
    drop(stdin);
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(0));
    assert!(orphans().is_empty());
    Ok(())
}
