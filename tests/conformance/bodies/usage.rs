//! What a child has used comes with its status, to all who ask, unless something else reaped it.

use std::io;
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::{Exit, KernelSupport, OutputLimits, ResourceUsage, StatusLost};

use super::handles::held_child;
use super::thefts::steal;
use super::{Body, bodies};
use crate::children::sh;
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        usage_comes_with_the_status,
        usage_comes_with_the_output,
        usage_is_the_same_for_two,
        usage_goes_to_the_thief,
        usage_of_output_goes_to_the_thief,
        peak_of_the_child_not_ours,
        usage_of_one_taken_over_after_its_exit,
    ]
}

/// It uses some milliseconds of a processor, writes a line, and exits with 7.
const WORK: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $i; exit 7";

fn check(exit: Exit) -> ResourceUsage {
    assert_eq!(exit.status.code(), Some(7));
    let usage = exit.usage.expect("we have reaped it");
    assert!(usage.user_time + usage.system_time > Duration::ZERO, "{usage:?}");
    // More than a processor can have used by now.
    assert!(usage.user_time + usage.system_time < Duration::from_secs(60), "{usage:?}");
    usage
}

fn usage_comes_with_the_status<R: Runtime>() -> io::Result<()> {
    let mut child = CommandOn::<R>::from(sh(WORK)).stdout(std::process::Stdio::null()).spawn()?;
    check(R::new().block_on(child.wait_with_usage())?);
    Ok(())
}

fn usage_comes_with_the_output<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let mut command = CommandOn::<R>::from(sh(WORK));
    let output = runtime.block_on(async { command.output_with(OutputLimits::new()).await })?;
    assert_eq!(output.stdout, b"20000\n");
    check(output.exit);
    let child = command.spawn()?;
    let output = runtime.block_on(child.wait_with_output_within(&OutputLimits::new()))?;
    assert_eq!(output.stdout, b"20000\n");
    check(output.exit);
    Ok(())
}

fn usage_is_the_same_for_two<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh(&format!("read nothing; {WORK}")));
    let mut child =
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn()?;
    let (hold, handle) = (child.stdin.take(), child.handle());
    let runtime = R::new();
    runtime.block_on(async {
        assert!(poll_once(child.wait_with_usage()).await.is_none());
        let task = runtime.spawn(async move { handle.wait_with_usage().await });
        drop(hold);
        let ours = check(child.wait_with_usage().await?);
        assert_eq!(check(task.await?), ours);
        assert_eq!(check(child.handle().wait_with_usage().await?), ours);
        Ok(())
    })
}

/// What is left then is the status, where the kernel tells it.
fn check_stolen(end: io::Result<Exit>) {
    let recovers = KernelSupport::probe().exit_info.is_ok();
    match end {
        Ok(exit) => assert_eq!((recovers, exit.status.code(), exit.usage), (true, Some(7), None)),
        Err(error) => assert!(!recovers && StatusLost::is(&error), "{error}"),
    }
}

fn usage_goes_to_the_thief<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_child::<R>(7)?;
    let runtime = R::new();
    assert!(runtime.block_on(poll_once(child.wait_with_usage())).is_none());
    drop(hold);
    steal(child.id().expect("the record knows no end"));
    check_stolen(runtime.block_on(child.wait_with_usage()));
    check_stolen(runtime.block_on(child.handle().wait_with_usage()));
    Ok(())
}

fn usage_of_output_goes_to_the_thief<R: Runtime>() -> io::Result<()> {
    let child: ChildOn<R> = CommandOn::<R>::from(sh("exit 7")).spawn()?;
    steal(child.id().expect("the record knows no end"));
    let limits = OutputLimits::new();
    let end = R::new().block_on(child.wait_with_output_within(&limits));
    check_stolen(end.map(|output| output.exit).map_err(io::Error::from));
    Ok(())
}

/// The kernel counts our own peak as the child's, unless the child's is larger.
fn peak_of_the_child_not_ours<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let peak = |command: &mut CommandOn<R>| -> io::Result<Option<u64>> {
        let exit = runtime.block_on(command.output_with(OutputLimits::new()))?.exit;
        assert!(exit.status.success());
        Ok(exit.usage.expect("we have reaped it").max_rss_kib)
    };
    let mut large = CommandOn::<R>::new("dd");
    large.args(["if=/dev/zero", "of=/dev/null", "bs=96M", "count=1"]);
    assert!(peak(&mut large)?.is_some_and(|kib| kib >= 96 << 10));
    let held = std::hint::black_box(vec![1_u8; 32 << 20]);
    assert_eq!(peak(&mut CommandOn::<R>::new("true"))?, None);
    assert!(peak(&mut large)?.is_some_and(|kib| kib >= 96 << 10));
    drop(held);
    Ok(())
}

/// Taking it over reaps it, and keeps what it has used; and its PID, until it is waited for.
fn usage_of_one_taken_over_after_its_exit<R: Runtime>() -> io::Result<()> {
    let std = sh(WORK).stdout(std::process::Stdio::null()).spawn()?;
    let pid = std.id();
    crate::children::until_state(pid, 'Z');
    let mut child = ChildOn::<R>::from_std(std).map_err(io::Error::from)?;
    assert_eq!(child.id(), Some(pid));
    check(R::new().block_on(child.wait_with_usage())?);
    assert_eq!(child.id(), None);
    Ok(())
}
