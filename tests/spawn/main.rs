//! A child that this library starts directly is the same as one of the standard library's.
//!
//! A trial compares the two for the same command, or puts the process into a state that a spawn
//! has to cope with. Each runs in a process of its own, a helper: this program again, with the
//! trial's name as its argument.
//!
//! ```text
//! cargo test -p conformance --test spawn
//! ```

mod attributes;
mod failures;
mod hazards;
#[path = "../shared/helper.rs"]
mod helper;
mod inspect;
mod same;
mod stdio;
mod sys;
mod ways;

use std::env;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed};
use rustix::fs::{MemfdFlags, memfd_create};

/// A trial: its name, what it does, and whether the machine can show it.
pub(crate) struct Trial {
    name: &'static str,
    run: fn(),
    can_be_shown: fn() -> bool,
}

macro_rules! trials {
    ($($body:ident $(if $shown:expr)?),* $(,)?) => {
        vec![$(crate::Trial {
            name: stringify!($body),
            run: $body,
            can_be_shown: crate::trials!(@shown $($shown)?),
        }),*]
    };
    (@shown) => { || true };
    (@shown $shown:expr) => { $shown };
}
pub(crate) use trials;

#[global_allocator]
static ALLOCATOR: sys::Watched = sys::Watched;

const HELP: &str = "help-with";

fn all() -> Vec<Trial> {
    [same::all(), stdio::all(), failures::all(), attributes::all(), hazards::all()]
        .into_iter()
        .flatten()
        .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, help, name] = &arguments[..] {
        if help == HELP {
            sys::remember_this_process();
            let trial = all().into_iter().find(|trial| trial.name == name);
            (trial.expect("the harness asks for trials that there are").run)();
            return ExitCode::SUCCESS;
        }
    }
    let trials = all().into_iter().map(|Trial { name, can_be_shown, .. }| {
        libtest_mimic::Trial::test(name, move || run_helper(name))
            .with_ignored_flag(!can_be_shown())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn run_helper(name: &str) -> Result<(), Failed> {
    let mut output = File::from(memfd_create("output", MemfdFlags::CLOEXEC)?);
    let mut helper = Command::new(env::current_exe()?)
        .args([HELP, name])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    let status = helper::end_of(&mut helper, Duration::from_secs(120))?;
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let mut said = String::new();
    output.rewind()?;
    output.read_to_string(&mut said)?;
    Err(format!(
        "{}\n{said}",
        status.map_or("it took too long".into(), |status| status.to_string())
    )
    .into())
}
