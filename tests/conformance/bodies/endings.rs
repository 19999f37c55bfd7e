//! Ends in time: time-outs, grace, and whole groups, by call and by drop.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use pidfd_reaper::{KillScope, Signal};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Body, bodies};
use crate::children::{has_ended, until_ended, until_it_runs, until_no_orphans, until_state};
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        timed_out_and_untouched,
        ended_before_the_timeout,
        terminated_in_time,
        terminated_too_late,
        terminated_while_stopped,
        terminated_after_the_end,
        terminated_by_drop,
        killed_some_time_after_drop,
        group_signalled,
        group_killed,
        group_killed_by_drop,
        group_terminated,
    ]
}

/// Longer than any trial may take, and shorter than anyone would notice.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

/// A child that has said so when it is ready for signals, with what it says after that.
fn ready<R: Runtime>(
    script: &str,
    set_up: impl FnOnce(&mut CommandOn<R>),
) -> io::Result<(ChildOn<R>, File)> {
    let (said, says) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = CommandOn::<R>::new("sh");
    command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(says);
    set_up(&mut command);
    let child = command.spawn()?;
    drop(command);
    let mut said = File::from(said);
    let mut line = [0; 6];
    said.read_exact(&mut line)?;
    assert_eq!(&line, b"ready\n");
    // A signal that comes before the read blocks would have its trap run only after it.
    until_it_runs(child.id().expect("it waits for its input"), "sh");
    Ok((child, said))
}

/// Ends itself with 5 when it is asked to; `read` is a builtin, so no grandchild is left behind.
const OBEDIENT: &str = "trap 'exit 5' TERM; echo ready; read nothing; exit 1";
const STUBBORN: &str = "trap '' TERM; echo ready; read nothing; exit 1";
/// A leader that obeys, and a member that does not; the member's number is said.
const GROUP: &str = "(trap '' TERM; exec sleep 600) & trap 'exit 5' TERM; echo ready; echo $!; \
                     read nothing; exit 1";

/// The member of the group that it has named, once that is where it stays.
fn member(said: &mut File) -> io::Result<u32> {
    let mut text = Vec::new();
    let mut byte = [0];
    while said.read(&mut byte)? == 1 && byte != *b"\n" {
        text.push(byte[0]);
    }
    let member = String::from_utf8_lossy(&text).parse().map_err(io::Error::other)?;
    until_it_runs(member, "sleep");
    Ok(member)
}

fn timed_out_and_untouched<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(STUBBORN, |_| ())?;
    R::new().block_on(async {
        for _ in 0..3 {
            assert_eq!(child.wait_timeout(SHORT).await?, None);
            assert_eq!(child.wait_timeout(Duration::ZERO).await?, None);
        }
        assert!(child.stdin.is_some(), "it was closed");
        // Which ends it.
        assert_eq!(child.wait().await?.code(), Some(1));
        Ok(())
    })
}

fn ended_before_the_timeout<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(STUBBORN, |_| ())?;
    R::new().block_on(async {
        drop(child.stdin.take());
        for _ in 0..2 {
            assert_eq!(
                child.wait_timeout(Duration::MAX).await?.and_then(|end| end.code()),
                Some(1)
            );
        }
        Ok(())
    })
}

fn terminated_in_time<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(OBEDIENT, |command| {
        command.kill_on_drop(true);
    })?;
    // Else it ends by that.
    let _stdin = child.stdin.take();
    let end = R::new().block_on(child.terminate(LONG))?;
    assert_eq!((end.status.code(), end.killed), (Some(5), false));
    Ok(())
}

fn terminated_too_late<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(STUBBORN, |_| ())?;
    let _stdin = child.stdin.take();
    let end = R::new().block_on(child.terminate(SHORT))?;
    assert_eq!((end.status.signal(), end.killed), (Some(9), true));
    Ok(())
}

