//! What a child does with its life: as little as possible.

use std::env;
use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use pidfd_reaper::Reactor;
use rustix::io::{read, write};
use rustix::stdio::{stdin, stdout};

use crate::{stats, sys};

/// How a child spends its time, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It ends at once.
    End,
    /// It sleeps for some milliseconds, stamps its end, and ends.
    Nap,
    /// It waits at the gate, stamps its end, and ends.
    Gate,
    /// It stamps its start, waits at the gate, stamps its end, and ends.
    Knock,
    /// It writes some bytes to standard output, and ends.
    Pour,
}

impl FromStr for Life {
    type Err = String;

    fn from_str(life: &str) -> Result<Self, String> {
        match life {
            "end" => Ok(Self::End),
            "nap" => Ok(Self::Nap),
            "gate" => Ok(Self::Gate),
            "knock" => Ok(Self::Knock),
            "pour" => Ok(Self::Pour),
            other => Err(format!("no such life: {other}")),
        }
    }
}

impl Life {
    const fn text(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Nap => "nap",
            Self::Gate => "gate",
            Self::Knock => "knock",
            Self::Pour => "pour",
        }
    }

    /// A child with this life, and nothing special about it.
    pub(crate) const fn order(self, amount: u64) -> Order {
        Order { life: self, amount, extra: Extra::Plain }
    }
}

/// What is asked for a child beside its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extra {
    Plain,
    /// It runs as another user. The standard library forks for that, and `root` alone may.
    Uid,
    /// It leads a session. Where there is no such method, a `pre_exec` closure calls `setsid`.
    Session,
}

/// Any user but root; on Linux it is usually `nobody`.
const OTHER_USER: u32 = 65_534;

/// A child to be started. Each contender builds its command with its own builder.
///
/// The child inherits the gate and the place for its stamp as its standard input and output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    life: Life,
    amount: u64,
    extra: Extra,
}

impl Order {
    pub(crate) const fn with(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    fn program() -> &'static PathBuf {
        static MYSELF: OnceLock<PathBuf> = OnceLock::new();
        MYSELF.get_or_init(|| env::current_exe().expect("procfs is mounted"))
    }

    /// With the standard library's builder.
    pub(crate) fn std(self) -> Command {
        let mut command = Command::new(Self::program());
        command.args(["child", self.life.text(), &self.amount.to_string()]);
        match self.extra {
            Extra::Plain => {}
            Extra::Uid => _ = command.uid(OTHER_USER),
            Extra::Session => sys::lead_session(&mut command),
        }
        command
    }

    /// With this library's builder.
    pub(crate) fn ours<R: Reactor>(self) -> pidfd_reaper::Command<R> {
        let mut command = pidfd_reaper::Command::new(Self::program());
        command.args(["child", self.life.text(), &self.amount.to_string()]);
        match self.extra {
            Extra::Plain => {}
            Extra::Uid => _ = command.uid(OTHER_USER),
            Extra::Session => _ = command.session(),
        }
        command
    }
}

/// What a child leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) pid: u32,
    /// By the monotonic clock, in the last moment before its end.
    pub(crate) nanos: u64,
}

impl Stamp {
    pub(crate) const SIZE: usize = 12;

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (pid, nanos) = bytes.split_at(4);
        Self {
            pid: u32::from_ne_bytes(pid.try_into().expect("four bytes")),
            nanos: u64::from_ne_bytes(nanos.try_into().expect("eight bytes")),
        }
    }

    fn now() -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&process::id().to_ne_bytes());
        bytes[4..].copy_from_slice(&stats::now().to_ne_bytes());
        bytes
    }
}

pub(crate) fn live(life: Life, amount: u64) -> Result<(), Box<dyn Error>> {
    match life {
        Life::End => {}
        Life::Nap => {
            thread::sleep(Duration::from_millis(amount));
            write(stdout(), &Stamp::now())?;
        }
        Life::Gate | Life::Knock => {
            if life == Life::Knock {
                write(stdout(), &Stamp::now())?;
            }
            // A byte for each child; the end of the file for all, if the driver is gone.
            if read(stdin(), &mut [0; 1])? > 0 {
                write(stdout(), &Stamp::now())?;
            }
        }
        Life::Pour => pour(amount)?,
    }
    sys::exit_at_once()
}

fn pour(mut bytes: u64) -> io::Result<()> {
    let block = vec![b'.'; 64 * 1024];
    while bytes > 0 {
        let size = block.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        bytes -= write(stdout(), &block[..size])? as u64;
    }
    Ok(())
}
