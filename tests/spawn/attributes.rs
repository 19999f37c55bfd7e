//! Attributes take effect in both ways, and an error names the one that failed.

use std::env;
use std::fs::{self, File};
use std::os::fd::OwnedFd;

use pidfd_reaper::tokio::Command;
use pidfd_reaper::{Resource, Signal, SpawnError, Stdio};
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::geteuid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::inspect::{ARGUMENT, PROGRAM};
use crate::{Trial, sys, trials};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        take_effect,
        take_effect_with_privileges if || geteuid().is_root(),
        descriptors_by_number,
        a_terminal,
        a_cgroup if || cgroup().is_some(),
        parent_dies,
        parent_of_another_user_dies if || geteuid().is_root(),
        this_process_stays_dumpable if || geteuid().is_root(),
        errors_are_named,
        with_spawn_with_and_pre_exec_of_others,
    ]
}

/// What is seen of the child is the same in both ways, and has these lines.
fn expect(setup: impl Fn(&mut Command) -> &mut Command, lines: &[&str]) {
    let mut direct = Command::new(PROGRAM);
    setup(direct.arg(ARGUMENT));
    let direct = crate::ways::directly(direct).unwrap();
    let mut by_std = Command::new(PROGRAM);
    setup(by_std.arg(ARGUMENT)).as_std_mut();
    assert!(!by_std.spawns_directly());
    let by_std = crate::ways::seen(&mut by_std).unwrap();
    crate::ways::assert_same(Ok(by_std), Ok(direct.clone())).unwrap();
    for line in lines {
        assert!(direct.contains(line), "no {line}: {direct}");
    }
}

