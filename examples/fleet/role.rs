//! The fleet's own program in the role of a child.
//!
//! Its input is the gate, whose end comes when all of the fleet have been started. Its output is a
//! file of stamps, in which it leaves the time as its last act.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process;
use std::thread;
use std::time::Duration;

use pidfd_reaper::{Command, Reactor};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::job::{Fate, Job};

/// The first argument of a child.
const CHILD: &str = "--child";

/// The command for a child with this job.
pub(crate) fn command<R: Reactor>(
    job: &Job,
    gate: &OwnedFd,
    stamps: &Stamps,
) -> io::Result<Command<R>> {
    let end = match job.fate {
        Fate::Exits(code) => i32::from(code),
        Fate::Dies(signal) => -signal.as_raw(),
        Fate::Killed | Fate::Abandoned | Fate::DroppedAtOnce | Fate::Copies(_) => 0,
    };
    let mut command = Command::new(env::current_exe()?);
    command
        .args([CHILD, &job.number.to_string(), &job.life.as_micros().to_string(), &end.to_string()])
        .stdin(gate.try_clone()?)
        .stdout(stamps.0.try_clone()?);
    Ok(command)
}

/// Whether this process was started by a [`command`].
pub(crate) fn is_child() -> bool {
    env::args_os().nth(1).is_some_and(|arg| arg == CHILD)
}

/// Does what the [`command`] says.
pub(crate) fn play() -> ! {
    match act() {
        Ok(end) if end >= 0 => process::exit(end),
        Ok(signal) => {
            let signal = Signal::from_named_raw(-signal).expect("a signal with a name");
            let _ = kill_process(getpid(), signal);
            unreachable!("{signal:?} is deadly");
        }
        Err(error) => {
            eprintln!("fleet: child: {error}");
            process::exit(255);
        }
    }
}

/// All but the end, which it returns: the code, or the signal as a negative number.
fn act() -> Result<i32, Box<dyn Error>> {
    let mut args = env::args().skip(2);
    let mut next = || args.next().ok_or("started by hand");
    let (number, life, end) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let stamps = Stamps(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    thread::sleep(Duration::from_micros(life));
    stamps.stamp(number)?;
    Ok(end)
}

/// When each child did its last act, by its number.
#[derive(Debug)]
pub(crate) struct Stamps(File);

impl Stamps {
    const SIZE: u64 = 8;

    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("stamps", MemfdFlags::CLOEXEC)?.into()))
    }

    /// How long ago the child `number` stamped; `None` if it never did.
    pub(crate) fn age(&self, number: u32) -> Option<Duration> {
        let now = now();
        let mut stamp = [0; 8];
        self.0.read_exact_at(&mut stamp, u64::from(number) * Self::SIZE).ok()?;
        let stamp = u64::from_ne_bytes(stamp);
        (stamp != 0).then(|| Duration::from_nanos(now.saturating_sub(stamp)))
    }

    fn stamp(&self, number: u32) -> io::Result<()> {
        self.0.write_all_at(&now().to_ne_bytes(), u64::from(number) * Self::SIZE)
    }
}

/// The nanoseconds of `CLOCK_MONOTONIC`, which is one for all processes.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
