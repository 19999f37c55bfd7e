//! What can be seen and done to a process from outside.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::running::PATIENCE;
use crate::sys;

/// Asks again and again, with short sleeps between.
pub(super) fn until(
    what: &str,
    patience: Duration,
    mut is_so: impl FnMut() -> bool,
) -> io::Result<()> {
    let end = Instant::now() + patience;
    while !is_so() {
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("waited until {what}")));
        }
        thread::sleep(Duration::from_micros(20));
    }
    Ok(())
}

/// Whether there is no such process any more, not even a zombie.
pub(super) fn is_reaped(pid: u32) -> bool {
    number(pid).and_then(|pid| Ok(test_kill_process(pid)?)).is_err()
}

pub(super) fn all_reaped(pids: &[u32]) -> io::Result<()> {
    pids.iter().try_for_each(|pid| until("all are reaped", PATIENCE, || is_reaped(*pid)))
}

/// Whether it is a zombie, or not even that.
pub(super) fn has_ended(pid: u32) -> bool {
    matches!(state(&format!("/proc/{pid}/stat")), Some('Z' | 'X') | None)
}

/// The processor time of a process, as soon as none of its threads runs.
pub(super) fn cpu_asleep(pid: u32) -> io::Result<Duration> {
    let mut before = sys::cpu_of(pid)?;
    until("the contender sleeps", PATIENCE, || {
        thread::sleep(Duration::from_millis(1));
        let now = sys::cpu_of(pid).unwrap_or_default();
        let sleeps = now == before && all_are(pid, 'S');
        before = now;
        sleeps
    })?;
    Ok(before)
}

/// Whether all threads are in that state.
fn all_are(pid: u32, letter: char) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| state(&format!("{}/stat", task.path().display())) == Some(letter))
}

/// The letter after the name, which is in parentheses and may have any in itself.
fn state(path: &str) -> Option<char> {
    fs::read_to_string(path).ok()?.rsplit_once(") ")?.1.chars().next()
}

/// How many entries a directory of a process has: `task` or `fd`.
pub(super) fn entries(pid: u32, directory: &str) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/{directory}"))?.count())
}

pub(super) fn stop(pid: u32) -> io::Result<()> {
    kill_process(number(pid)?, Signal::STOP)?;
    until("the contender stops", PATIENCE, || all_are(pid, 'T'))
}

pub(super) fn go_on(pid: u32) -> io::Result<()> {
    Ok(kill_process(number(pid)?, Signal::CONT)?)
}

pub(super) fn end(pid: u32) -> io::Result<()> {
    Ok(kill_process(number(pid)?, Signal::TERM)?)
}

fn number(pid: u32) -> io::Result<Pid> {
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?)
}