fn terminated_while_stopped<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(OBEDIENT, |_| ())?;
    let _stdin = child.stdin.take();
    child.signal(Signal::STOP)?;
    until_state(child.id().expect("it runs"), 'T');
    let end = R::new().block_on(child.terminate(LONG))?;
    assert_eq!((end.status.code(), end.killed), (Some(5), false));
    Ok(())
}

fn terminated_after_the_end<R: Runtime>() -> io::Result<()> {
    let (mut child, _said) = ready::<R>(OBEDIENT, |_| ())?;
    let pid = child.id().expect("it runs");
    drop(child.stdin.take());
    until_state(pid, 'Z');
    let end = R::new().block_on(child.terminate(Duration::ZERO))?;
    assert_eq!((end.status.code(), end.killed), (Some(1), false));
    Ok(())
}

fn terminated_by_drop<R: Runtime>() -> io::Result<()> {
    let script = "trap 'echo asked; exit 5' TERM; echo ready; read nothing; exit 1";
    let (mut child, mut said) = ready::<R>(script, |command| {
        command.terminate_on_drop(LONG);
    })?;
    let _stdin = child.stdin.take();
    drop(child);
    until_no_orphans();
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    assert_eq!(text, "asked\n");
    Ok(())
}

fn killed_some_time_after_drop<R: Runtime>() -> io::Result<()> {
    let mut holds = Vec::new();
    for _ in 0..3 {
        let (mut child, said) = ready::<R>(STUBBORN, |command| {
            command.terminate_on_drop(SHORT);
        })?;
        holds.push((child.stdin.take(), said, child.handle()));
        // In a runtime that is gone by the time that the grace is over.
        R::new().block_on(async { drop(child) });
    }
    until_no_orphans();
    for (_stdin, _said, handle) in holds {
        assert_eq!(handle.try_wait()?.and_then(|end| end.signal()), Some(9));
    }
    Ok(())
}

fn group_signalled<R: Runtime>() -> io::Result<()> {
    let (mut child, mut said) = ready::<R>(GROUP, |command| {
        command.process_group(0);
    })?;
    let member = member(&mut said)?;
    let stdin = child.stdin.take();
    child.signal_group(Signal::STOP)?;
    until_state(member, 'T');
    child.signal_group(Signal::CONT)?;
    // The leader's zombie still names the group.
    drop(stdin);
    until_state(child.id().expect("it was not reaped"), 'Z');
    child.signal_group(Signal::KILL)?;
    until_ended(member);
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(1));
    let error = child.signal_group(Signal::KILL).expect_err("it was reaped");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    // A child in our own group leads none, and we are not hit.
    let (mut child, _said) = ready::<R>(OBEDIENT, |_| ())?;
    assert!(child.signal_group(Signal::KILL).is_err());
    R::new().block_on(child.kill())
}

fn group_killed<R: Runtime>() -> io::Result<()> {
    let (mut child, mut said) = ready::<R>(GROUP, |command| {
        command.kill_scope(KillScope::Group);
    })?;
    let member = member(&mut said)?;
    R::new().block_on(child.kill())?;
    until_ended(member);
    Ok(())
}

fn group_killed_by_drop<R: Runtime>() -> io::Result<()> {
    let (child, mut said) = ready::<R>(GROUP, |command| {
        command.kill_scope(KillScope::Group).kill_on_drop(true);
    })?;
    let member = member(&mut said)?;
    drop(child);
    until_ended(member);
    until_no_orphans();
    Ok(())
}

/// The leader exits in time, and the rest of its group has the whole grace period.
fn group_terminated<R: Runtime>() -> io::Result<()> {
    let (mut child, mut said) = ready::<R>(GROUP, |command| {
        command.kill_scope(KillScope::Group);
    })?;
    let member = member(&mut said)?;
    let _stdin = child.stdin.take();
    let grace = 10 * SHORT;
    let begun = Instant::now();
    let end = R::new().block_on(child.terminate(grace))?;
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    assert_eq!((end.status.code(), end.killed, end.scope_killed), (Some(5), false, true));
    assert!(has_ended(member), "it returns when the group is empty");
    Ok(())
}
