//! `pipeline`: bytes that are kept, statuses, errors of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::tool::{Exited, run, run_with, script};

fn pipeline(commands: &[&str]) -> Exited {
    run("pipeline", commands)
}

#[test]
fn each_command_reads_what_the_one_before_it_writes() {
    let exited = pipeline(&["echo b; echo a", "sort", "tr a-z A-Z"]);
    assert_eq!((exited.code(), exited.text()), (Some(0), "A\nB\n".into()));
    let expected = "echo b; echo a: exit status: 0\nsort: exit status: 0\n\
                    tr a-z A-Z: exit status: 0\n";
    assert_eq!(exited.stderr, expected);
}

#[test]
fn bytes_that_are_not_utf_8_are_kept() {
    let exited = run_with("pipeline", ["cat", "cat"], b"\xff\0\xfe\n");
    assert_eq!((exited.code(), &exited.stdout[..]), (Some(0), &b"\xff\0\xfe\n"[..]));
    let exited = run("pipeline", [OsStr::from_bytes(b"printf %s '\xff'")]);
    assert_eq!((exited.code(), &exited.stdout[..]), (Some(0), &b"\xff"[..]));
}

#[test]
fn more_than_pipes_hold_goes_through() {
    let exited = pipeline(&["head -c 3000000 /dev/zero", "cat", "wc -c"]);
    assert_eq!(exited.text().trim(), "3000000");
    assert_eq!(pipeline(&["head -c 3000000 /dev/zero", "cat"]).stdout.len(), 3_000_000);
}

#[test]
fn one_that_fails_makes_it_fail() {
    let exited = pipeline(&["echo a", "exit 3", "cat"]);
    assert_eq!(exited.code(), Some(1));
    assert!(exited.stderr.contains("exit 3: exit status: 3\n"), "{}", exited.stderr);
    assert_eq!(pipeline(&["no_such_command", "cat"]).code(), Some(1));
}

// `yes` has to end, or the test would never return.
#[test]
fn a_full_disk_is_an_error_of_its_own() {
    let exited = script("pipeline", "\"$0\" yes cat >/dev/full");
    assert_eq!(exited.code(), Some(125));
    let expected = "pipeline: standard output: No space left on device";
    assert!(exited.stderr.starts_with(expected), "{}", exited.stderr);
    let exited = script("pipeline", "\"$0\" yes | head -c 1");
    assert_eq!(exited.text(), "y");
    assert!(exited.stderr.starts_with("pipeline: standard output: Broken pipe"));
}

#[test]
fn a_command_that_cannot_be_started_is_too() {
    let start = "PATH=/nonexistent \"$0\" 'echo a' cat";
    let exited = script("pipeline", start);
    assert_eq!(exited.code(), Some(125));
    let expected = "pipeline: a command cannot be started: No such file";
    assert!(exited.stderr.starts_with(expected), "{}", exited.stderr);
}

#[test]
fn what_it_cannot_report_does_not_end_it() {
    assert_eq!(script("pipeline", "\"$0\" 'exit 3' cat 2>/dev/full").code(), Some(1));
}
