//! A `Process` under random sequences of operations answers as a simple model of it does.
//!
//! And what a clone does between two system calls of another is not lost on that one.

mod child;
mod model;
mod races;
mod steps;

use std::env;
use std::process::Command;

use pidfd_reaper::KernelSupport;
use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Tells this program, started by itself, that it is to have no pidfds.
const WITHOUT_PIDFD: &str = "MODEL_WITHOUT_PIDFD";

#[test]
fn a_process_answers_as_its_model() {
    let without_pidfd = env::var_os(WITHOUT_PIDFD).is_some();
    if without_pidfd {
        hide_pidfd_open();
    }
    let support = KernelSupport::probe();
    assert!(!(without_pidfd && support.pidfd_open.is_ok()), "the filter does not hold");
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(steps::any_step(), 1..32), |steps| {
        steps::follow(&steps, support.exit_info.is_ok());
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// In a process of its own: what the kernel can do is asked once in each.
#[test]
fn without_pidfd_too() {
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "a_process_answers_as_its_model"])
        .env(WITHOUT_PIDFD, "")
        .output()
        .expect("it was started once");
    let account = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && account.contains("1 passed"), "{account}");
}

/// As a kernel before 5.3 has it, for this thread and those it starts.
fn hide_pidfd_open() {
    let filter = SeccompFilter::new(
        [(libc::SYS_pidfd_open, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        TargetArch::try_from(env::consts::ARCH).expect("one that seccompiler knows"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
    seccompiler::apply_filter(&program).expect("nothing forbids a filter");
}
