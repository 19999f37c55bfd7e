//! Instructions in user space, from the processor's counter by perf.
//!
//! Many virtual machines hide it. valgrind would count them too, but knows no `pidfd_open` (3.19).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{self, Command};

pub(super) fn are_counted_here() -> bool {
    let log = env::temp_dir().join(format!("bench-perf-{}.log", process::id()));
    let line = observer(&log);
    let run = Command::new(&line[0]).args(&line[1..]).arg("true").output();
    let counted = run.is_ok_and(|run| run.status.success()) && count(&log).is_ok();
    // An error means that perf is not there.
    let _ = fs::remove_file(log);
    counted
}

/// What comes before the command that is to be observed, without its children.
pub(super) fn observer(log: &Path) -> Vec<OsString> {
    let line = ["perf", "stat", "-i", "-x", ",", "-e", "instructions:u", "-o"];
    line.map(OsString::from).into_iter().chain([log.into()]).collect()
}

pub(super) fn count(log: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(log)?;
    let line = text.lines().find(|line| line.contains("instructions"));
    let number = line.and_then(|line| line.split(',').next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("nothing was counted"))
}
