//! What else goes on in the process while it spawns.

use std::os::unix::process::ExitStatusExt;
use std::process::Command as StdCommand;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pidfd_reaper::tokio::Command;
use pidfd_reaper::{KernelSupport, Resource, Signal, Stdio};
use rustix::process::{WaitOptions, wait};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::{Trial, sys, trials};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        no_handler_runs_in_a_child,
        nothing_is_allocated_in_a_child,
        stolen_at_birth if statuses_are_recovered,
        ignored_from_birth if statuses_are_recovered,
        many_threads,
        small_stacks,
        refused_by_a_filter if filters_work,
        another_pid_namespace if || rustix::process::geteuid().is_root(),
    ]
}

fn statuses_are_recovered() -> bool {
    KernelSupport::probe().exit_info.is_ok()
}

/// Signals that the program handles come all the time, for its whole process group, so also for
/// children that have not executed their program yet. One that has is ended by them.
fn no_handler_runs_in_a_child() {
    const SIGNALS: [i32; 6] =
        [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP, libc::SIGALRM, libc::SIGIO, libc::SIGCHLD];
    for signal in SIGNALS {
        sys::count_signal(signal);
    }
    let stop = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut spawned = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                SIGNALS.into_iter().for_each(sys::signal_own_group);
                thread::yield_now();
            }
        });
        while spawned < 10_000 && Instant::now() < deadline {
            let child = Command::new("/bin/true").spawn().unwrap();
            spawned += 1;
            let status = crate::ways::wait(child).unwrap();
            assert!(status.success() || status.signal().is_some(), "{status}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(spawned > 500, "{spawned}");
    assert!(sys::HANDLED_HERE.load(Ordering::Relaxed) > 1000);
    assert_eq!(sys::HANDLED_IN_A_CHILD.load(Ordering::Relaxed), 0, "of {spawned}");
}

/// Another thread holds the allocator's lock half of the time; an allocation in the child would
/// also change the parent's heap under it.
fn nothing_is_allocated_in_a_child() {
    sys::watch_allocations();
    let mut plain = Command::new("true");
    let mut much = Command::new("true");
    much.args(["a"; 50])
        .env("A", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr_to_stdout()
        .fd(9, std::fs::File::open("/dev/null").unwrap())
        .session()
        .umask(0)
        .nice(5)
        .rlimit(Resource::Core, 0, 0)
        .oom_score_adj(100)
        .parent_death_signal(Signal::TERM)
        .no_new_privs()
        .close_other_fds()
        .reset_signals()
        .signal_mask([Signal::HUP]);
    let mut fails = Command::new("/nonexistent");
    for _ in 0..100 {
        for command in [&mut plain, &mut much] {
            assert!(command.spawns_directly());
            let status = crate::ways::wait(command.spawn().unwrap()).unwrap();
            assert_eq!(status.code(), Some(0), "99 is an allocation");
        }
        assert_eq!(fails.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}

/// Other code reaps all children it can, as fast as it can.
fn stolen_at_birth() {
    let (stop, stolen) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some(_)) => _ = stolen.fetch_add(1, Ordering::Relaxed),
                    _ => thread::yield_now(),
                }
            }
        });
        for _ in 0..2000 {
            assert!(crate::ways::wait(Command::new("true").spawn().unwrap()).unwrap().success());
            // One that fails is reaped by either, and its error is reported.
            let error = Command::new("/nonexistent").spawn().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(stolen.load(Ordering::Relaxed) > 100);
}

/// The kernel reaps them.
fn ignored_from_birth() {
    sys::ignore_signal(libc::SIGCHLD);
    for _ in 0..2000 {
        assert!(crate::ways::wait(Command::new("true").spawn().unwrap()).unwrap().success());
        let error = Command::new("/nonexistent").spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}

/// Threads spawn in both ways, change the environment and allocate.
fn many_threads() {
    let stop = AtomicBool::new(false);
    let directly = || {
        for n in 0..150_u32 {
            let mut command = Command::new("sh");
            let n = (n % 100).to_string();
            // A variable is set as a whole or not at all.
            let check = r#"case "$CHANGES" in ""|xxxx*xxxx) ;; *) exit 200;; esac; exit $0"#;
            command.args(["-c", check, &n]);
            if n.len() == 1 {
                command.env("OWN", &n);
            }
            let status = crate::ways::wait(command.spawn().unwrap()).unwrap();
            assert_eq!(status.code().map(|code| code.to_string()), Some(n));
        }
    };
    thread::scope(|scope| {
        let spawners: Vec<_> = (0..6).map(|_| scope.spawn(directly)).collect();
        scope.spawn(|| {
            for n in 0.. {
                sys::set_var("CHANGES", &format!("xxxx{}xxxx", "y".repeat(n % 500)));
                sys::set_var(&format!("VARIABLE_{}", n % 200), "value");
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut command = StdCommand::new("true");
                assert!(command.status().unwrap().success());
            }
        });
        for spawner in spawners {
            spawner.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn small_stacks() {
    let spawn = || {
        for _ in 0..20 {
            let child = Command::new("true").env("A", "1").session().spawn().unwrap();
            assert!(crate::ways::wait(child).unwrap().success());
        }
    };
    let thread = thread::Builder::new().stack_size(64 * 1024).spawn(spawn).unwrap();
    thread.join().unwrap();
}

fn refuse_clone() -> Result<(), Box<dyn std::error::Error>> {
    let flags = u64::from((libc::CLONE_PIDFD | libc::CLONE_VM).unsigned_abs());
    let compare = SeccompCmpOp::MaskedEq(flags);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, compare, flags)?;
    let rules = [(libc::SYS_clone, vec![SeccompRule::new(vec![condition])?])];
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

fn filters_work() -> bool {
    thread::spawn(|| refuse_clone().is_ok()).join().is_ok_and(|works| works)
}

/// Then the standard library starts the child, from then on, with all its attributes.
fn refused_by_a_filter() {
    refuse_clone().unwrap();
    let mut command = Command::new(crate::inspect::PROGRAM);
    command.arg(crate::inspect::ARGUMENT).arg0("name").umask(0o12).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        // What takes privileges comes first here as well.
        command.uid(65534).nice(-3);
    }
    assert!(command.spawns_directly(), "it has not been tried yet");
    for _ in 0..2 {
        let seen = crate::ways::seen(&mut command).unwrap();
        assert!(!command.spawns_directly());
        assert!(seen.contains("Umask:\t0012") && seen.contains("name"), "{seen}");
        if rustix::process::geteuid().is_root() {
            assert!(seen.contains("Uid:\t65534") && seen.contains("nice: -3"), "{seen}");
        }
    }
    assert!(!Command::new("true").spawns_directly());
    assert!(KernelSupport::probe().direct_spawn.is_err());
    assert!(crate::ways::wait(Command::new("true").spawn().unwrap()).unwrap().success());
    let error = Command::new("/nonexistent").spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

/// The child is the first process of a new one.
fn another_pid_namespace() {
    // A filter may forbid it.
    if sys::unshare_pids() {
        let mut command = Command::new("sh");
        command.args(["-c", "test $$ = 1 && exit 7"]).parent_death_signal(Signal::KILL);
        assert_eq!(crate::ways::wait(command.spawn().unwrap()).unwrap().code(), Some(7));
    }
}
