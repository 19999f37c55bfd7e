//! Each system call that the library makes fails, one at a time: as a seccomp filter, a limit or a
//! signal has it fail, at its first, its second and at every occurrence.
//!
//! A *scenario* is what a program does with one or a few children. It runs on Tokio and on smol,
//! with and without pidfds, in a process of its own, a *helper*: this program again. There the calls
//! under test come to a *supervisor*, a thread that a seccomp filter asks
//! ([seccomp_unotify(2)](https://man7.org/linux/man-pages/man2/seccomp_unotify.2.html)): it lets
//! them be made, or answers with an error. It does so only while the scenario runs, not while the
//! runtime is made, and only for this process and for children that have not executed their program
//! yet. No tracer is needed, and nothing is attached or counted from outside.
//!
//! After each case, which has to end within a time limit:
//!
//! - A step has returned the right result, or an error. After the first error all calls work again,
//!   and the same step, on the same child, has to return the right result. So nothing was lost, and
//!   what was read was returned.
//! - No code of this workspace has panicked. A panic of the runtime or the standard library is
//!   theirs, and the row has it; but also then no child is left.
//! - Where the table below has only "right", for a call that no runtime makes, it was right.
//! - All children are reaped, and `orphans()` is empty, soon after. Where that took until the calls
//!   worked again, or until the next call of the library, the row has it.
//! - The process has not spent more than a little processor time; neither a thread nor a descriptor
//!   is left; the signal mask is what it was.
//! - The scenario, run again in the same process, passes without any error.
//!
//! The calls that are left out, with the reasons, are in `calls.rs`. The standard library's spawn
//! and the runtimes make some of the same calls; these fail as well.
//!
//! ```text
//! cargo test -p conformance --test refusals                    all trials
//! cargo test -p conformance --test refusals tokio::pipes::     those with that in their name
//! REFUSALS_FULL=1 cargo test -p conformance --test refusals    all cases
//! REFUSALS_TABLE=1 cargo test -p conformance --test refusals   and print the table
//! ```
//!
//! By default `EPERM` stands for all refusals, one shortage for all, and there are no second
//! occurrences, nor, without pidfds, first ones. The table is that of `REFUSALS_FULL=1`; a trial fails if a call of a fresh trace has
//! no row in it. The target is not run, which it reports as an ignored trial, where there are no
//! seccomp listeners (Linux 5.5; some containers).
//!
//! # Results
//!
//! *Right*: every step has returned what it returns without the failure. *Error from* a step: that
//! has returned an error, and the right result at its second try. In parentheses are the scenarios.
//!
#![doc = include_str!("RESULTS.md")]

mod calls;
mod case;
mod harness;
mod help;
#[path = "../shared/helper.rs"]
mod helper;
mod left;
mod runtimes;
mod scenarios;
mod supervisor;
mod sys;
mod table;

use std::env;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use libtest_mimic::{Arguments, Trial};

use table::Table;

fn main() -> ExitCode {
    if let Ok(what) = env::var(harness::HELPS_WITH) {
        help::help(&what);
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // Trials wait more than they work.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(8 * processors);
    let table = Arc::new(Mutex::new(Table::default()));
    let mut trials = Vec::new();
    if !harness::has_listeners() {
        // Reported as ignored, never as passed.
        let trial = Trial::test("not_run_without_seccomp_listeners", || Ok(()));
        return libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(true)]).exit_code();
    }
    match harness::trace_all() {
        Ok(traced) => {
            trials.extend(traced.iter().flat_map(|traced| harness::trials(traced, &table)));
            trials.push(Trial::test("every_call_has_a_row", move || {
                harness::every_call_has_a_row(&traced)
            }));
        }
        Err(error) => {
            let error = error.message().unwrap_or_default().to_owned();
            trials.push(Trial::test("trace", || Err(error.into())));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if env::var_os("REFUSALS_TABLE").is_some() {
        println!("{}", table.lock().unwrap_or_else(PoisonError::into_inner));
    }
    conclusion.exit_code()
}
