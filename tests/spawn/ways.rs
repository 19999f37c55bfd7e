//! The same command in both ways.

use std::io;
use std::process::Command as StdCommand;
use std::time::{Duration, Instant};
use std::{panic, thread};

use pidfd_reaper::tokio::{Child, Command};

use crate::inspect::inspect;

/// What a child is like, or the error of its spawn.
pub(crate) type Seen = Result<String, io::Error>;

/// The child of a command of the standard library.
pub(crate) fn by_std(mut command: StdCommand) -> Seen {
    let mut child = command.spawn()?;
    let seen = panic::catch_unwind(|| inspect(child.id()));
    child.kill()?;
    child.wait()?;
    seen.map_err(|_| io::Error::other("it cannot be looked at"))
}

/// The child of a command that starts it directly.
pub(crate) fn directly(mut command: Command) -> Seen {
    assert!(command.spawns_directly());
    let seen = seen(&mut command);
    assert!(command.spawns_directly(), "it has fallen back");
    seen
}

pub(crate) fn seen(command: &mut Command) -> Seen {
    command.kill_on_drop(true);
    let mut child = command.spawn()?;
    let seen = inspect(child.id().expect("it runs"));
    child.start_kill()?;
    wait(child)?;
    Ok(seen)
}

/// Waits for a child without a runtime.
///
/// It does not sleep: a storm of signals would interrupt that over and over.
pub(crate) fn wait(mut child: Child) -> io::Result<std::process::ExitStatus> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        assert!(Instant::now() < deadline, "it does not end");
        thread::yield_now();
    }
}

/// Compares the children of one command, set up in the same way, or the errors.
macro_rules! compare {
    ($program:expr, $(|$command:ident| $setup:expr)?) => {{
        let std = {
            #[allow(unused_mut, reason = "not all commands are changed")]
            let mut command = std::process::Command::new($program);
            $(let $command = &mut command; $setup;)?
            crate::ways::by_std(command)
        };
        let direct = {
            #[allow(unused_mut, reason = "not all commands are changed")]
            let mut command = pidfd_reaper::tokio::Command::new($program);
            $(let $command = &mut command; $setup;)?
            crate::ways::directly(command)
        };
        crate::ways::assert_same(std, direct)
    }};
}
pub(crate) use compare;

/// Returns what both have seen, or the error that both had.
pub(crate) fn assert_same(std: Seen, direct: Seen) -> Seen {
    match (std, direct) {
        (Ok(std), Ok(direct)) => {
            let (mut std_lines, mut lines) = (std.lines(), direct.lines());
            loop {
                match (std_lines.next(), lines.next()) {
                    (None, None) => return Ok(direct),
                    (std, direct) => assert_eq!(std, direct, "left: std's, right: ours"),
                }
            }
        }
        (Err(std), Err(direct)) => {
            assert_eq!(std.raw_os_error(), direct.raw_os_error(), "{std} | {direct}");
            assert_eq!(std.kind(), direct.kind());
            assert_eq!(std.to_string(), direct.to_string());
            Err(direct)
        }
        (std, direct) => panic!("std: {std:?}\nours: {direct:?}"),
    }
}
