//! `timeout` by the tests of coreutils (`tests/timeout/*`): statuses, times, messages.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::tool::{Exited, LONG, full, path, run, script};

fn timeout(args: &[&str]) -> Exited {
    run("timeout", args)
}

#[track_caller]
fn check(args: &[&str], expected: i32) -> Exited {
    let exited = timeout(args);
    assert_eq!(exited.code(), Some(expected), "{args:?}: {} {}", exited.status, exited.stderr);
    exited
}

// timeout.sh

#[test]
fn a_command_that_exits_in_time_gives_its_status() {
    for time in ["10", "1d", "0", "10s", "10m", "1h"] {
        check(&[time, "true"], 0);
    }
    check(&["10", "sh", "-c", "exit 2"], 2);
    check(&["0", "sh", "-c", "exit 124"], 124);
}

#[test]
fn one_that_does_not_is_124() {
    check(&[".1", "sleep", LONG], 124);
    // Also if it exits well when it is asked to.
    check(&[".1", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep .01; done"], 124);
}

#[test]
fn the_status_is_preserved_on_demand() {
    for option in ["-p", "--preserve-status"] {
        check(&[option, ".1", "sleep", LONG], 128 + 15);
        check(&[option, "-s", "INT", ".1", "sleep", LONG], 128 + 2);
        check(&[option, ".1", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep .01; done"], 7);
    }
}

#[test]
fn what_had_to_be_killed_is_137() {
    check(&["-s0", "-k.1", ".1", "sleep", LONG], 137);
    check(&["--foreground", "-s0", "-k.1", ".1", "sleep", LONG], 137);
    check(&["-f", "-s", "0", "--kill-after=.1", ".1", "sleep", LONG], 137);
    check(&["-s", "KILL", ".1", "sleep", LONG], 137);
    check(&["-s", "sigkill", ".1", "sleep", LONG], 137);
    check(&["-k.1", ".1", "sh", "-c", "trap '' TERM; while :; do sleep .01; done"], 137);
}

#[test]
fn it_is_immune_to_an_ignored_sigchld() {
    let exited = script("timeout", "trap '' CHLD; exec \"$0\" 10 sh -c 'exit 3'");
    assert_eq!(exited.code(), Some(3), "{}", exited.stderr);
}

#[test]
fn a_child_that_it_starts_off_with_is_none_of_its_command() {
    let start = format!("sleep .1 & exec \"$0\" .5 sh -c 'sleep {LONG}; echo foo'");
    let exited = script("timeout", &start);
    assert_eq!((exited.code(), exited.text()), (Some(124), String::new()));
}

#[test]
fn verbose_reports_each_signal() {
    for option in ["-v", "--verbose"] {
        let exited = check(&[option, "-s0", "-k", ".1", ".1", "sleep", LONG], 137);
        let expected = "timeout: sending signal EXIT to command 'sleep'\n\
                        timeout: sending signal KILL to command 'sleep'\n";
        assert_eq!(exited.stderr, expected);
    }
    assert_eq!(check(&["-v", "10", "true"], 0).stderr, "");
}

#[test]
fn what_it_cannot_report_does_not_end_it() {
    let mut command = Command::new(path("timeout"));
    command.args(["-v", ".1", "sleep", LONG]).stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(124));
    let mut command = Command::new(path("timeout"));
    command.arg("invalid").stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(125));
    let mut command = Command::new(path("timeout"));
    command.arg("--help").stdout(full()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(125));
}

// A shell that runs it has to see the signal, or its script would continue after Ctrl-C.
#[test]
fn a_command_that_died_of_a_signal_in_time_gives_that_signal() {
    for (name, signal) in [("TERM", 15), ("INT", 2), ("USR1", 10), ("KILL", 9)] {
        let exited = timeout(&["10", "sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(exited.status.signal(), Some(signal), "{name}");
        assert!(!exited.status.core_dumped());
    }
    // Caught for `-s`.
    let exited = timeout(&["-s", "USR2", "10", "sh", "-c", "kill -USR2 $$"]);
    assert_eq!(exited.status.signal(), Some(12));
}

#[test]
fn a_stopped_command_takes_the_signal() {
    check(&[".2", "sh", "-c", "kill -STOP $$; sleep 60"], 124);
}

// timeout-parameters.sh

#[test]
fn its_own_errors_are_125() {
    for args in [
        &["invalid", "sleep", "0"][..],
        &["--kill-after=invalid", "1", "sleep", "0"],
        &["42D", "sleep", "0"],
        &["--signal=invalid", "1", "sleep", "0"],
        &["-s", "1"],
        &["1"],
        &["-k", "1"],
        &["--no-such-option", "1", "true"],
        &["nan", "true"],
        &["", "true"],
    ] {
        let exited = check(args, 125);
        assert!(exited.stderr.starts_with("timeout: "), "{}", exited.stderr);
    }
}

#[test]
fn fractions_are_times() {
    check(&["10.34", "sleep", "0"], 0);
    check(&["9.999999999", "sleep", "0"], 0);
}

#[test]
fn a_command_that_cannot_be_run_is_126_and_none_is_127() {
    let exited = check(&["10", "."], 126);
    assert_eq!(exited.stderr, "timeout: failed to run command '.': Permission denied\n");
    let exited = check(&["10", "no_such"], 127);
    let expected = "timeout: failed to run command 'no_such': No such file or directory\n";
    assert_eq!(exited.stderr, expected);
}

#[test]
fn options_of_the_command_are_its_own() {
    assert_eq!(check(&["10", "echo", "-k", "--", "-v"], 0).text(), "-k -- -v\n");
    assert!(check(&["--help"], 0).text().contains("Usage: timeout"));
}

// timeout-large-parameters.sh

#[test]
fn a_time_that_is_too_long_does_not_end() {
    for time in ["9223372036854775808", "4294967296", "infinity", "1e5000"] {
        // None of them is over at once.
        check(&[time, "sleep", ".3"], 0);
    }
    let largest = format!("{:?}", f64::MAX);
    for time in ["9223372036854775808d", "2.34e+5d", "inf", "1.18973e+4932", &largest] {
        check(&[time, "sleep", "0"], 0);
        check(&["-k", time, ".1", "sleep", LONG], 124);
    }
    check(&["--", &format!("-{largest}"), "sleep", "0"], 125);
}

#[test]
fn one_that_is_too_short_is_over_at_once() {
    for time in ["1e-5000", "1e-12", ".000000001"] {
        check(&[time, "sleep", LONG], 124);
    }
}

// timeout-blocked.pl

#[test]
fn a_blocked_sigalrm_does_not_stop_the_clock() {
    let start = format!("env --block-signal=ALRM \"$0\" .1 sleep {LONG}");
    let exited = script("timeout", &start);
    assert_eq!(exited.code(), Some(124), "{}", exited.stderr);
}

// init-parent.sh

#[test]
fn it_works_as_the_first_process_of_a_pid_namespace() {
    let can = "unshare --pid --fork --map-root-user true";
    if script("timeout", can).code() != Some(0) {
        eprintln!("not run: no pid namespace can be made here");
        return;
    }
    let exited = script("timeout", "unshare --pid --fork --map-root-user \"$0\" 10 sleep .1");
    assert_eq!(exited.code(), Some(0), "{}", exited.stderr);
    let start = format!("unshare --pid --fork --map-root-user \"$0\" .1 sleep {LONG}");
    let exited = script("timeout", &start);
    assert_eq!(exited.code(), Some(124), "{}", exited.stderr);
}
