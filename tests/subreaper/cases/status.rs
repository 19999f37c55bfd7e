//! What an init ends with, and what it costs until then.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use super::{Case, End, Only};
use crate::inits::Init;
use crate::processes::{descriptors_of, init, status_of, until};
use crate::sys;

const ALL: [Init; 4] = [Init::Example, Init::Tini, Init::Catatonit, Init::Dumb];

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_inits("ends_with_the_code", || process::exit(7)).by(&ALL).ends(End::Code(7)),
        Case::of_inits("ends_with_the_signal", || sys::raise(libc::SIGTERM))
            .by(&ALL)
            .ends(End::Signal(libc::SIGTERM)),
        Case::of_inits("ends_with_sigkill", || sys::raise(libc::SIGKILL))
            .by(&ALL)
            .ends(End::Signal(libc::SIGKILL)),
        Case::of_inits("ends_with_a_real_time_signal", || sys::raise(40)).ends(End::Signal(40)),
        Case::of_inits("ends_with_a_signal_that_was_ignored", dies_of_a_signal_that_was_ignored)
            .by(&[Init::Example])
            .ends(End::Signal(libc::SIGHUP)),
        Case::of_itself("dumps_no_core_of_its_own", dumps_no_core_of_its_own).only(Only::Subreaper),
        Case::of_itself("ends_with_each_of_some_codes", ends_with_each_of_some_codes)
            .only(Only::Subreaper),
        Case::of_inits("does_not_wait_for_orphans", does_not_wait_for_orphans)
            .says("they live on")
            .only(Only::Subreaper),
        Case::of_inits("takes_orphans_along", takes_orphans_along).by(&ALL).only(Only::Pid1),
        Case::of_inits("the_child_leads_a_group", the_child_leads_a_group).by(&ALL),
        Case::of_inits("holds_no_descriptor", holds_no_descriptor).by(&[Init::Example]),
        Case::of_inits("wakes_for_nothing_but_events", wakes_for_nothing_but_events)
            .by(&[Init::Example, Init::Catatonit]),
        // Not the peers, who say 1 to one or both.
        Case::of_inits("reports_no_such_command", || become_init_of("/nonexistent"))
            .by(&[Init::Example])
            .ends(End::Code(127)),
        Case::of_inits("reports_no_permission", || become_init_of("/etc/passwd"))
            .by(&[Init::Example])
            .ends(End::Code(126)),
        Case::of_inits("reports_no_command", || panic!("{}", exec(&["-g"])))
            .by(&[Init::Example])
            .ends(End::Code(125))
            .says("Usage"),
    ]
}

pub(super) fn part(role: &str) -> Option<fn()> {
    Some(match role {
        "dies_without_a_core" => || {
            sys::limit_core(true);
            sys::raise(libc::SIGQUIT);
        },
        "dies_of_sighup" => || {
            sys::raise(libc::SIGHUP);
        },
        _ => return None,
    })
}

/// The example is started with the signal ignored; its command sets it to its default
/// ([`super::play`]).
fn dies_of_a_signal_that_was_ignored() {
    sys::ignore(libc::SIGHUP);
    let args = ["--", "/proc/self/exe", crate::ROLE, "dies_of_sighup"];
    panic!("{}", exec(&args));
}

/// The main child's limit is 0, and the guard's is as high as it can be.
fn dumps_no_core_of_its_own() {
    sys::limit_core(false);
    let status = example(&["--", "/proc/self/exe", crate::ROLE, "dies_without_a_core"]).status();
    let status = status.expect("it is this program");
    assert_eq!((status.signal(), status.core_dumped()), (Some(libc::SIGQUIT), false));
}

fn ends_with_each_of_some_codes() {
    for code in [0, 1, 2, 32, 64, 127, 128, 143, 254, 255] {
        let command = format!("exit {code}");
        let status = example(&["--", "sh", "-c", &command]).status();
        assert_eq!(status.expect("it is this program").code(), Some(code));
    }
}

/// One of them waits until the init is gone, and says so. It ends with what it said.
fn does_not_wait_for_orphans() {
    let script = "while kill -0 $0 2>/dev/null; do sleep 0.01; done; echo they live on";
    let parent = init().to_string();
    // The shell in between is gone when this goes on.
    let started =
        Command::new("sh").args(["-c", "sh -c \"$0\" \"$1\" &", script, &parent]).status();
    assert!(started.is_ok_and(|status| status.success()));
}

/// The namespace ends with its init, and what waits for that ends only then.
fn takes_orphans_along() {
    let started = Command::new("sh").args(["-c", "sleep 1000 &"]).status();
    assert!(started.is_ok_and(|status| status.success()));
}

fn the_child_leads_a_group() {
    assert_eq!(sys::groups().0.unsigned_abs(), process::id());
}

fn holds_no_descriptor() {
    until(|| format!("open: {:?}", descriptors_of(init())), || descriptors_of(init()).is_empty());
}

fn wakes_for_nothing_but_events() {
    let wake_ups = || status_of(init(), "voluntary_ctxt_switches");
    until(
        || "it does not fall asleep".into(),
        || {
            let before = wake_ups();
            thread::sleep(Duration::from_millis(2500));
            before == wake_ups()
        },
    );
}

fn become_init_of(command: &str) {
    panic!("{}", exec(&["--", command]));
}

/// Becomes the example, with these arguments.
fn exec(args: &[&str]) -> std::io::Error {
    example(args).exec()
}

fn example(args: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(crate::INIT).args(args);
    command
}
