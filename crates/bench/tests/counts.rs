//! Holds what a child costs us, as far as it can be counted: no load of the machine changes it.
//!
//! It needs strace.

use std::env;
use std::fs;
use std::process::{self, Command};

use serde_json::Value;

/// The most that one child may cost, with its spawn in it.
///
/// A direct spawn makes three system calls (two of the mask, and `clone`). The bench counts in an
/// empty environment, so the copies of its variables are not in the allocations.
struct Most {
    contender: &'static str,
    work: &'static str,
    polls: f64,
    allocations: f64,
    /// By name; those that are not here are the runtime's own business.
    system_calls: &'static [(&'static str, f64)],
    /// How many more than the standard library's spawn alone makes in the same run.
    beyond_std: Option<f64>,
}

/// With debug assertions, the standard library checks that a descriptor is open before it closes it.
const CHECKS: f64 = if cfg!(debug_assertions) { 1.0 } else { 0.0 };

/// What a child costs that is awaited on Tokio as soon as it is started: its own calls, and its
/// share of the reactor's sleep: one wake-up.
const TOKIO: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 1.0),
    ("epoll_ctl", 2.0),
    ("close", 1.0),
    ("futex", 0.0),
    ("epoll_wait", 1.0),
    ("fcntl", CHECKS),
    // Of the standard library's spawn, and of a pidfd that is not there from birth.
    ("clone3", 0.0),
    ("mmap", 0.0),
    ("munmap", 0.0),
    ("pidfd_open", 0.0),
];
/// One that is awaited after others were started is asked before it is registered.
const TOKIO_LATER: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 2.0),
    ("epoll_ctl", 2.0),
    ("close", 1.0),
    ("futex", 0.0),
    ("epoll_wait", 2.0),
    ("clone3", 0.0),
    ("pidfd_open", 0.0),
];
/// One `epoll_ctl` for the pidfd, one to arm the source that all share, and async-io's own two in
/// every turn, of which it may take two for an exit.
const SMOL: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 1.0),
    ("epoll_ctl", 6.0),
    ("close", 1.0),
    ("ioctl", 0.0),
    ("clone3", 0.0),
    ("pidfd_open", 0.0),
];
const SMOL_LATER: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 2.0),
    ("epoll_ctl", 6.0),
    ("close", 1.0),
    ("ioctl", 0.0),
    ("clone3", 0.0),
    ("pidfd_open", 0.0),
];
/// The queue's, with its thread's wake-up.
const ORPHAN: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 1.0),
    ("epoll_ctl", 1.0),
    ("close", 1.0),
    ("epoll_pwait", 1.0),
    ("clone3", 0.0),
    ("pidfd_open", 0.0),
];
/// Nothing of async-io's: strace has it take more turns than it would by itself.
const ORPHAN_BESIDE_SMOL: &[(&str, f64)] =
    &[("clone", 1.0), ("waitid", 1.0), ("close", 1.0), ("clone3", 0.0), ("pidfd_open", 0.0)];
const DEAD: &[(&str, f64)] = &[
    ("clone", 1.0),
    ("rt_sigprocmask", 2.0),
    ("waitid", 1.0),
    ("epoll_ctl", 0.0),
    ("close", 1.0),
    ("clone3", 0.0),
    ("pidfd_open", 0.0),
];

/// On Tokio: the spawn's three are two fewer than the standard library's five, and a wait makes five.
///
/// On smol a child makes 13 calls. Seven are the spawn's three, `epoll_ctl` twice, `waitid` and
/// `close`, as on Tokio. The other six come with async-io's turns: `epoll_pwait` twice, `epoll_ctl`
/// twice, `timerfd_settime` and `read`.
const BEYOND_STD_ON_TOKIO: f64 = 3.0;
const BEYOND_STD_ON_SMOL: f64 = 8.0;

const LIMITS: [Most; 8] = [
    most("ours-tokio", "gated", 2.0, 15.0, TOKIO).beyond_std(BEYOND_STD_ON_TOKIO),
    most("ours-tokio", "waiting", 2.0, 16.0, TOKIO_LATER),
    most("ours-tokio", "abandoned", 0.0, 12.5, ORPHAN),
    most("ours-tokio", "dead-before-await", 1.0, 12.0, DEAD),
    most("ours-smol", "gated", 2.1, 14.5, SMOL).beyond_std(BEYOND_STD_ON_SMOL),
    most("ours-smol", "waiting", 2.1, 15.5, SMOL_LATER),
    most("ours-smol", "abandoned", 0.0, 12.5, ORPHAN_BESIDE_SMOL),
    most("ours-smol", "dead-before-await", 1.0, 12.0, DEAD),
];