fn take_effect() {
    expect(|c| c.session(), &["session: its own", "group: its own", "terminal: 0"]);
    expect(|c| c.session().process_group(0), &["session: its own", "group: its own"]);
    expect(|c| c.process_group(0), &["group: its own"]);
    expect(|c| c.umask(0o123), &["Umask:\t0123"]);
    expect(|c| c.nice(7), &["nice: 7"]);
    expect(|c| c.oom_score_adj(500), &[r#"oom_score_adj: "500\n""#]);
    expect(|c| c.no_new_privs(), &["NoNewPrivs:\t1"]);
    expect(
        |c| c.rlimit(Resource::Core, 0, 0).rlimit(Resource::OpenFiles, 50, 60),
        &["Max open files            50                   60"],
    );
    expect(|c| c.rlimit(Resource::Cpu, 9, None), &["Max cpu time              9  "]);
    sys::ignore_signal(libc::SIGUSR1);
    sys::block_signals(&[libc::SIGUSR2]);
    expect(|c| c.nice(7), &["SigIgn:\t0000000000000200", "SigBlk:\t0000000000000800"]);
    expect(|c| c.reset_signals(), &["SigIgn:\t0000000000000000", "SigBlk:\t0000000000000800"]);
    expect(|c| c.signal_mask([]), &["SigIgn:\t0000000000000200", "SigBlk:\t0000000000000000"]);
    expect(|c| c.signal_mask([Signal::HUP, Signal::TERM]), &["SigBlk:\t0000000000004001"]);
    expect(|c| c.stdout(Stdio::null()).stderr_to_stdout(), &["fd 2: /dev/null"]);
    expect(|c| c.stdout(Stdio::piped()).stderr_to_stdout(), &["fd 2: a pipe"]);
}

fn take_effect_with_privileges() {
    expect(|c| c.uid(65534).gid(65533), &["Uid:\t65534", "Gid:\t65533", "Groups:\t \n"]);
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).groups([5, 6]).uid(65534);
    let seen = crate::ways::directly(command).unwrap();
    assert!(seen.contains("Uid:\t65534") && seen.contains("Groups:\t5 6 \n"), "{seen}");
    expect(|c| c.groups([]).gid(9), &["Gid:\t9", "Groups:\t \n"]);
    expect(|c| c.nice(-5), &["nice: -5"]);
    let mut root = Command::new("/sleep");
    let scratch = env::temp_dir().join(format!("spawn-root-{}", std::process::id()));
    fs::create_dir_all(scratch.join("inner")).unwrap();
    // A program that needs no libraries there is not at hand; its absence shows the root.
    let error = root.chroot(&scratch).current_dir("/inner").spawn().unwrap_err();
    assert_eq!((error.raw_os_error(), SpawnError::get(&error)), (Some(libc::ENOENT), None));
    fs::remove_dir_all(scratch).unwrap();
    expect(|c| c.chroot("/"), &["root: Some(\"/\")", "cwd: Some(\"/\")"]);
    // What takes privileges comes before they are given up. Where the command may have been changed
    // by others, the standard library gives them up first.
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).uid(65534).nice(-5).parent_death_signal(Signal::TERM);
    assert!(crate::ways::seen(&mut command).unwrap().contains("nice: -5"));
    command.as_std_mut();
    let error = command.spawn().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

fn descriptors_by_number() {
    let zero = || OwnedFd::from(File::open("/dev/zero").unwrap());
    let full = || OwnedFd::from(File::open("/dev/full").unwrap());
    expect(|c| c.fds([(3, zero()), (9, full())]), &["fd 3: /dev/zero", "fd 9: /dev/full"]);
    expect(|c| c.fd(0, zero()).fd(2, full()), &["fd 0: /dev/zero", "fd 2: /dev/full"]);
    // Whatever numbers they have in the parent: each is the other's target.
    let (a, b) = (zero(), full());
    let (number, other) =
        (std::os::fd::AsRawFd::as_raw_fd(&a), std::os::fd::AsRawFd::as_raw_fd(&b));
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).fd(other, a).fd(number, b);
    let seen = crate::ways::directly(command).unwrap();
    assert!(seen.contains(&format!("fd {number}: /dev/full")), "{seen}");
    assert!(seen.contains(&format!("fd {other}: /dev/zero")), "{seen}");
    // The lower limit is for what the child opens itself.
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).fd(60, zero()).rlimit(Resource::OpenFiles, 20, 20);
    assert!(crate::ways::directly(command).unwrap().contains("fd 60: /dev/zero"));
    // Those that are open across an exec.
    for number in [50, 60, 70] {
        sys::dup(std::os::fd::AsRawFd::as_raw_fd(&zero()), number, true);
    }
    expect(|c| c, &["fd 50", "fd 60", "fd 70"]);
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).fd(60, full()).close_other_fds();
    let seen = crate::ways::directly(command).unwrap();
    assert!(seen.contains("fd 60: /dev/full"), "{seen}");
    assert!(!seen.contains("fd 50") && !seen.contains("fd 70"), "{seen}");
    expect(|c| c.close_other_fds().fd(3, zero()), &["fd 3: /dev/zero"]);
    expect(|c| c.fd(60, full()).fd(5, zero()).close_other_fds(), &["fd 60: /dev/full"]);
    // An error is reported although the numbers are those of the standard library's own pipe.
    for number in 3..12 {
        let mut command = Command::new("/nonexistent");
        command.fd(number, zero()).umask(0).as_std_mut();
        assert_eq!(command.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}

/// Of a session of its own, whose terminal it is.
fn a_terminal() {
    let open = || {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname(&pty, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inside = openat(rustix::fs::CWD, path, flags, Mode::empty()).unwrap();
        (pty, inside)
    };
    let (pty, inside) = open();
    let mut command = Command::new("sh");
    command
        .args(["-c", "tty >&3; ps -o tpgid= -p $$ >&3; echo $$ >&3; echo to the terminal"])
        .stdin(inside.try_clone().unwrap())
        .stdout(inside.try_clone().unwrap())
        .session()
        .controlling_terminal(inside);
    let output = env::temp_dir().join(format!("spawn-pty-{}", std::process::id()));
    command.fd(3, File::create(&output).unwrap());
    assert!(command.spawns_directly());
    let status = crate::ways::wait(command.spawn().unwrap()).unwrap();
    let text = fs::read_to_string(&output).unwrap();
    fs::remove_file(output).unwrap();
    assert!(status.success(), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines[1], lines[2], "its group is in the foreground: {text}");
    drop(pty);
    // There is no terminal to take the foreground of.
    let error = Command::new("true").session().foreground().spawn().unwrap_err();
    assert_eq!(SpawnError::get(&error).unwrap().attribute(), "foreground");
}

fn cgroup() -> Option<std::path::PathBuf> {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let parent =
        if root.join("cgroup.controllers").exists() { root.into() } else { root.join("pids") };
    let group = parent.join(format!("spawn-{}", std::process::id()));
    (geteuid().is_root() && fs::create_dir(&group).is_ok()).then(|| {
        let _ = fs::remove_dir(&group);
        group
    })
}

fn a_cgroup() {
    let group = cgroup().unwrap();
    fs::create_dir(&group).unwrap();
    let name = format!("/spawn-{}", std::process::id());
    expect(|c| c.cgroup(File::open(&group).unwrap()), &[&name]);
    let error = Command::new("true").cgroup(File::open("/").unwrap()).spawn().unwrap_err();
    assert_eq!(SpawnError::get(&error).unwrap().attribute(), "cgroup");
    // The last one may take a moment to leave.
    for _ in 0..100 {
        if fs::remove_dir(&group).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the cgroup is not empty");
}

/// The signal comes when the thread ends that has started the child.
fn parent_dies() {
    dies_with_parent(|command| command);
}

/// The kernel forgets the signal when the child changes its user.
fn parent_of_another_user_dies() {
    dies_with_parent(|command| command.uid(65534));
}

fn dies_with_parent(setup: fn(&mut Command) -> &mut Command) {
    for direct in [true, false] {
        let child = std::thread::spawn(move || {
            let mut command = Command::new(PROGRAM);
            setup(command.arg(ARGUMENT).parent_death_signal(Signal::TERM));
            if !direct {
                command.as_std_mut();
            }
            let child = command.spawn().unwrap();
            crate::inspect::inspect(child.id().unwrap());
            child
        });
        let status = crate::ways::wait(child.join().unwrap()).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
    }
}

/// A child that changes its ids does so in the memory of this process.
fn this_process_stays_dumpable() {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
    let spawn = || {
        for id in 0..50 {
            let mut command = Command::new("/bin/true");
            let child = if id % 2 == 0 { command.uid(65534) } else { command.gid(65534) };
            assert!(crate::ways::wait(child.spawn().unwrap()).unwrap().success());
            let mut command = Command::new("/nonexistent");
            command.uid(65534).spawn().unwrap_err();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(spawn);
        }
    });
    assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    spawn();
    assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
}

fn errors_are_named() {
    let named = |name: &str, errno: i32, setup: fn(&mut Command) -> &mut Command| {
        let mut command = Command::new("true");
        let error = setup(&mut command).spawn().unwrap_err();
        assert_eq!(error.kind(), std::io::Error::from_raw_os_error(errno).kind());
        let inner = SpawnError::get(&error).unwrap();
        assert_eq!((inner.attribute(), inner.raw_os_error()), (name, errno));
        assert!(error.to_string().contains(name), "{error}");
        command.as_std_mut();
        let by_std = command.spawn().unwrap_err();
        match SpawnError::get(&by_std) {
            Some(by_std) => assert_eq!(by_std, inner),
            // What the standard library sets itself.
            None => {
                assert_eq!((name, by_std.raw_os_error()), ("process_group", Some(errno)));
            }
        }
    };
    named("process_group", libc::EPERM, |c| c.process_group(1));
    named("controlling_terminal", libc::ENOTTY, |c| {
        c.session().controlling_terminal(File::open("/dev/null").unwrap())
    });
    named("cgroup", libc::ENOENT, |c| c.cgroup(File::open("/proc").unwrap()));
    named("oom_score_adj", libc::EINVAL, |c| c.oom_score_adj(9999));
    named("rlimit", libc::EINVAL, |c| c.rlimit(Resource::Core, 2, 1));
    named("fd", libc::EBADF, |c| c.fd(i32::MAX, File::open("/dev/null").unwrap()));
    named("chroot", if geteuid().is_root() { libc::ENOENT } else { libc::EPERM }, |c| {
        c.chroot("/nonexistent")
    });
}

fn with_spawn_with_and_pre_exec_of_others() {
    let mut command = Command::new(PROGRAM);
    command.arg(ARGUMENT).umask(0o55).kill_on_drop(true);
    let child = command.spawn_with(|std| std.env("A", "1").spawn()).unwrap();
    let seen = crate::inspect::inspect(child.id().unwrap());
    assert!(seen.contains("Umask:\t0055") && seen.contains("A=1"), "{seen}");
    // Started by others, the command has what the standard library knows.
    let mut std = command.into_std().spawn().unwrap();
    assert!(!crate::inspect::inspect(std.id()).contains("Umask:\t0055"));
    std.kill().unwrap();
    std.wait().unwrap();
}
