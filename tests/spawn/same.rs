//! Commands of which both ways make the same child.

use std::env;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::inspect::{ARGUMENT, PROGRAM};
use crate::ways::compare;
use crate::{Trial, sys, trials};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_plain_command,
        arguments_and_names,
        environments,
        directories,
        lookup_in_path,
        ids if || geteuid().is_root(),
        process_groups,
        signals,
        what_is_inherited,
    ]
}

fn a_plain_command() {
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    assert!(seen.contains("NoNewPrivs:\t0"), "{seen}");
}

fn arguments_and_names() {
    compare!(PROGRAM, |c| c.args(["1000", "100"])).unwrap();
    compare!(PROGRAM, |c| c.args(vec!["10"; 500])).unwrap();
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT).arg0("a name\n")).unwrap();
    assert!(seen.contains("a name"), "{seen}");
    compare!(PROGRAM, |c| c.arg(ARGUMENT).arg0("")).unwrap();
}

fn environments() {
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env("ZZ", "1").env("AA", "2")).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env_remove("HOME").env("ZZ", "")).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env_remove("NO_SUCH_VARIABLE")).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env_clear()).unwrap();
    let seen =
        compare!(PROGRAM, |c| c.arg(ARGUMENT).env("A", "1").env_clear().env("B", "=2=")).unwrap();
    assert!(seen.contains(r#"environ: "B==2=\0""#), "{seen}");
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env_clear().envs([("B", "2"), ("A", "1")])).unwrap();
    sys::set_var("SET_HERE", "1");
    compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env("SET_HERE", "2")).unwrap();
}

fn directories() {
    compare!(PROGRAM, |c| c.arg(ARGUMENT).current_dir("/usr")).unwrap();
    env::set_current_dir("/").unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).current_dir("usr")).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).current_dir("")).unwrap_err();
}

/// A program without a slash is looked up in the child's `PATH`, another relative one in the
/// child's directory.
fn lookup_in_path() {
    let found = Path::new("/proc/self/cwd");
    let scratch = env::temp_dir().join(format!("spawn-{}", std::process::id()));
    let [first, second] = ["first", "second"].map(|name| scratch.join(name));
    std::fs::create_dir_all(&first).unwrap();
    std::fs::create_dir_all(&second).unwrap();
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(sleep.unwrap(), second.join(PROGRAM)).unwrap();
    let path = format!("{}:{}", first.display(), second.display());
    // Not executable, and a directory, come first: they are skipped.
    File::create(first.join(PROGRAM)).unwrap();
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", &path)).unwrap();
    assert!(seen.contains("second/sleep"), "{seen}");
    std::fs::remove_file(first.join(PROGRAM)).unwrap();
    std::fs::create_dir(first.join(PROGRAM)).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", &path)).unwrap();
    // Denied everywhere is EACCES, not ENOENT.
    let denied = compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", &first)).unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
    let both = format!("{}:/nonexistent:{}", first.display(), found.display());
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", &both)).unwrap_err();
    // Elements that are empty or relative are in the child's directory.
    for path in ["", ":", ":/nonexistent", "second:", "nonexistent::", "/bin/sleep:second"] {
        let _ = compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", path).current_dir(&second));
        let _ = compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", path).current_dir(&scratch));
    }
    for program in ["./sleep", "second/sleep", "../second/sleep", "nonexistent/sleep"] {
        let _ = compare!(program, |c| c.arg(ARGUMENT).current_dir(&second));
        let _ = compare!(program, |c| c.arg(ARGUMENT).current_dir(&scratch));
    }
    // Without a PATH, the C library's own default.
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env_remove("PATH")).unwrap();
    // An element that is too long for a path is skipped.
    let long = format!("{}:{}", "x".repeat(5000), second.display());
    compare!(PROGRAM, |c| c.arg(ARGUMENT).env("PATH", &long)).unwrap();
    sys::set_var("PATH", &path);
    compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    std::fs::remove_dir_all(scratch).unwrap();
}

fn ids() {
    let groups = [4, 24].map(rustix::process::Gid::from_raw);
    rustix::thread::set_thread_groups(&groups).unwrap();
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(65534).gid(65533)).unwrap();
    assert!(seen.contains("Groups:\t \n"), "{seen}");
    compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(65534)).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).gid(65533)).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(0).gid(0)).unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(65534).current_dir("/")).unwrap();
    // The directory is entered as the new user.
    let denied = env::temp_dir().join(format!("spawn-denied-{}", std::process::id()));
    std::fs::create_dir(&denied).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&denied, private).unwrap();
    let error = compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(65534).current_dir(&denied)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    std::fs::remove_dir(denied).unwrap();
}

fn process_groups() {
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT).process_group(0)).unwrap();
    assert!(seen.contains("group: its own"), "{seen}");
    let own = std::process::id().try_into().unwrap();
    compare!(PROGRAM, |c| c.arg(ARGUMENT).process_group(own)).unwrap();
}

/// Masks and dispositions, in any mixture.
fn signals() {
    compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    for signal in (1..=64).filter(|signal| !matches!(signal, 32 | 33)) {
        if [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&signal) {
            continue;
        }
        match signal % 4 {
            0 => sys::count_signal(signal),
            1 => sys::ignore_signal(signal),
            _ => {}
        }
        if signal % 3 == 0 {
            sys::block_signals(&[signal]);
        }
    }
    let blocked = sys::blocked_signals();
    assert!(blocked.len() > 15);
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    assert!(seen.contains("SigCgt:\t0000000000000000"), "{seen}");
    assert!(!seen.contains("SigIgn:\t0000000000000000"), "{seen}");
    assert!(!seen.contains("SigBlk:\t0000000000000000"), "{seen}");
    assert_eq!(sys::blocked_signals(), blocked, "the thread's own mask has changed");
    // Rust's runtime ignores this one, for itself.
    sys::ignore_signal(libc::SIGPIPE);
    compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    sys::count_signal(libc::SIGPIPE);
    compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
}

fn what_is_inherited() {
    let open = File::open("/dev/zero").unwrap();
    sys::dup(std::os::fd::AsRawFd::as_raw_fd(&open), 77, true);
    sys::umask(0o27);
    rustix::process::nice(3).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..limit }).unwrap();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let seen = compare!(PROGRAM, |c| c.arg(ARGUMENT)).unwrap();
    assert!(seen.contains("fd 77: /dev/zero"), "{seen}");
    assert!(seen.contains("Umask:\t0027"), "{seen}");
    assert!(seen.contains("nice: 3"), "{seen}");
}
