//! `timeout` and groups of processes: signals that are passed on, what the command has started, the
//! terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::tool::{Folder, LONG, Running, kill, path, runs, script, start_script};

/// A command that waits for a signal: `trapped` is what it does then, also if it comes before
/// `sleep` runs. Only a signal to its whole group ends that `sleep`.
fn waiting(signal: &str, trapped: &str) -> String {
    format!("trap '{trapped}' {signal}; echo ready; sleep {LONG}; exit 9")
}

fn start(args: &[&str], command: &str) -> Running {
    let mut timeout = Command::new(path("timeout"));
    timeout.args(args).args(["sh", "-c", command]);
    let mut running = Running::start(timeout);
    assert_eq!(running.line(), "ready");
    running
}

#[test]
fn signals_are_passed_on_to_the_whole_group() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let running = start(&[LONG], &waiting(signal, "echo got it; exit 3"));
        running.kill(&format!("-{signal}"));
        let exited = running.wait();
        assert_eq!((exited.code(), exited.text()), (Some(3), "got it\n".into()), "{signal}");
    }
    let running = start(&["-s", "USR1", LONG], &waiting("USR1", "echo got it; exit 3"));
    running.kill("-USR1");
    assert_eq!(running.wait().code(), Some(3));
}

#[test]
fn a_command_that_a_passed_on_signal_kills_gives_that_signal() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let running = start(&["-v", LONG], &format!("echo ready; sleep {LONG}"));
        running.kill(&format!("-{signal}"));
        let exited = running.wait();
        assert_eq!(exited.status.signal(), Some(number));
        assert_eq!(exited.stderr, format!("timeout: sending signal {signal} to command 'sh'\n"));
    }
}

#[test]
fn the_grace_period_begins_with_the_first_signal() {
    let stubborn = "trap '' TERM; echo ready; while :; do sleep .01; done";
    let running = start(&["-k", ".1", LONG], stubborn);
    running.kill("-TERM");
    let exited = running.wait();
    assert_eq!(exited.code(), Some(137), "{} {}", exited.status, exited.stderr);
}

#[test]
fn sigalrm_is_the_end_of_the_time() {
    let running = start(&[LONG], &waiting("TERM", "exit 0"));
    running.kill("-ALRM");
    assert_eq!(running.wait().code(), Some(124));
}

// timeout-group.sh: a Ctrl-C to the group of a script which ignores it.
#[test]
fn in_the_foreground_the_command_gets_ctrl_c_once_it_is_not_ignored() {
    let command = format!("trap \"echo int; exit\" INT; echo ready; sleep {LONG}");
    let group = format!("trap '' INT; \"$0\" --foreground {LONG} sh -c '{command}' & wait");
    let mut running = start_script("timeout", &group);
    assert_eq!(running.line(), "ready");
    kill("-INT", &format!("-{}", running.pid()));
    let exited = running.wait();
    assert_eq!(exited.text(), "int\n", "{}", exited.stderr);
}

// timeout-group.sh: one timeout under another, each with a group of its own.
#[test]
fn cascaded_timeouts_end_all() {
    let mut timeout = Command::new(path("timeout"));
    timeout.args(["-sALRM", LONG]).arg(path("timeout")).args(["-sINT", LONG, "sh", "-c"]);
    timeout.arg(waiting("INT", "echo int; exit"));
    let mut running = Running::start(timeout);
    assert_eq!(running.line(), "ready");
    running.kill("-ALRM");
    let exited = running.wait();
    assert_eq!((exited.code(), exited.text()), (Some(124), "int\n".into()), "{}", exited.stderr);
}

#[test]
fn what_the_command_has_started_ends_with_it() {
    // `wait` reads the pipe to its end, which all of these hold.
    for command in ["sleep 60; echo too late", "sleep 60 & wait", "sleep 60 | cat"] {
        let exited = script("timeout", &format!("\"$0\" .1 sh -c '{command}'"));
        assert_eq!((exited.code(), exited.text()), (Some(124), String::new()), "{command}");
    }
}

#[test]
fn what_it_leaves_behind_in_time_is_left_alone() {
    let leave = format!("sleep {LONG} >/dev/null 2>&1 & echo $!");
    let exited = script("timeout", &format!("\"$0\" -k 1 10 sh -c '{leave}'"));
    assert_eq!(exited.code(), Some(0));
    let pid = exited.text().trim().to_owned();
    assert!(runs(&pid));
    kill("-KILL", &pid);
}

/// A leader that dies of `SIGTERM` at once, and a worker in its group that does not.
fn leader_and_worker(trap: &str) -> String {
    let worker = format!("trap \"{trap}\" TERM; echo ready; while :; do sleep .01; done");
    format!("sh -c '{worker}' & wait")
}

#[test]
fn the_whole_group_has_the_grace_period() {
    let folder = Folder::new("grace");
    let done = folder.path().join("done");
    let saves = format!("sleep .3; : >{}; exit", done.display());
    let mut running = start(&["-k", LONG, LONG], &leader_and_worker(&saves));
    running.kill("-ALRM");
    assert_eq!(running.status().code(), Some(124));
    assert!(done.exists(), "timeout has not waited for the worker");
    running.wait();
}

#[test]
fn what_takes_longer_is_killed_also_after_the_leader() {
    let running = start(&["-v", "-k", ".1", LONG], &leader_and_worker(""));
    running.kill("-ALRM");
    let exited = running.wait();
    // The leader was not killed.
    assert_eq!(exited.code(), Some(124));
    let expected = "timeout: sending signal TERM to command 'sh'\n\
                    timeout: sending signal KILL to command 'sh'\n";
    assert_eq!(exited.stderr, expected);
}

#[test]
fn in_the_foreground_the_command_alone_is_signalled() {
    let command = format!("sleep {LONG} >/dev/null 2>&1 & echo $!; wait");
    let exited = script("timeout", &format!("\"$0\" -f .2 sh -c '{command}'"));
    assert_eq!(exited.code(), Some(124));
    let pid = exited.text().trim().to_owned();
    assert!(runs(&pid));
    kill("-KILL", &pid);
}
