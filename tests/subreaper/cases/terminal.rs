//! The terminal goes to the main child, and comes back.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::thread;

use libc::{SIGCONT, SIGINT, SIGQUIT, SIGTTOU, SIGUSR2};
use pidfd_reaper::Subreaper;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, ioctl_tiocsctty, kill_process_group, setsid, waitpid,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::{Case, Only, start_command};
use crate::{INIT, ROLE, sys};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_itself("ctrl_c_reaches_the_program_once", ctrl_c_reaches_the_program_once),
        Case::of_itself("the_terminal_comes_back", the_terminal_comes_back).only(Only::Subreaper),
        Case::of_itself("a_shell_stops_and_continues_both", a_shell_stops_and_continues_both)
            .only(Only::Subreaper),
        Case::of_itself("the_background_stays_there", the_background_stays_there)
            .only(Only::Subreaper),
        Case::of_itself("ctrl_z_is_for_shells", ctrl_z_is_for_shells),
        Case::of_itself("ctrl_c_reaches_a_script", || key_reaches_a_script(CTRL_C, SIGINT, true))
            .only(Only::Subreaper),
        Case::of_itself("ctrl_backslash_reaches_a_script", || {
            sys::limit_core(true);
            key_reaches_a_script(b"\x1c", SIGQUIT, true);
        })
        .only(Only::Subreaper),
        Case::of_itself("a_signal_to_the_init_reaches_no_script", || {
            key_reaches_a_script(b"", SIGINT, false);
        })
        .only(Only::Subreaper),
        Case::of_itself("ctrl_c_ends_a_bash_script", ctrl_c_ends_a_bash_script)
            .only(Only::Subreaper),
    ]
}

/// The roles of jobs.
pub(super) fn part(role: &str) -> Option<fn()> {
    Some(match role {
        "job" => job,
        "job_in_background" => job_in_background,
        "command_of_a_script" => command_of_a_script,
        _ => return None,
    })
}

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

/// Makes this process the leader of a session with a new terminal, which is its standard input.
/// What is written to the other side is typed. It stays open until this process ends, since the end
/// of it hangs up.
fn new_terminal() -> &'static File {
    setsid_at_any_rate();
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    unlockpt(&keyboard).expect("it is new");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&keyboard, flags).expect("it is unlocked");
    ioctl_tiocsctty(&terminal).expect("this session has none");
    sys::set_stdin(terminal);
    Box::leak(Box::new(File::from(keyboard)))
}

/// The harness has made this process the leader of a group, unless it is PID 1 of a namespace.
fn setsid_at_any_rate() {
    if setsid().is_err() {
        sys::go_on_in_a_child();
        setsid().expect("a new process leads no group");
    }
}

fn is_in_foreground() -> bool {
    let (own, foreground) = sys::groups();
    own == foreground
}

fn ctrl_c_reaches_the_program_once() {
    let mut keyboard = new_terminal();
    let (guards_group, _) = sys::groups();
    Subreaper::new().guard().expect("this thread is the only one");
    assert_ne!(sys::groups().0, guards_group);
    assert!(is_in_foreground(), "{:?}", sys::groups());
    sys::block(&[SIGINT, SIGUSR2]);
    keyboard.write_all(CTRL_C).expect("it is open");
    assert!(sys::wait_for(SIGINT).by_kernel);
    sys::signal_init(SIGUSR2);
    sys::wait_for(SIGUSR2);
    assert!(!sys::is_pending(SIGINT), "it came twice");
}

/// As no shell would be there to continue it, Ctrl-Z has no effect, like without a guard.
fn ctrl_z_is_for_shells() {
    let mut keyboard = new_terminal();
    Subreaper::new().guard().expect("this thread is the only one");
    sys::block(&[SIGCONT]);
    keyboard.write_all(CTRL_Z).expect("it is open");
    sys::wait_for(SIGCONT);
    assert!(is_in_foreground());
}

/// The example under a shell that has no job control: a script's.
fn the_terminal_comes_back() {
    let _keyboard = new_terminal();
    let script = "exit 7";
    let status = Command::new("/proc/self/exe").args([INIT, "--", "sh", "-c", script]).status();
    assert_eq!(status.expect("it is this program").code(), Some(7));
    assert!(is_in_foreground(), "{:?}", sys::groups());
}

