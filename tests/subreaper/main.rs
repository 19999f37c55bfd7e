//! `Subreaper` and the example `init`, beside tini, catatonit and dumb-init.
//!
//! Each trial is a process of its own, this program again in a [role](cases::Case): started by an
//! [`Init`](inits::Init) as its command, or guarding itself; as PID 1 of a pid namespace, or as a
//! child subreaper; as root and as someone else. What cannot be had here is ignored.
//!
//! ```text
//! cargo test -p conformance --test subreaper               all trials
//! cargo test -p conformance --test subreaper tini::pid_1   those with that in their name
//! ```

mod cases;
#[path = "../../examples/init/command.rs"]
mod command;
mod held;
#[path = "../shared/helper.rs"]
mod helper;
mod inits;
mod places;
mod processes;
mod sys;
mod trial;

use std::env;
use std::process::ExitCode;

use libtest_mimic::Arguments;

/// The first argument of a helper that plays a role, before the role's name.
const ROLE: &str = "--role";
/// The first argument of a helper that is the example, before the example's own.
const INIT: &str = "--init";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1).peekable();
    match args.peek().and_then(|first| first.to_str()) {
        Some(INIT) => {
            sys::die_after(cases::LONGEST_LIFE);
            return command::run(args);
        }
        Some(ROLE) => {
            let role = args.nth(1).and_then(|role| role.into_string().ok());
            cases::play(&role.expect("a role has a name"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let trials = trial::all().into_iter().map(trial::Trial::into_test).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
