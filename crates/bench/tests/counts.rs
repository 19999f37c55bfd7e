//! Holds what a child costs us, as far as it can be counted: no load of the machine changes it.
//!
//! It needs strace.

use std::env;
use std::fs;
use std::process::{self, Command};

use serde_json::Value;

/// The most that one child may cost, with the standard library's spawn in it, which makes five
/// system calls and nine allocations.
struct Most {
    contender: &'static str,
    work: &'static str,
    polls: f64,
    allocations: f64,
    /// By name; those that are not here are the runtime's own business.
    system_calls: &'static [(&'static str, f64)],
}

/// What a child costs that is awaited on Tokio as soon as it is started: its own calls, and its
/// share of the reactor's sleep: one wake-up.
const TOKIO: &[(&str, f64)] = &[
    ("pidfd_open", 1.0),
    ("waitid", 1.0),
    ("epoll_ctl", 2.0),
    ("close", 1.0),
    ("futex", 0.0),
    ("epoll_wait", 1.0),
];
/// One that is awaited after others were started is asked before it is registered.
const TOKIO_LATER: &[(&str, f64)] = &[
    ("pidfd_open", 1.0),
    ("waitid", 2.0),
    ("epoll_ctl", 2.0),
    ("close", 1.0),
    ("futex", 0.0),
    ("epoll_wait", 2.0),
];
/// One `epoll_ctl` for the pidfd, one to arm the source that all share, and async-io's own two in
/// every turn, of which it may take two for an exit.
const SMOL: &[(&str, f64)] =
    &[("pidfd_open", 1.0), ("waitid", 1.0), ("epoll_ctl", 6.0), ("close", 1.0), ("ioctl", 0.0)];
const SMOL_LATER: &[(&str, f64)] =
    &[("pidfd_open", 1.0), ("waitid", 2.0), ("epoll_ctl", 6.0), ("close", 1.0), ("ioctl", 0.0)];
/// The queue's, with its thread's wake-up.
const ORPHAN: &[(&str, f64)] = &[
    ("pidfd_open", 1.0),
    ("waitid", 1.0),
    ("epoll_ctl", 1.0),
    ("close", 1.0),
    ("epoll_pwait", 1.0),
];
/// Nothing of async-io's: strace has it take more turns than it would by itself.
const ORPHAN_BESIDE_SMOL: &[(&str, f64)] = &[("pidfd_open", 1.0), ("waitid", 1.0), ("close", 1.0)];
const DEAD: &[(&str, f64)] =
    &[("pidfd_open", 1.0), ("waitid", 1.0), ("epoll_ctl", 0.0), ("close", 1.0)];

const LIMITS: [Most; 8] = [
    most("ours-tokio", "latency", 2.0, 15.0, TOKIO),
    most("ours-tokio", "waiting", 2.0, 16.0, TOKIO_LATER),
    most("ours-tokio", "abandoned", 0.0, 12.5, ORPHAN),
    most("ours-tokio", "dead-before-await", 1.0, 12.0, DEAD),
    most("ours-smol", "latency", 2.1, 14.5, SMOL),
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
    Most { contender, work, polls, allocations, system_calls }
}

/// A stray event or two in the longer run, over all its children.
const STRAY: f64 = 0.12;

/// On a machine so busy that a child ends before its parent comes to wait, the two runs that are
/// compared differ in that too: what is too much counts only if it is so each time.
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
    for most in &LIMITS {
        let counts = all
            .iter()
            .find(|counts| counts["contender"] == most.contender && counts["work"] == most.work);
        let counts = counts.unwrap_or_else(|| panic!("{} was not counted", most.contender));
        let calls = most.system_calls.iter().map(|(name, limit)| {
            let mut pairs = counts["system_calls"].as_array().into_iter().flatten();
            let found = pairs.find(|pair| pair[0] == *name);
            (*name, found.and_then(|pair| pair[1].as_f64()).unwrap_or(0.0), *limit)
        });
        let figure = |name: &'static str, limit| (name, counts[name].as_f64().unwrap(), limit);
        let rest = [figure("polls", most.polls), figure("allocations", most.allocations)];
        for (name, count, limit) in calls.chain(rest) {
            if count > limit + STRAY {
                let (contender, work) = (most.contender, most.work);
                lines.push(format!("{contender}, {work}: {count:.2} {name}, at most {limit}"));
            }
        }
    }
    lines.join("\n")
}

fn counts() -> Vec<Value> {
    let file = env::temp_dir().join(format!("bench-counts-{}.json", process::id()));
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.arg("--counts").arg("--json").arg(&file);
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
