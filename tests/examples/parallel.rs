//! `parallel` beside xargs: input as bytes, statuses, errors of its own.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::tool::{Exited, Running, full, path, run_with, script};

#[track_caller]
fn check(args: &[&str], input: &[u8], expected: i32) -> Exited {
    let exited = run_with("parallel", args, input);
    assert_eq!(exited.code(), Some(expected), "{args:?}: {} {}", exited.status, exited.stderr);
    exited
}

/// What xargs exits with, for the same commands, input and options.
fn of_xargs(args: &[&str], input: &[u8]) -> Option<i32> {
    let mut command = Command::new("xargs");
    command.args(["-r", "-d", "\n", "-n", "1"]).args(args);
    let mut running = Running::start(command);
    running.feed(input);
    running.wait().code()
}

#[test]
fn lines_are_arguments_whatever_is_in_them() {
    let input = b"a b\n'c\" \\d\n\n\xff\xfe\nlast";
    let exited = check(&["-P", "1", "printf", "<%s>"], input, 0);
    assert_eq!(exited.stdout, b"<a b><'c\" \\d><><\xff\xfe><last>");
    assert_eq!(check(&["printf", "<%s>"], b"", 0).stdout, b"");
}

#[test]
fn nul_separates_on_demand() {
    for option in ["-0", "--null"] {
        let exited = check(&[option, "-P1", "printf", "<%s>"], b"a\nb\0\xff\0", 0);
        assert_eq!(exited.stdout, b"<a\nb><\xff>");
    }
}

#[test]
fn the_command_may_be_bytes_too() {
    use std::os::unix::ffi::OsStrExt;

    let argument = std::ffi::OsStr::from_bytes(b"\xff%s");
    let exited = run_with("parallel", ["printf".as_ref(), argument], b"x\n");
    assert_eq!(exited.stdout, b"\xffx");
}

#[test]
fn the_statuses_are_those_of_xargs() {
    let kill: &[&str] = &["sh", "-c", "kill -$0 $$"];
    let exit: &[&str] = &["sh", "-c", "exit $0"];
    let cases: [(&[&str], &[u8], i32); 9] = [
        (exit, b"0\n0\n", 0),
        (exit, b"1\n0\n", 123),
        (exit, b"125\n0\n", 123),
        (exit, b"255\n", 124),
        (kill, b"TERM\n", 125),
        (kill, b"KILL\n", 125),
        (&["/"], b"1\n", 126),
        (&["no_such"], b"1\n", 127),
        (&["no_such"], b"", 0),
    ];
    for (command, input, expected) in cases {
        let args = [&["-P", "1"], command].concat();
        check(&args, input, expected);
        assert_eq!(of_xargs(&args, input), Some(expected), "xargs {args:?}");
    }
}

#[test]
fn after_255_no_more_are_started() {
    let script = "echo $0; exit $0";
    let exited = check(&["-P1", "sh", "-c", script], b"3\n255\n0\n", 124);
    assert_eq!(exited.text(), "3\n255\n");
    assert!(exited.stderr.contains("255: exited with status 255; aborting"), "{}", exited.stderr);
}

// The first two wait for each other: one at a time would never end.
#[test]
fn so_many_run_at_a_time() {
    let folder = crate::tool::Folder::new("parallel");
    let meet = "cd \"$0\"; mkfifo pipe 2>/dev/null; \
                if [ $1 = a ]; then echo met >pipe; else cat pipe; fi";
    let folder = folder.path().to_str().unwrap();
    for max in ["-P2", "-P0", "--max-procs=3"] {
        let exited = check(&[max, "sh", "-c", meet, folder], b"a\nb\n", 0);
        assert_eq!(exited.text(), "met\n");
    }
}

#[test]
fn each_output_is_in_one_piece() {
    let exited = check(&["-P4", "sh", "-c", "printf $0; sleep .05; echo $0"], b"a\nb\nc\nd\n", 0);
    let lines: BTreeSet<_> = exited.text().lines().map(str::to_owned).collect();
    assert_eq!(lines, ["aa", "bb", "cc", "dd"].map(str::to_owned).into());
}

#[test]
fn an_endless_input_is_no_obstacle() {
    let exited = script("parallel", "yes | \"$0\" -P2 sh -c 'exit 255'");
    assert_eq!(exited.code(), Some(124), "{}", exited.stderr);
}

#[test]
fn its_own_errors_are_1_and_not_the_commands() {
    for (start, expected) in [
        ("echo a | \"$0\" echo >/dev/full", "parallel: standard output: No space left"),
        ("\"$0\" echo </", "parallel: standard input: Is a directory"),
        ("echo a | \"$0\" -P x echo", "parallel: "),
        ("printf 'a\\0b\\n' | \"$0\" echo", "parallel: echo: "),
        ("echo a | \"$0\" -P 2", "parallel: missing command"),
    ] {
        let exited = script("parallel", start);
        assert_eq!(exited.code(), Some(1), "{start}: {}", exited.stderr);
        assert!(exited.stderr.starts_with(expected), "{start}: {}", exited.stderr);
    }
}

#[test]
fn a_closed_pipe_is_an_error_too() {
    let start = "seq 100 | \"$0\" -P1 sh -c 'echo $0; exit 0' | :; echo done";
    assert_eq!(script("parallel", start).text(), "done\n");
    let mut command = Command::new(path("parallel"));
    command.args(["-P1", "echo"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("parallel: standard output: Broken pipe"), "{text}");
}

#[test]
fn what_it_cannot_report_does_not_end_it() {
    let mut command = Command::new(path("parallel"));
    command.args(["-v", "sh", "-c", "echo error >&2; exit 1"]).stdin(Stdio::piped());
    let mut child = command.stderr(full()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(123));
}
