//! What the library promises, shown on every runtime and every kind of kernel.
//!
//! A body is one behaviour, written once, for any [`Runtime`](runtimes::Runtime). It runs on each
//! runtime and under each [`Profile`](profiles::Profile), an older or a narrower kernel made by
//! seccomp filters. Each such trial has a process of its own, a *helper*: this program again, with
//! the trial's name in its environment. So a trial may change what belongs to a whole process, and
//! what it leaves behind can be counted.
//!
//! ```text
//! cargo test -p conformance --test conformance                 all trials
//! cargo test -p conformance --test conformance smol::native    those with that in their name
//! ```
//!
//! `CONFORMANCE_SMALL=1` makes the bodies that work with thousands of children use fewer, for slow
//! machines; `CONFORMANCE_SECONDS` is the time that one trial may take.

mod bodies;
mod children;
#[path = "../shared/helper.rs"]
mod helper;
mod leaks;
mod profiles;
mod runtimes;
mod sys;
mod trial;

use std::env;
use std::process::ExitCode;
use std::thread;

use libtest_mimic::Arguments;

use profiles::Facts;
use trial::Trial;

fn main() -> ExitCode {
    if let Ok(role) = env::var(children::ROLE) {
        children::play(&role);
    }
    if let Ok(name) = env::var(trial::HELPS_WITH) {
        let trial = Trial::all().into_iter().find(|trial| trial.name() == name);
        trial.expect("the harness asks for trials that there are").help();
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // Trials wait more than they work.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(4 * processors);
    let facts = Facts::ask();
    let tests = Trial::all().into_iter().map(|trial| trial.into_test(&facts)).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
