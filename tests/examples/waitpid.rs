//! `waitpid` by the test of util-linux (`tests/ts/misc/waitpid`) and by its man page.

use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};

use pidfd_reaper::{KernelSupport, Pidfd};
use rustix::fs::fstat;

use crate::tool::{Exited, LONG, Running, full, path, run, script};

fn waitpid(args: &[&str]) -> Exited {
    run("waitpid", args)
}

/// A child of this test, which exits when its input is closed. It is reaped by `reap` only.
struct Held {
    child: Child,
    input: Option<ChildStdin>,
}

impl Held {
    fn start(code: i32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read nothing; exit {code}")]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self { input: child.stdin.take(), child }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn exit(&mut self) {
        drop(self.input.take());
    }

    fn reap(&mut self) {
        self.exit();
        self.child.wait().unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.exit();
        let _ = self.child.wait();
    }
}

fn start(args: &[&str]) -> Running {
    let mut command = Command::new(path("waitpid"));
    command.args(args);
    Running::start(command)
}

/// Whether it waits: it sleeps in `epoll_wait`, after it has opened all pidfds.
fn until_it_waits(running: &Running) {
    let path = format!("/proc/{}/syscall", running.pid());
    let fds = format!("/proc/{}/fd", running.pid());
    loop {
        let syscall = std::fs::read_to_string(&path).unwrap_or_default();
        let waits =
            ["232 ", "281 ", "441 ", "22 "].iter().any(|number| syscall.starts_with(number));
        let has_pidfd = std::fs::read_dir(&fds).is_ok_and(|fds| {
            fds.flatten().any(|fd| {
                fd.path().read_link().is_ok_and(|link| link.to_string_lossy().contains("pidfd"))
            })
        });
        if waits && has_pidfd {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

// normal

#[test]
fn it_exits_after_all_of_them() {
    let exited = script(
        "waitpid",
        "(sleep .2; echo 1) & a=$!; (sleep .1; echo 2) & b=$!; echo 3; \"$0\" $a $b; echo $?",
    );
    assert_eq!(exited.text(), "3\n2\n1\n0\n", "{}", exited.stderr);
}

// timeout

#[test]
fn a_timeout_is_3() {
    let exited = waitpid(&["-v", "-t", "0.1", "1"]);
    assert_eq!((exited.code(), exited.text()), (Some(3), "Timeout expired\n".into()));
    let exited = waitpid(&["--timeout=0.1", "1"]);
    assert_eq!((exited.code(), exited.text()), (Some(3), String::new()));
}

#[test]
fn a_zombie_has_exited() {
    let mut held = Held::start(7);
    let running = start(&["-v", &held.pid()]);
    until_it_waits(&running);
    // It is not reaped before `waitpid` has returned.
    held.exit();
    let exited = running.wait();
    assert_eq!(exited.code(), Some(0));
    assert_eq!(exited.text(), format!("PID {} finished\n", held.pid()));
    // The same with one that was a zombie before.
    let exited = waitpid(&["-t", LONG, &held.pid()]);
    assert_eq!(exited.code(), Some(0));
}

#[test]
fn the_status_is_shown_where_the_kernel_keeps_it() {
    let mut held = Held::start(7);
    let running = start(&["-v", &held.pid()]);
    until_it_waits(&running);
    held.reap();
    let text = running.wait().text();
    if KernelSupport::probe().exit_info.is_ok() {
        assert_eq!(text, format!("PID {} finished, exit status: 7\n", held.pid()));
    } else {
        assert_eq!(text, format!("PID {} finished\n", held.pid()));
    }
}

#[test]
fn count_waits_for_so_many() {
    let (mut first, second) = (Held::start(0), Held::start(0));
    first.exit();
    let exited = waitpid(&["-c", "1", &second.pid(), &first.pid()]);
    assert_eq!(exited.code(), Some(0));
    let exited = waitpid(&["-t", ".1", "-c", "2", &second.pid(), &first.pid()]);
    assert_eq!(exited.code(), Some(3));
    let exited = waitpid(&["-c", "2", &second.pid()]);
    assert_eq!(exited.code(), Some(1));
    assert!(exited.stderr.contains("can't wait for 2 of 1 PIDs"), "{}", exited.stderr);
}

#[test]
fn a_pid_that_is_not_there_is_an_error_unless_that_is_accepted() {
    // Larger than any PID that Linux gives.
    let unused = i32::MAX.to_string();
    let exited = waitpid(&[&unused]);
    assert_eq!(exited.code(), Some(1));
    assert!(exited.stderr.starts_with(&format!("waitpid: could not open PID {unused}: No such")));
    let exited = waitpid(&["-v", "-e", &unused]);
    assert_eq!(exited.code(), Some(0));
    assert_eq!(exited.stderr, format!("waitpid: PID {unused} has exited, skipping\n"));
    let mut held = Held::start(0);
    held.exit();
    assert_eq!(waitpid(&["--exited", &unused, &held.pid()]).code(), Some(0));
}

#[test]
fn the_inode_of_a_pidfd_names_one_process() {
    let held = Held::start(0);
    let pidfd = Pidfd::open(held.child.id()).unwrap();
    let inode = fstat(pidfd.as_fd()).unwrap().st_ino;
    let id = format!("{}:{inode}", held.pid());
    assert_eq!(waitpid(&["-t", ".1", &id]).code(), Some(3));
    // Of a process that had this PID before.
    let other = format!("{}:{}", held.pid(), inode + 1);
    assert_eq!(waitpid(&["-t", ".1", &other]).code(), Some(1));
    assert_eq!(waitpid(&["-t", ".1", "-e", &other]).code(), Some(0));
}

#[test]
fn errors_are_1() {
    for args in [
        &["-v"][..],
        &["0"],
        &["-1"],
        &["one"],
        &["1:"],
        &["-t", "never", "1"],
        &["-t", "-1", "1"],
        &["-c", "0", "1"],
        &["-c", "1", "-e", "1"],
    ] {
        let exited = waitpid(args);
        assert_eq!(exited.code(), Some(1), "{args:?}");
        assert!(exited.stderr.starts_with("waitpid: "), "{}", exited.stderr);
    }
    for time in ["1e300", "inf"] {
        let mut held = Held::start(0);
        held.exit();
        assert_eq!(waitpid(&["-t", time, &held.pid()]).code(), Some(0), "{time}");
    }
}

#[test]
fn a_full_disk_is_an_error_of_its_own() {
    let mut held = Held::start(0);
    held.exit();
    let mut command = Command::new(path("waitpid"));
    command.args(["-v", &held.pid()]).stdout(full());
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("waitpid: standard output: No space left"), "{text}");
}
