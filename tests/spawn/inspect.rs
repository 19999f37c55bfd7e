//! What a child is like, read from procfs.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The program of the children that are looked at: it sets no handler and opens nothing.
pub(crate) const PROGRAM: &str = "sleep";
pub(crate) const ARGUMENT: &str = "1000";

/// All that procfs has of the child `pid`, but for what differs between any two processes.
pub(crate) fn inspect(pid: u32) -> String {
    let root = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    // Once it sleeps, the kernel has executed it and closed what was to be closed.
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_asleep = || {
        let stat = read("stat");
        let sleeps_in = read("wchan");
        // Who may not see it reads 0.
        stat.contains(&format!("({PROGRAM}) S "))
            && (sleeps_in.contains("nanosleep") || sleeps_in == "0")
    };
    while !is_asleep() {
        assert!(Instant::now() < deadline, "it does not sleep: {}", read("stat"));
        thread::sleep(Duration::from_micros(200));
    }
    let mut seen = String::new();
    for line in read("status").lines() {
        let kept = [
            "Umask",
            "Uid",
            "Gid",
            "Groups",
            "SigPnd",
            "ShdPnd",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
            "PPid",
            "TracerPid",
            "Cpus_allowed",
        ];
        if kept.iter().any(|key| line.starts_with(&format!("{key}:"))) {
            let _ = writeln!(seen, "{}", without_internal_signals(line));
        }
    }
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let own = pid.to_string();
    let or_own = |field: &str| if field == own { "its own".into() } else { field.to_owned() };
    // The first one here is field 3 of proc_pid_stat(5).
    for (name, field) in
        [("group", 5), ("session", 6), ("terminal", 7), ("nice", 19), ("policy", 41)]
    {
        let _ = writeln!(seen, "{name}: {}", or_own(fields[field - 3]));
    }
    for name in ["limits", "cmdline", "environ", "oom_score_adj", "cgroup"] {
        let _ = writeln!(seen, "{name}: {:?}", read(name));
    }
    for name in ["cwd", "root", "exe"] {
        let _ = writeln!(seen, "{name}: {:?}", fs::read_link(root.join(name)).ok());
    }
    seen + &descriptors(pid)
}

/// The child's open descriptors, with their flags.
pub(crate) fn descriptors(pid: u32) -> String {
    let root = Path::new("/proc").join(pid.to_string());
    let mut lines: Vec<String> = fs::read_dir(root.join("fd"))
        .expect("the child runs")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let target = fs::read_link(root.join("fd").join(&name)).ok()?;
            let mut target = target.to_string_lossy().into_owned();
            if target.starts_with("pipe:") {
                target = "a pipe".into();
            }
            let info = fs::read_to_string(root.join("fdinfo").join(&name)).ok()?;
            let flags = info.lines().find(|line| line.starts_with("flags:"))?.to_owned();
            Some(format!("fd {name}: {target} {flags}\n"))
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// Without the two signals that glibc uses for itself. Its `posix_spawn` has the child ignore them;
/// its `fork` leaves them as they are.
fn without_internal_signals(line: &str) -> String {
    const INTERNAL: u64 = 0b11 << 31;
    match line.split_once(":\t") {
        Some((key @ ("SigIgn" | "SigCgt"), set)) => {
            let set = u64::from_str_radix(set, 16).unwrap_or_default();
            format!("{key}:\t{:016x}", set & !INTERNAL)
        }
        _ => line.into(),
    }
}
