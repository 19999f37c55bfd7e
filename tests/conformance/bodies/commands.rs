//! `Command` and `Child`: what can be set takes effect, and a spawn leaves a managed child or none.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as StdCommand, Output, Stdio};
use std::{env, process};

use futures_lite::future::poll_once;
use pidfd_reaper::orphans;
use rustix::process::geteuid;

use super::{Body, bodies};
use crate::children::{many, myself, sh, until_no_orphans, until_state};
use crate::leaks::{has_children, resident_pages};
use crate::profiles::is_filtered;
use crate::runtimes::{ChildOn, CommandOn, Runtime};
use crate::sys;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        spawned_in_a_row.long(),
        failures_to_start,
        killed_by_handle,
        killed_by_drop,
        waited_for_by_handle,
        taken_over_running,
        taken_over_waited_for,
        taken_over_stolen,
        spawned_with,
        closure_before_exec,
        environment_and_names,
        user_and_group.if_shown(|| geteuid().is_root()),
    ]
}

/// Neither descriptors nor threads nor memory grow.
fn spawned_in_a_row<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::new("true");
    let runtime = R::new();
    let mut run = |times: usize| {
        runtime.block_on(async {
            for _ in 0..times {
                assert!(command.spawn()?.wait().await?.success());
            }
            io::Result::Ok(())
        })
    };
    // What allocators and runtimes keep, they have by then.
    let times = if is_filtered() { 1000 } else { many(20_000, 1000) };
    run(times / 10)?;
    let before = resident_pages();
    run(times - times / 10)?;
    let more = resident_pages().saturating_sub(before);
    assert!(more < 256, "{more} pages more than before");
    Ok(())
}

/// The errors are those of the standard library, and nothing is left of the attempt.
fn failures_to_start<R: Runtime>() -> io::Result<()> {
    let no_program = env::temp_dir().join(format!("conformance-{}", process::id()));
    fs::write(&no_program, [0; 64])?;
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o755))?;
    let mut too_long = StdCommand::new("true");
    too_long.arg("x".repeat(4 << 20));
    let failures = [
        (StdCommand::new("/nonexistent"), Some(io::ErrorKind::NotFound)),
        (StdCommand::new("no-such-program-anywhere"), Some(io::ErrorKind::NotFound)),
        (StdCommand::new("/proc/version"), Some(io::ErrorKind::PermissionDenied)),
        (StdCommand::new(&no_program), None),
        (too_long, None),
    ];
    let runtime = R::new();
    for (mut command, kind) in failures {
        let error = command.spawn().expect_err("it is no program");
        assert!(kind.is_none_or(|kind| error.kind() == kind), "{error}");
        let is_it = |ours: io::Error| ours.raw_os_error() == error.raw_os_error();
        let mut command = CommandOn::<R>::from(command);
        assert!(command.spawn().is_err_and(is_it));
        assert!(runtime.block_on(async { command.status().await }).is_err_and(is_it));
        assert!(runtime.block_on(async { command.output().await }).is_err_and(is_it));
        // The standard library forks by itself then, and is told through a pipe. It has the shell
        // try what has no format.
        if error.raw_os_error() != Some(libc::ENOEXEC) {
            sys::set_umask(command.as_std_mut(), 0o22);
            assert!(command.spawn().is_err_and(is_it));
        }
        assert!(!has_children());
    }
    assert!(orphans().is_empty());
    fs::remove_file(no_program)
}

fn killed_by_handle<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::new("sleep");
    command.arg("100");
    R::new().block_on(async {
        let mut child = command.spawn()?;
        child.start_kill()?;
        assert_eq!(child.wait().await?.signal(), Some(9));
        child.start_kill()?;
        let mut child = command.spawn()?;
        assert!(poll_once(child.wait()).await.is_none());
        child.kill().await?;
        assert_eq!(child.try_wait()?.and_then(|status| status.signal()), Some(9));
        Ok(())
    })
}

fn killed_by_drop<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::new("sleep");
    command.arg("100").kill_on_drop(true);
    R::new().block_on(async {
        drop(command.spawn()?);
        let mut polled = command.spawn()?;
        assert!(poll_once(polled.wait()).await.is_none());
        drop(polled);
        drop(poll_once(command.status()).await);
        drop(poll_once(command.output()).await);
        io::Result::Ok(())
    })?;
    drop(command.spawn()?);
    until_no_orphans();
    assert!(!has_children());
    Ok(())
}

