//! Many hands on one child, many children in one set, and output within limits.

use std::io;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::{ChildSet, OutputLimits, Pidfd, Signal};

use super::{Body, bodies};
use crate::children::{LITTLE, held, idle_second, many, sh, until_no_orphans};
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        many_wait_for_one,
        handles_outlive_the_child,
        two_wait_and_nothing_spins,
        set_of_many.long(),
        set_gives_members_back,
        set_drops_its_members,
        output_within_bytes,
        output_within_time,
        output_held_by_a_grandchild,
    ]
}

pub(super) fn held_child<R: Runtime>(code: u8) -> io::Result<(ChildOn<R>, crate::children::Hold)> {
    let (child, hold) = held(code)?;
    Ok((ChildOn::<R>::from_std(child).map_err(io::Error::from)?, hold))
}

fn many_wait_for_one<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_child::<R>(7)?;
    let runtime = R::new();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let handle = child.handle();
            tasks.push(runtime.spawn(async move { handle.wait().await }));
        }
        // Another has begun and given up.
        let handle = child.handle();
        assert!(poll_once(handle.wait()).await.is_none());
        assert!(poll_once(child.wait()).await.is_none());
        child.handle().signal(Signal::CONT)?;
        drop(hold);
        for task in tasks {
            assert_eq!(task.await?.code(), Some(7));
        }
        assert_eq!(child.wait().await?.code(), Some(7));
        assert_eq!(handle.wait().await?.code(), Some(7));
        assert_eq!(handle.id(), None);
        assert_eq!(handle.kill().expect_err("it was reaped").kind(), io::ErrorKind::InvalidInput);
        Ok(())
    })
}

/// The orphan queue reaps the child, and the handles are told.
fn handles_outlive_the_child<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held_child::<R>(7)?;
    let handle = child.handle();
    let (early, late) = (handle.clone(), handle.clone());
    let runtime = R::new();
    runtime.block_on(async {
        let task = runtime.spawn(async move { early.wait().await });
        drop(child);
        assert_eq!(handle.try_wait()?, None);
        drop(hold);
        assert_eq!(task.await?.code(), Some(7));
        until_no_orphans();
        assert_eq!(late.wait().await?.code(), Some(7));
        Ok(())
    })
}

fn two_wait_and_nothing_spins<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_child::<R>(7)?;
    let handle = child.handle();
    let runtime = R::new();
    runtime.block_on(async {
        let ours = runtime.spawn(async move { child.wait().await });
        let theirs = runtime.spawn(async move { handle.wait().await });
        // The runtime runs while another thread looks at the clock, and then ends the child.
        let clock = thread::spawn(move || {
            let time = idle_second();
            drop(hold);
            time
        });
        assert_eq!((ours.await?.code(), theirs.await?.code()), (Some(7), Some(7)));
        let time = clock.join().expect("it does not panic");
        assert!(time < LITTLE, "{time:?} of processor time in a second");
        Ok(())
    })
}

fn set_of_many<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let mut set = ChildSet::<R::Reactor>::new();
        assert!(set.next().await.is_none());
        let mut command = CommandOn::<R>::new("cat");
        let mut codes = std::collections::BTreeMap::new();
        for code in 0..many(500, 50) {
            let code = i32::try_from(code % 256).expect("it is a rest");
            let child = CommandOn::<R>::from(sh(&format!("exit {code}"))).spawn()?;
            codes.insert(set.add(child), Some(code));
        }
        // One that stays until all others have ended.
        let last = set.add(command.stdin(Stdio::piped()).spawn()?);
        while set.len() > 1 {
            let ended = set.next().await.expect("it is not empty");
            assert_eq!(Some(ended.result?.code()), codes.remove(&ended.id));
        }
        assert!(poll_once(set.next()).await.is_none());
        set.get_mut(last).expect("it runs").start_kill()?;
        assert_eq!(set.next().await.expect("it has ended").id, last);
        assert!(set.is_empty() && codes.is_empty());
        Ok(())
    })
}

fn set_gives_members_back<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let mut set = ChildSet::<R::Reactor>::new();
        let (child, hold) = held_child::<R>(7)?;
        let id = set.add(child);
        assert!(poll_once(set.next()).await.is_none());
        let mut child = set.remove(id).expect("it is in the set");
        assert!(set.remove(id).is_none());
        assert!(set.next().await.is_none());
        drop(hold);
        assert_eq!(child.wait().await?.code(), Some(7));
        Ok(())
    })
}

fn set_drops_its_members<R: Runtime>() -> io::Result<()> {
    let mut set = ChildSet::<R::Reactor>::new();
    for _ in 0..10 {
        set.add(CommandOn::<R>::new("sleep").arg("600").kill_on_drop(true).spawn()?);
    }
    R::new().block_on(async { assert!(poll_once(set.next()).await.is_none()) });
    drop(set);
    until_no_orphans();
    Ok(())
}

fn output_within_bytes<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let script = "i=0; while [ $i -lt 1000 ]; do echo 123456789; i=$((i+1)); done; echo e >&2";
        let limits = OutputLimits::new().bytes(15);
        let output = CommandOn::<R>::from(sh(script)).output_with(limits.clone()).await?;
        assert!(output.exit.status.success() && output.complete && !output.timed_out);
        assert_eq!(output.stdout, b"123456789\n12345");
        assert_eq!((output.stdout_excess, output.stderr_excess), (9_985, 0));
        assert_eq!(output.stderr, b"e\n");
        // One that never stops is ended.
        let endless = sh("while :; do echo 123456789; done");
        let output = CommandOn::<R>::from(endless).output_with(limits.kill_on_excess()).await?;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.exit.status), Some(9));
        assert_eq!(output.stdout, b"123456789\n12345");
        Ok(())
    })
}

fn output_within_time<R: Runtime>() -> io::Result<()> {
    let limits = OutputLimits::new().time(Duration::from_millis(500));
    let mut command = CommandOn::<R>::from(sh("echo first; exec sleep 600"));
    let output = R::new().block_on(async { command.output_with(limits).await })?;
    assert!(output.timed_out);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.exit.status), Some(9));
    // A slow machine may not have come to it.
    assert!(output.stdout == b"first\n" || output.stdout.is_empty());
    Ok(())
}

fn output_held_by_a_grandchild<R: Runtime>() -> io::Result<()> {
    // No grace; what the child itself has written is there all the same.
    let limits = OutputLimits::new().grace(Duration::ZERO);
    let mut command = CommandOn::<R>::from(sh("sleep 600 & echo $!; exit 7"));
    let output = R::new().block_on(async { command.output_with(limits).await })?;
    assert_eq!(output.exit.status.code(), Some(7));
    assert!(!output.complete && !output.timed_out);
    let grandchild = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    Pidfd::open(grandchild).and_then(|pidfd| pidfd.send_signal(Signal::KILL)).or_else(|_| {
        // No pidfds here: its number is its own, for nobody has reaped it.
        let pid = i32::try_from(grandchild).ok().and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.expect("it is one"), Signal::KILL)?)
    })
}
