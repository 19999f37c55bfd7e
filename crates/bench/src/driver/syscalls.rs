//! System calls by name, from strace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// How often each call was made.
pub(crate) type Calls = BTreeMap<String, u64>;

pub(super) fn is_there() -> bool {
    Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What comes before the command that is to be observed, with all its threads.
pub(super) fn observer(log: &Path) -> Vec<OsString> {
    let mut observer: Vec<OsString> =
        ["strace", "-f", "-qq", "-s", "0", "-o"].map(Into::into).into();
    observer.push(log.into());
    observer
}

/// Counts the calls of the observed process and its threads, without those of its children: they
/// are told by their `execve`.
pub(super) fn count(log: &Path) -> io::Result<Calls> {
    let log = fs::read_to_string(log)?;
    let calls = || log.lines().filter_map(call_of);
    let myself = calls().next().map(|(task, _)| task);
    let executes = calls().filter(|(_, name)| *name == "execve").map(|(task, _)| task);
    let children: BTreeSet<&str> = executes.filter(|task| Some(*task) != myself).collect();
    let mut counts = Calls::new();
    for (_, name) in calls().filter(|(task, _)| !children.contains(task)) {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// The thread and the name in a line such as `123 close(3) = 0`. A call that is resumed was
/// counted when it began.
fn call_of(line: &str) -> Option<(&str, &str)> {
    let (task, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_').then_some((task, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_a_call_are_counted() {
        assert_eq!(call_of("12 close(3) = 0"), Some(("12", "close")));
        assert_eq!(call_of("12 vfork( <unfinished ...>"), Some(("12", "vfork")));
        assert_eq!(call_of("12 <... vfork resumed>) = 13"), None);
        assert_eq!(call_of("12 +++ exited with 0 +++"), None);
        assert_eq!(call_of("12 --- SIGCHLD {si_signo=SIGCHLD} ---"), None);
    }
}
