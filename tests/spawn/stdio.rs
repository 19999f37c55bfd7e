//! Standard input, output and error, in all permutations of what they may be.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::catch_unwind;
use std::process::Command as StdCommand;

use pidfd_reaper::Stdio;
use pidfd_reaper::tokio::Command;

use crate::inspect::{ARGUMENT, PROGRAM, descriptors, inspect};
use crate::ways::compare;
use crate::{Trial, sys, trials};

pub(crate) fn all() -> Vec<Trial> {
    trials![permutations, files_and_pipes, parents_own_streams, spawned_again]
}

/// What one of the child's three is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Unset,
    Null,
    Piped,
    /// That descriptor of the parent.
    Parents(RawFd),
}

const ALL: [What; 6] =
    [What::Unset, What::Null, What::Piped, What::Parents(0), What::Parents(1), What::Parents(2)];

/// The parent has three files as its own three, or some of them are closed, or close-on-exec; the
/// child gets each of [`ALL`] at each place.
fn permutations() {
    let files = ["/dev/zero", "/dev/full", "/dev/urandom"].map(|path| File::open(path).unwrap());
    // Out of the way, whatever is closed below.
    let files = files.map(|file| rustix::io::fcntl_dupfd_cloexec(file, 100).unwrap());
    let stderr = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 150).unwrap();
    let parent = |closed: usize, is_inherited: bool| {
        for (fd, file) in (0..).zip(&files) {
            if closed & (1 << fd) == 0 {
                sys::dup(file.as_raw_fd(), fd, is_inherited);
            } else {
                sys::close(fd);
            }
        }
    };
    let mut failures = Vec::new();
    for closed in 0..8 {
        let is_open = |what: &What| match what {
            What::Parents(fd) => closed & (1 << fd) == 0,
            _ => true,
        };
        for is_inherited in [true, false] {
            for whats in ALL
                .iter()
                .flat_map(|a| ALL.iter().flat_map(move |b| ALL.iter().map(move |c| [*a, *b, *c])))
            {
                if !whats.iter().all(is_open) {
                    continue;
                }
                // A third of them.
                if (closed + whats.iter().map(|what| index(*what)).sum::<usize>()) % 3 != 0 {
                    continue;
                }
                parent(closed, is_inherited);
                let case = format!("closed {closed:03b}, inherited {is_inherited}, {whats:?}");
                // A panic is written where it can be read.
                let direct = catch_unwind(|| directly(whats)).unwrap_or_default();
                let expected = expected(whats, closed, is_inherited);
                if standard_three(&direct) != expected {
                    failures.push(format!("{case}\n{expected:?}---\n{direct}"));
                }
                // With one that is closed, what the standard library opens may get its number, and is
                // overwritten before it is used.
                if closed != 0 {
                    continue;
                }
                parent(closed, is_inherited);
                let std = catch_unwind(|| with_std(whats)).unwrap_or_default();
                if std != direct {
                    failures.push(format!("{case}\n{std}---\n{direct}"));
                }
            }
        }
    }
    sys::dup(stderr.as_raw_fd(), 2, true);
    sys::dup(stderr.as_raw_fd(), 1, true);
    assert!(failures.is_empty(), "{} differ, the first: {}", failures.len(), failures[0]);
}

/// What the three are to be, by the names of [`standard_three`].
fn expected(whats: [What; 3], closed: usize, is_inherited: bool) -> [&'static str; 3] {
    const FILES: [&str; 3] = ["/dev/zero", "/dev/full", "/dev/urandom"];
    let mut all = [""; 3];
    for (fd, what) in whats.into_iter().enumerate() {
        all[fd] = match what {
            What::Unset if is_inherited && closed & (1 << fd) == 0 => FILES[fd],
            What::Unset => "",
            What::Null => "/dev/null",
            What::Piped => "a",
            What::Parents(fd) => FILES[usize::try_from(fd).unwrap()],
        };
    }
    all
}

/// The first words of what the child has as its three, as far as they are open.
fn standard_three(descriptors: &str) -> [&str; 3] {
    [0, 1, 2].map(|fd| {
        let line = descriptors.lines().find_map(|line| line.strip_prefix(&format!("fd {fd}: ")));
        line.and_then(|line| line.split(' ').next()).unwrap_or_default()
    })
}

fn index(what: What) -> usize {
    ALL.iter().position(|other| *other == what).unwrap_or_default()
}

fn with_std(whats: [What; 3]) -> String {
    let make = |what| match what {
        What::Unset => std::process::Stdio::inherit(),
        What::Null => std::process::Stdio::null(),
        What::Piped => std::process::Stdio::piped(),
        What::Parents(fd) => sys::own(fd).into(),
    };
    let mut command = StdCommand::new(PROGRAM);
    let [stdin, stdout, stderr] = whats.map(make);
    command.arg(ARGUMENT).stdin(stdin).stdout(stdout).stderr(stderr);
    let spawned = command.spawn();
    // It may own a descriptor several times over, which is replaced for the next permutation.
    std::mem::forget(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return error.to_string(),
    };
    let seen = inspect_descriptors(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    seen
}

fn directly(whats: [What; 3]) -> String {
    let make = |what| match what {
        What::Unset => Stdio::inherit(),
        What::Null => Stdio::null(),
        What::Piped => Stdio::piped(),
        What::Parents(fd) => sys::own(fd).into(),
    };
    let mut command = Command::new(PROGRAM);
    let [stdin, stdout, stderr] = whats.map(make);
    command.arg(ARGUMENT).stdin(stdin).stdout(stdout).stderr(stderr);
    assert!(command.spawns_directly());
    let spawned = command.spawn();
    std::mem::forget(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return error.to_string(),
    };
    let seen = inspect_descriptors(child.id().unwrap());
    child.start_kill().unwrap();
    crate::ways::wait(child).unwrap();
    seen
}

fn inspect_descriptors(pid: u32) -> String {
    inspect(pid);
    descriptors(pid)
}

fn files_and_pipes() {
    let file = || File::open("/dev/zero").unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).stdin(file()).stdout(file()).stderr(file())).unwrap();
    let mut first = StdCommand::new(PROGRAM);
    let mut first = first.arg(ARGUMENT).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pipe = first.stdout.take().unwrap();
    let seen = crate::ways::directly({
        let mut command = Command::new(PROGRAM);
        command.arg(ARGUMENT).stdin(pipe);
        command
    });
    assert!(seen.unwrap().contains("fd 0: a pipe"));
    first.kill().unwrap();
    first.wait().unwrap();
}

fn parents_own_streams() {
    compare!(PROGRAM, |c| c.arg(ARGUMENT).stdout(std::io::stderr()).stderr(std::io::stdout()))
        .unwrap();
}

/// A command may be spawned several times, and keeps what it was given.
fn spawned_again() {
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).stdin(File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let seen = crate::ways::seen(&mut command).unwrap();
    assert_eq!(crate::ways::seen(&mut command).unwrap(), seen);
    // The standard library's cannot be read back; once replaced, it does not matter any more.
    command.stderr(std::process::Stdio::null());
    assert!(!command.spawns_directly());
    let by_std = crate::ways::seen(&mut command).unwrap();
    assert!(by_std.contains("fd 0: /dev/zero") && by_std.contains("fd 2: /dev/null"), "{by_std}");
}
