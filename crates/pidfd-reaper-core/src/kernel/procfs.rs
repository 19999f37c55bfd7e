//! What procfs shows of a process: when it started, and to which group it belongs.

use std::fs;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::process::Pid;

use super::retry;

/// When a process started, in clock ticks since the boot.
///
/// With the PID it identifies a process: the kernel goes through all other PIDs before it reuses
/// one, which takes longer than a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartTime(u64);

/// Part of a process's line in
/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
struct Stat {
    state: u8,
    group: i32,
    started: StartTime,
}

impl Stat {
    fn read(pid: &str) -> Option<Self> {
        Self::parse(&read_file(&format!("/proc/{pid}/stat"))?)
    }

    /// The name in parentheses may have spaces and parentheses in it.
    fn parse(line: &str) -> Option<Self> {
        let (_, fields) = line.rsplit_once(") ")?;
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let group = fields.nth(1)?.parse().ok()?;
        let started = StartTime(fields.nth(16)?.parse().ok()?);
        Some(Self { state, group, started })
    }

    /// Neither a zombie nor about to be removed.
    fn runs(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// What a file of procfs has; `None` if it cannot be read.
///
/// The standard library would try again after `EINTR` without an end.
pub(super) fn read_file(path: &str) -> Option<String> {
    let file = retry(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())).ok()?;
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(1024);
        if retry(|| read(&file, spare_capacity(&mut bytes))).ok()? == 0 {
            return String::from_utf8(bytes).ok();
        }
    }
}

/// When the process `pid` started; `None` where procfs does not show it.
pub(crate) fn start_time(pid: Pid) -> Option<StartTime> {
    Stat::read(&pid.as_raw_nonzero().to_string()).map(|stat| stat.started)
}

/// Whether `pid` is known to be another process than the one that started at `started`.
///
/// Where procfs does not show it (not mounted, `hidepid`), nothing is known.
pub(crate) fn is_another(pid: Pid, started: Option<StartTime>) -> bool {
    started.is_some_and(|started| start_time(pid).is_some_and(|now| now != started))
}

/// Whether `pid` is known to be the process that started at `started`, running or a zombie.
pub(crate) fn is_same(pid: Pid, started: Option<StartTime>) -> bool {
    started.is_some() && start_time(pid) == started
}

/// The processes of a group that have not exited; `None` where procfs does not show them.
pub(crate) fn running_members(group: Pid) -> Option<Vec<Pid>> {
    let group = group.as_raw_nonzero().get();
    let own = Stat::read("self")?;
    debug_assert!(own.runs());
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let pid = name.to_str()?;
        let raw = pid.parse().ok()?;
        let stat = Stat::read(pid)?;
        (stat.group == group && stat.runs()).then(|| Pid::from_raw(raw)).flatten()
    });
    Some(pids.collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_is_parsed() {
        let line = "7 (a) R 1 (b) S 1 42 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.started), (b'S', 42, StartTime(4711)));
        assert!(Stat::parse("7 (a").is_none());
    }

    #[test]
    fn a_running_member_is_found_and_a_zombie_is_not() {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        let pid = crate::kernel::pid(child.id()).unwrap();
        assert_eq!(running_members(pid), Some(vec![pid]));
        let started = start_time(pid);
        assert!(started.is_some() && !is_another(pid, started));
        assert!(is_another(pid, Some(StartTime(0))));
        drop(child.stdin.take());
        let look = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), look).unwrap();
        assert_eq!(running_members(pid), Some(vec![]));
        assert!(!is_another(pid, started));
        child.wait().unwrap();
        assert_eq!(start_time(pid), None);
    }
}
