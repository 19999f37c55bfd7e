//! What procfs shows of processes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpid, getppid};

/// Waits until `done`; fails with what `problem` says after a while.
pub(crate) fn until(problem: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{}", problem());
        thread::sleep(Duration::from_millis(2));
    }
}

/// The PID of the init: the parent of this process.
pub(crate) fn init() -> i32 {
    getppid().expect("the init is in this namespace").as_raw_nonzero().get()
}

/// The init's children, dead or alive, but for this process, each with its state.
pub(crate) fn orphans_of_init() -> Vec<(i32, char)> {
    let me = getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").expect("procfs is mounted");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children = numbers.filter(|pid: &i32| *pid != me).filter_map(|pid| {
        let (state, parent) = state_and_parent(pid)?;
        (parent == init()).then_some((pid, state))
    });
    children.collect()
}

pub(crate) fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Waits until the init has reaped all orphans.
pub(crate) fn until_no_orphans() {
    until(|| format!("orphans are left: {:?}", orphans_of_init()), || orphans_of_init().is_empty());
}

/// The value of a line of `/proc/PID/status`.
pub(crate) fn status_of(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(":"));
    values.next().expect("the kernel shows it").trim().to_owned()
}

/// What a process has open.
pub(crate) fn descriptors_of(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it is ours");
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
