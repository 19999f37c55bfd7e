//! Storms: thousands of children on all runtimes at once, each with a fate drawn from a seed.
//!
//! No status may be wrong, and at the end nothing may be left: no child, zombie or orphan, no
//! descriptor and no thread. Each storm goes short of something else, in a process of its own.
//!
//! - `STORM_SEED=7` has the storm of that seed again; each prints its own.
//! - `STORM_SECONDS=3600` has one after the other for about that long, a fourth of it of each kind.

mod act;
mod census;
mod hold;
mod ledger;
mod life;
mod limits;
mod program;
mod runtime;
mod shared;
mod storm;
mod thief;

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::limits::Limits;

/// Tells this program, started by itself, which storm it is to have.
const KIND: &str = "STORM_KIND";

fn main() -> ExitCode {
    let seed = number("STORM_SEED");
    if let Ok(kind) = env::var(KIND) {
        return have(&kind, seed.expect("it is given with the kind"));
    }
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos())
    });
    let time = Duration::from_secs(number("STORM_SECONDS").unwrap_or(0)) / 4;
    let trial = |limits: Limits| {
        Trial::test(format!("short_of_{limits:?}").to_lowercase(), move || {
            rounds(limits, seed, time)
        })
    };
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, Limits::ALL.map(trial).into()).exit_code()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// In the storm's own process.
fn have(kind: &str, seed: u64) -> ExitCode {
    let limits = Limits::ALL.into_iter().find(|limits| format!("{limits:?}") == kind);
    match storm::storm(limits.expect("a kind of storm"), seed) {
        Ok(account) => {
            println!("{account}");
            ExitCode::SUCCESS
        }
        Err(complaints) => {
            println!("{complaints}");
            ExitCode::FAILURE
        }
    }
}

fn rounds(limits: Limits, first_seed: u64, time: Duration) -> Result<(), Failed> {
    let begin = Instant::now();
    for seed in first_seed.. {
        let Output { status, stdout, stderr } = start(limits, seed)?;
        let (account, panics) =
            (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if !status.success() {
            return Err(format!("STORM_SEED={seed}, {status}\n{account}{panics}").into());
        }
        eprint!("\n  STORM_SEED={seed}, {:.1?} so far: {account}", begin.elapsed());
        if begin.elapsed() >= time {
            break;
        }
    }
    Ok(())
}

fn start(limits: Limits, seed: u64) -> io::Result<Output> {
    // Not by its path, which another user may not be able to follow.
    let mut command = Command::new("/proc/self/exe");
    command.env(KIND, format!("{limits:?}")).env("STORM_SEED", seed.to_string());
    if limits == Limits::Processes && rustix::process::getuid().is_root() {
        // Root has no limit of processes. Who it is does not matter, if only nobody else is it.
        command.uid(60_000 + std::process::id() % 5_000);
    }
    command.output()
}
