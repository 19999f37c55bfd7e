//! Signals that come to an init.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use libc::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};

use super::Case;
use crate::inits::Init;
use crate::{ROLE, sys};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_inits("forwards_each_signal_once", forwards_each_signal_once),
        Case::of_inits("forwards_each_of_several_real_time_signals", forwards_each_of_several),
        // The peers lose the values.
        Case::of_inits("forwards_values", forwards_values).by(&[Init::Example]),
        Case::of_inits("forwards_to_the_group", || reaches_the_group(true))
            .by(&[Init::Example, Init::Tini, Init::Catatonit, Init::Dumb])
            .to_group(),
        Case::of_inits("forwards_to_a_single_child", || reaches_the_group(false))
            .by(&[Init::Example, Init::Dumb])
            .options(&["-c"]),
        Case::of_inits("forwards_to_the_child_alone", || reaches_the_group(false)),
    ]
}

/// The roles of children of a body.
pub(super) fn part(role: &str) -> Option<fn()> {
    (role == "holds_term").then_some(holds_term)
}

fn forwards_each_signal_once() {
    let signals = [SIGTERM, SIGHUP, SIGUSR1, libc::SIGINT, libc::SIGWINCH, sys::first_real_time()];
    sys::block(&signals);
    sys::block(&[SIGUSR2]);
    for signal in signals {
        sys::signal_init(signal);
        sys::wait_for(signal);
        // A second one would have come before this.
        sys::signal_init(SIGUSR2);
        sys::wait_for(SIGUSR2);
        assert!(!sys::is_pending(signal), "signal {signal} came twice");
    }
}

fn forwards_each_of_several() {
    let signal = sys::first_real_time() + 1;
    sys::block(&[signal, SIGUSR2]);
    for _ in 0..5 {
        sys::signal_init(signal);
    }
    for _ in 0..5 {
        sys::wait_for(signal);
    }
    sys::signal_init(SIGUSR2);
    sys::wait_for(SIGUSR2);
    assert!(!sys::is_pending(signal), "there are more than there were");
}

fn forwards_values() {
    let signal = sys::first_real_time() + 2;
    sys::block(&[signal]);
    for value in 1..=5 {
        sys::queue_to_init(signal, value);
    }
    for value in 1..=5 {
        assert_eq!(sys::wait_for(signal).value, Some(value));
    }
}

/// Whether a child of the main child gets what comes to the init.
fn reaches_the_group(does: bool) {
    sys::block(&[SIGTERM]);
    let mut child = Command::new("/proc/self/exe")
        .args([ROLE, "holds_term"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is this program");
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().expect("it was piped"));
    said.read_line(&mut line).expect("it is alive");
    assert_eq!(line, "ready\n");
    sys::signal_init(SIGTERM);
    // All of a group get a signal before the call that sends it comes back.
    sys::wait_for(SIGTERM);
    sys::block(&[SIGUSR2]);
    sys::signal_init(SIGUSR2);
    sys::wait_for(SIGUSR2);
    drop(child.stdin.take());
    let code = child.wait().expect("it is ours").code();
    assert_eq!(code, Some(if does { 9 } else { 0 }));
}

/// Blocks what would end it, and looks for it at the end of its input.
fn holds_term() {
    sys::block(&[SIGTERM, SIGUSR2]);
    println!("ready");
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(if sys::is_pending(SIGTERM) { 9 } else { 0 });
}