fn waited_for_by_handle<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("read nothing; exit 7"));
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let pid = child.id().expect("it runs");
    assert_eq!(child.try_wait()?, None);
    R::new().block_on(async {
        // That closes its standard input, so it ends.
        assert_eq!(child.wait().await?.code(), Some(7));
        assert!(child.stdin.is_none());
        assert_eq!(child.id(), None);
        assert_eq!(child.wait().await?.code(), Some(7));
        io::Result::Ok(())
    })?;
    assert_eq!(child.try_wait()?.and_then(|status| status.code()), Some(7));

    let mut child = command.spawn()?;
    assert_ne!(child.id(), Some(pid));
    drop(child.stdin.take());
    until_state(child.id().expect("it was not waited for"), 'Z');
    assert_eq!(child.try_wait()?.and_then(|status| status.code()), Some(7));
    assert_eq!(child.id(), None);
    assert!(!has_children());
    Ok(())
}

fn taken_over_running<R: Runtime>() -> io::Result<()> {
    let mut cat = StdCommand::new("cat");
    let cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = cat.id();
    let mut child = ChildOn::<R>::try_from(cat)?;
    assert_eq!(child.id(), Some(pid));
    R::new().block_on(async {
        let stdin = child.stdin.take().expect("it was piped");
        R::write_all(stdin, b"through").await?;
        let Output { status, stdout, stderr } = child.wait_with_output().await?;
        assert!(status.success());
        assert_eq!((&stdout[..], &stderr[..]), (&b"through"[..], &b""[..]));
        Ok(())
    })
}

fn taken_over_waited_for<R: Runtime>() -> io::Result<()> {
    let mut std = sh("exit 7").spawn()?;
    std.wait()?;
    let mut child = ChildOn::<R>::from_std(std)?;
    assert_eq!(child.id(), None);
    assert_eq!(child.try_wait()?.and_then(|status| status.code()), Some(7));
    assert_eq!(R::new().block_on(child.wait())?.code(), Some(7));
    Ok(())
}

/// The child comes back in the error, with its pipes.
fn taken_over_stolen<R: Runtime>() -> io::Result<()> {
    let std = sh("exit 7").stdout(Stdio::piped()).spawn()?;
    let pid = std.id();
    super::thefts::steal(pid);
    let error = ChildOn::<R>::from_std(std).expect_err("its status was stolen");
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    let mut std = error.into_child();
    assert_eq!(std.id(), pid);
    assert!(std.stdout.is_some());
    assert!(std.wait().is_err());
    Ok(())
}

fn spawned_with<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("echo $SET; exit 7"));
    let child = command.stdout(Stdio::piped()).spawn_with(|std| std.env("SET", "with").spawn())?;
    let output = R::new().block_on(child.wait_with_output())?;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"with\n"[..]));
    let refused = command.spawn_with(|_| Err(io::Error::from_raw_os_error(libc::EXDEV)));
    assert_eq!(refused.expect_err("it started none").raw_os_error(), Some(libc::EXDEV));
    Ok(())
}

fn closure_before_exec<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("umask"));
    sys::set_umask_by_ours(&mut command, 0o123);
    let output = R::new().block_on(async { command.output().await })?;
    assert_eq!(output.stdout, b"0123\n");
    Ok(())
}

fn environment_and_names<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let output = |command: &mut CommandOn<R>| -> io::Result<String> {
        let output = runtime.block_on(async { command.output().await })?;
        assert!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().into())
    };
    let mut command = CommandOn::<R>::from(sh("echo $ONE ${TWO-none} ${HOME-none}; pwd"));
    let path = env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).envs([("ONE", "1"), ("TWO", "2")]).env_remove("TWO");
    assert_eq!(output(command.current_dir("/proc"))?, "1 none none\n/proc");

    let mut command = CommandOn::<R>::from(myself("arg0")?);
    assert_eq!(output(command.arg0("renamed"))?, "renamed");

    let mut command = CommandOn::<R>::new("cat");
    command.arg("/proc/self/stat").process_group(0);
    let stat = output(&mut command)?;
    let (pid, rest) = stat.split_once(' ').unwrap_or_default();
    // pid (comm) state ppid pgrp
    assert_eq!(rest.split(' ').nth(3), Some(pid), "{stat}");

    let file = File::open("/proc/self/status")?;
    let mut command = CommandOn::<R>::new("cat");
    assert!(output(command.stdin(file))?.contains("Threads:"));
    Ok(())
}

fn user_and_group<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::new("cat");
    command.arg("/proc/self/status").uid(65534).gid(65533);
    let output = R::new().block_on(async { command.output().await })?;
    let status = String::from_utf8_lossy(&output.stdout);
    let has = |line: &str| status.lines().any(|known| known == line);
    assert!(has("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    assert!(has("Gid:\t65533\t65533\t65533\t65533"), "{status}");

    // We may still wait for it, and are root.
    let mut child =
        CommandOn::<R>::from(sh("read nothing")).uid(65534).stdin(Stdio::piped()).spawn()?;
    child.start_kill()?;
    assert_eq!(R::new().block_on(child.wait())?.signal(), Some(9));
    Ok(())
}