const fn most(
    contender: &'static str,
    work: &'static str,
    polls: f64,
    allocations: f64,
    system_calls: &'static [(&'static str, f64)],
) -> Most {
    Most { contender, work, polls, allocations, system_calls, beyond_std: None }
}

impl Most {
    const fn beyond_std(self, limit: f64) -> Self {
        Self { beyond_std: Some(limit), ..self }
    }
}

/// What spawns by the standard library and waits by `wait4`: all else is its spawn.
const STD: (&str, &str) = ("std-blocking", "gated");

/// Not of a child: locks between threads, calls that a signal has interrupted, the bench's own line.
const NOT_COUNTED: [&str; 3] = ["futex", "restart_syscall", "recvfrom"];

/// A stray event or two in the longer run, over all its children.
const STRAY: f64 = 0.12;

/// A gated child exits when its parent sleeps, so the counts do not depend on who is faster. The
/// runtimes' own threads remain: what is too much counts only if it is so each time.
const ATTEMPTS: usize = 3;

#[test]
fn a_child_costs_no_more_than_it_did() {
    let strace = Command::new("strace").arg("--version").output();
    assert!(strace.is_ok(), "this test needs strace: apt-get install strace");
    let attempts: Vec<String> =
        (0..ATTEMPTS).map(|_| too_much(&counts())).take_while(|much| !much.is_empty()).collect();
    assert!(attempts.len() < ATTEMPTS, "{}", attempts.join("\nand again\n"));
}

/// A line for each limit that is broken.
fn too_much(all: &[Value]) -> String {
    let mut lines = Vec::new();
    let spawn = sum(found(all, STD.0, STD.1), |name| name != "wait4");
    assert!(spawn >= 1.0, "strace has not seen the standard library's spawn");
    for most in &LIMITS {
        let counts = found(all, most.contender, most.work);
        let calls = most.system_calls.iter().map(|(name, limit)| {
            let mut pairs = counts["system_calls"].as_array().into_iter().flatten();
            let found = pairs.find(|pair| pair[0] == *name);
            (*name, found.and_then(|pair| pair[1].as_f64()).unwrap_or(0.0), *limit)
        });
        let figure = |name: &'static str, limit| (name, counts[name].as_f64().unwrap(), limit);
        let rest = [figure("polls", most.polls), figure("allocations", most.allocations)];
        let beyond = most.beyond_std.map(|limit| {
            let name = "system calls beyond std's spawn";
            (name, sum(counts, |_| true) - spawn - CHECKS, limit)
        });
        for (name, count, limit) in calls.chain(rest).chain(beyond) {
            if count > limit + STRAY {
                let (contender, work) = (most.contender, most.work);
                lines.push(format!("{contender}, {work}: {count:.2} {name}, at most {limit}"));
            }
        }
    }
    lines.join("\n")
}

fn found<'a>(all: &'a [Value], contender: &str, work: &str) -> &'a Value {
    let counts = all.iter().find(|each| each["contender"] == contender && each["work"] == work);
    counts.unwrap_or_else(|| panic!("{contender} was not counted"))
}

/// How many system calls a child costs, without those that `is_counted` leaves out.
fn sum(counts: &Value, is_counted: impl Fn(&str) -> bool) -> f64 {
    let calls = counts["system_calls"].as_array().into_iter().flatten();
    let named = calls.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_f64()?)));
    let counted = named.filter(|(name, _)| !NOT_COUNTED.contains(name) && is_counted(name));
    counted.map(|(_, count)| count).sum()
}

fn counts() -> Vec<Value> {
    let file = env::temp_dir().join(format!("bench-counts-{}.json", process::id()));
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.arg("--counts").arg("--json").arg(&file).args(["--only", STD.0]);
    for most in &LIMITS {
        bench.args(["--only", most.contender, "--work", most.work]);
    }
    let run = bench.output().expect("the bench starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = fs::read_to_string(&file).expect("it has written its counts");
    fs::remove_file(&file).expect("it is ours");
    let mut all: Value = serde_json::from_str(&text).expect("it has written JSON");
    match all["counts"].take() {
        Value::Array(counts) => counts,
        other => panic!("no counts: {other}"),
    }
}