/// The example as a job of a shell that has job control, which this process plays.
fn a_shell_stops_and_continues_both() {
    let mut keyboard = new_terminal();
    sys::block(&[SIGTTOU]);
    let mut job = Job::start("job", true);
    job.hears("ready");
    for _ in 0..3 {
        keyboard.write_all(CTRL_Z).expect("it is open");
        assert!(job.next_change().stopped());
        assert_eq!(sys::groups().1.unsigned_abs(), job.group(), "the terminal is not the job's");
        sys::set_foreground(process::id());
        sys::set_foreground(job.group());
        job.go_on();
        job.hears("continued");
    }
    keyboard.write_all(CTRL_C).expect("it is open");
    assert_eq!(job.next_change().terminating_signal(), Some(SIGINT));
    assert_eq!(sys::groups().1.unsigned_abs(), job.group());
}

/// A job that is started in the background is not given the terminal. When it needs it, it stops
/// as a whole until it is in the foreground.
fn the_background_stays_there() {
    let mut keyboard = new_terminal();
    sys::block(&[SIGTTOU]);
    let mut job = Job::start("job_in_background", false);
    job.hears("ready");
    assert!(is_in_foreground(), "the job has taken the terminal");
    assert!(job.next_change().stopped());
    job.go_on();
    assert!(job.next_change().stopped(), "it is still in the background");
    sys::set_foreground(job.group());
    job.go_on();
    keyboard.write_all(b"typed\n").expect("it is open");
    job.hears("typed");
    assert_eq!(job.next_change().exit_status(), Some(0));
}

/// The example in the process group of this process, as a script without job control runs it. bash
/// ends the script if its command died of `SIGINT` and it has received one itself.
fn key_reaches_a_script(key: &[u8], signal: i32, reaches: bool) {
    let mut keyboard = new_terminal();
    let mut command = Command::new("/proc/self/exe");
    command.args([INIT, "--", "/proc/self/exe", ROLE, "command_of_a_script"]);
    let mut init = start_command(&mut command);
    // Not before, since the command would inherit it.
    sys::block(&[signal]);
    if reaches {
        keyboard.write_all(key).expect("it is open");
    } else {
        sys::signal(init.id().try_into().expect("a PID"), signal);
    }
    let status = init.wait().expect("it is ours");
    assert_eq!(status.signal(), Some(signal));
    assert_eq!(sys::is_pending(signal), reaches);
    assert!(is_in_foreground(), "{:?}", sys::groups());
}

fn command_of_a_script() {
    println!("ready");
    loop {
        thread::park();
    }
}

/// With the shell for which that is done, if there is one.
fn ctrl_c_ends_a_bash_script() {
    let mut keyboard = new_terminal();
    let this = env::args().next().expect("the harness names it");
    let mut bash = Command::new("bash");
    bash.args(["-c", "\"$@\"; echo it went on; exit 9", "bash", &this, INIT, "--"]);
    bash.args([&this, ROLE, "command_of_a_script"]);
    if let Err(error) = Command::new("bash").arg("--version").stdout(Stdio::null()).status() {
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        return;
    }
    let mut script = start_command(&mut bash);
    // This process is in the foreground as well.
    sys::block(&[SIGINT]);
    keyboard.write_all(CTRL_C).expect("it is open");
    assert_eq!(script.wait().expect("it is ours").signal(), Some(SIGINT));
}

struct Job {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Job {
    fn start(role: &str, in_foreground: bool) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args([INIT, "--", "/proc/self/exe", ROLE, role]);
        command.stdout(Stdio::piped()).process_group(0);
        if in_foreground {
            sys::put_into_foreground(&mut command);
        }
        let mut child = command.spawn().expect("it is this program");
        let said = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, said }
    }

    fn group(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn hears(&mut self, what: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it is a pipe");
        assert_eq!(line.trim_end(), what);
    }

    fn next_change(&self) -> WaitStatus {
        let change = waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("it is ours");
        change.expect("it was waited for").1
    }

    fn go_on(&self) {
        kill_process_group(self.pid(), Signal::CONT).expect("it is there");
    }
}

fn job() {
    // One that the guard would take after SIGCONT, of which there is to be one only.
    let marker = sys::first_real_time();
    sys::block(&[SIGCONT, marker]);
    assert!(is_in_foreground());
    println!("ready");
    loop {
        sys::wait_for(SIGCONT);
        assert!(is_in_foreground(), "it goes on without the terminal");
        sys::signal_init(marker);
        sys::wait_for(marker);
        assert!(!sys::is_pending(SIGCONT), "it was continued twice");
        println!("continued");
    }
}

fn job_in_background() {
    assert!(!is_in_foreground());
    println!("ready");
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("it is in the foreground by now");
    assert!(is_in_foreground());
    print!("{line}");
}
