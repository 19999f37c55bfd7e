//! `timeout` on a terminal: a command that reads it, Ctrl-C and Ctrl-Z.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::helper::end_of;
use crate::tool::{Folder, LONG, path};

/// A session on a terminal of its own, whose leader is the program.
struct Session {
    leader: Child,
    terminal: BufReader<File>,
}

impl Session {
    /// `setsid -c` makes it the leader, and the terminal that of the session.
    fn start(args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || File::options().read(true).write(true).open(&name).unwrap();
        let mut command = Command::new("setsid");
        command.args(["-c", "-w"]).args(args);
        let leader = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
        Self { leader, terminal: BufReader::new(File::from(master)) }
    }

    fn type_in(&mut self, keys: &str) {
        self.terminal.get_mut().write_all(keys.as_bytes()).unwrap();
    }

    /// Reads lines until one has these words.
    fn until(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.terminal.read_line(&mut line).unwrap(), 0, "no {words:?}");
        }
    }

    fn end(mut self) -> std::process::ExitStatus {
        end_of(&mut self.leader, Duration::from_secs(50)).unwrap().expect("it has to exit in time")
    }
}

fn timeout() -> String {
    path("timeout").into_os_string().into_string().unwrap()
}

#[test]
fn a_command_that_reads_the_terminal_gets_it() {
    let mut session =
        Session::start(&[&timeout(), LONG, "sh", "-c", "echo ready; read a; echo got $a; exit 4"]);
    session.until("ready");
    session.type_in("words\n");
    session.until("got words");
    assert_eq!(session.end().code(), Some(4));
}

#[test]
fn ctrl_c_ends_a_command_that_does_not() {
    let sleep = format!("trap 'echo int; exit 3' INT; echo ready; sleep {LONG}; exit 9");
    let mut session = Session::start(&[&timeout(), LONG, "sh", "-c", &sleep]);
    session.until("ready");
    session.type_in("\x03");
    session.until("int");
    assert_eq!(session.end().code(), Some(3));
}

#[test]
fn a_script_ends_on_ctrl_c() {
    let script = format!("\"$0\" {LONG} sh -c 'echo ready; exec sleep {LONG}'; echo not here");
    let mut session = Session::start(&["bash", "-c", &script, &timeout()]);
    session.until("ready");
    session.type_in("\x03");
    let status = session.end();
    assert!(status.signal() == Some(2) || status.code() == Some(130), "{status}");
}

/// An interactive shell, which has the command stopped by Ctrl-Z and continued by `fg`. The status of
/// a stop by `SIGSTOP` is 147. Words are typed with quotes in them: the terminal echoes what is
/// typed, and that must not be taken for output.
fn stop_and_continue(command: &str, continued: impl FnOnce(&mut Session)) {
    let mut session = Session::start(&["bash", "--norc", "--noprofile", "-i"]);
    session.type_in("PS1=; set -m; echo sh''ell\n");
    session.until("shell");
    let timeout = timeout();
    session
        .type_in(&format!("{timeout} {LONG} sh -c 'echo re''ady; {command}'; echo sta''tus $?\n"));
    session.until("ready");
    session.type_in("\x1a");
    session.until("status 147");
    session.type_in("fg >/dev/null; echo en''ded $?\n");
    continued(&mut session);
    session.until("got words");
    session.until("ended 0");
    session.type_in("exit\n");
    session.end();
}

#[test]
fn ctrl_z_stops_a_command_that_has_the_terminal() {
    stop_and_continue("read a; echo got $a", |session| session.type_in("words\n"));
}

#[test]
fn ctrl_z_stops_one_that_has_not() {
    let folder = Folder::new("ctrl-z");
    let file = folder.path().join("file");
    let command = format!("until [ -e {} ]; do sleep .01; done; echo got words", file.display());
    stop_and_continue(&command, |_| drop(File::create(&file).unwrap()));
}
