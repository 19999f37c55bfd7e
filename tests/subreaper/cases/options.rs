//! The options of an init, as far as they are not cases of something else.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};

use libc::{SIGCONT, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use pidfd_reaper::{Signal, Subreaper};

use super::{Case, End, Only, is_in_state, start, start_command, start_with};
use crate::inits::Init;
use crate::processes::{init, until, until_no_orphans};
use crate::{INIT, ROLE, sys};

pub(super) fn all() -> Vec<Case> {
    const REWRITES: &[&str] =
        &["-r", "15:2", "--rewrite", "2:15", "-r", "10:0", "-r", "3:3", "-r", "1:31"];
    vec![
        Case::of_inits("forwards_one_signal_as_another", forwards_one_signal_as_another)
            .by(&[Init::Example, Init::Dumb])
            .options(REWRITES),
        Case::of_inits("forwards_another_signal_to_the_group", forwards_one_signal_as_another)
            .by(&[Init::Example, Init::Dumb])
            .to_group()
            .options(REWRITES),
        Case::of_itself("forwards_as_was_asked", || {
            let guarded = Subreaper::new()
                .forward_as(Signal::TERM, Signal::INT)
                .forward_as(Signal::INT, Signal::TERM)
                .forward_as(Signal::HUP, Signal::SYS)
                .discard(Signal::USR1)
                .guard();
            guarded.expect("this thread is the only one");
            forwards_one_signal_as_another();
        }),
        // The peers lose the values.
        Case::of_inits("keeps_the_value_of_another_signal", keeps_the_value)
            .by(&[Init::Example])
            .options(&["-r", "USR1:SIGUSR2"]),
        Case::of_inits("a_code_becomes_0", || process::exit(7))
            .by(&[Init::Example, Init::Tini])
            .options(&["-e", "7", "-e", "143"]),
        Case::of_inits("the_code_of_a_signal_becomes_0", || sys::raise(SIGTERM))
            .by(&[Init::Example, Init::Tini])
            .options(&["-e", "7", "-e", "143"]),
        Case::of_inits("other_codes_stay", || process::exit(8))
            .by(&[Init::Example, Init::Tini])
            .options(&["-e", "7", "-e", "143"])
            .ends(End::Code(8)),
        Case::of_inits("dies_with_its_parent", dies_with_its_parent)
            .by(&[Init::Example])
            .only(Only::Subreaper)
            .says("it was forwarded"),
        Case::of_inits("takes_the_flags_of_tini", || process::exit(7))
            .by(&[Init::Example, Init::Tini])
            .options(&["-s", "-v", "-w", "-g", "-p", "SIGTERM"])
            .ends(End::Code(7)),
        Case::of_inits("takes_the_flags_of_dumb_init", || process::exit(7))
            .by(&[Init::Example, Init::Dumb])
            .options(&["-v", "-c", "--single-child", "--verbose"])
            .ends(End::Code(7)),
        prints("prints_help", &["--help"], 0, "Usage: init"),
        prints("prints_its_version", &["-V"], 0, concat!("init ", env!("CARGO_PKG_VERSION"))),
        prints("refuses_half_a_rewriting", &["-r", "15", "--", "true"], 125, "S:R"),
        prints("refuses_an_unknown_signal", &["-p", "NONE", "--", "true"], 125, "no signal"),
        prints("refuses_a_code_above_255", &["-e", "256", "--", "true"], 125, "256"),
        prints("refuses_a_grace_below_0", &["--grace", "-1", "--", "true"], 125, "negative"),
        Case::of_itself("keeps_mask_and_dispositions", keeps_mask_and_dispositions),
        Case::of_inits("keeps_the_working_directory", keeps_the_working_directory)
            .by(&[Init::Example, Init::Dumb]),
        Case::of_inits("is_stopped_and_continued", is_stopped_and_continued)
            .by(&[Init::Example])
            .ends(End::Code(7)),
        Case::of_itself("reaps_what_came_before_exec", reaps_what_came_before_exec),
    ]
}

pub(super) fn part(role: &str) -> Option<fn()> {
    Some(match role {
        "starts_an_init" => starts_an_init,
        "says_that_it_was_forwarded" => says_that_it_was_forwarded,
        "stops_its_parent" => stops_its_parent,
        "sees_no_orphans" => until_no_orphans,
        _ => return None,
    })
}

/// Of the example, which prints or refuses instead of running anything.
fn prints(
    name: &'static str,
    args: &'static [&'static str],
    code: i32,
    says: &'static str,
) -> Case {
    Case::of_inits(name, || panic!("a command was run"))
        .by(&[Init::Example])
        .only(Only::Subreaper)
        .options(args)
        .ends(End::Code(code))
        .says(says)
}

/// `TERM` and `INT` are swapped, `USR1` is discarded, `HUP` becomes `SYS`, `QUIT` stays.
fn forwards_one_signal_as_another() {
    const CASES: [(i32, i32); 4] =
        [(SIGTERM, SIGINT), (SIGINT, SIGTERM), (libc::SIGHUP, libc::SIGSYS), (SIGQUIT, SIGQUIT)];
    sys::block(&CASES.map(|(_, sent)| sent));
    sys::block(&[SIGUSR1, SIGUSR2, libc::SIGHUP]);
    for (received, sent) in CASES {
        sys::signal_init(received);
        sys::wait_for(sent);
        sys::signal_init(SIGUSR1);
        sys::signal_init(SIGUSR2);
        sys::wait_for(SIGUSR2);
        for signal in [received, SIGUSR1] {
            assert!(!sys::is_pending(signal), "signal {signal} came too, with {received}");
        }
    }
}

fn keeps_the_value() {
    sys::block(&[SIGUSR1, SIGUSR2]);
    sys::queue_to_init(SIGUSR1, 4711);
    assert_eq!(sys::wait_for(SIGUSR2).value, Some(4711));
    assert!(!sys::is_pending(SIGUSR1));
}

/// The parent of a second init exits; its command gets the signal through that init.
fn dies_with_its_parent() {
    let mut parent = start("starts_an_init");
    assert!(parent.wait().expect("it is ours").success());
    until_no_orphans();
}

fn starts_an_init() {
    let args = ["-p", "TERM", "--", "/proc/self/exe", ROLE, "says_that_it_was_forwarded"];
    drop(start_command(Command::new("/proc/self/exe").arg(INIT).args(args)));
    println!("ready");
}

fn says_that_it_was_forwarded() {
    sys::block(&[SIGTERM]);
    println!("ready");
    sys::wait_for(SIGTERM);
    eprintln!("it was forwarded");
}

/// What the starter of a program blocks and ignores holds for the program.
fn keeps_mask_and_dispositions() {
    let shown = |mut command: Command| {
        // They are set in the new process, since roles undo what is ignored.
        sys::before_exec(&mut command, || {
            sys::block(&[SIGTERM, SIGUSR1]);
            sys::ignore(SIGINT);
            sys::ignore(SIGTTOU);
        });
        let shown = command.args(["^Sig[BI]", "/proc/self/status"]).output();
        String::from_utf8(shown.expect("it is installed").stdout).expect("it is text")
    };
    let without = shown(Command::new("grep"));
    let mut init = Command::new("/proc/self/exe");
    init.args([INIT, "--", "grep"]);
    assert_eq!(shown(init), without);
    assert!(without.contains("SigBlk:\t0000000000004200"), "{without}");
}

/// The init's own is another.
fn keeps_the_working_directory() {
    let own = env::current_dir().expect("it is there");
    assert_ne!(own, Path::new("/"), "the harness runs in the folder of its package");
    let link = || fs::read_link(format!("/proc/{}/cwd", init())).expect("it is ours");
    until(|| format!("it is in {}", link().display()), || link() == Path::new("/"));
}

/// The signals of job control, from another process: what they stop, `SIGCONT` continues.
fn is_stopped_and_continued() {
    let mut other = start_with("stops_its_parent", |command| {
        command.env("INIT", init().to_string());
    });
    assert_eq!(other.wait().expect("it is ours").code(), Some(0));
    process::exit(7);
}

fn stops_its_parent() {
    let init: i32 = env::var("INIT").ok().and_then(|pid| pid.parse().ok()).expect("it was set");
    let parent = crate::processes::init();
    println!("ready");
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU] {
        sys::signal(init, signal);
        until(|| format!("signal {signal} does not stop it"), || is_in_state(parent, 'T'));
        sys::signal(init, SIGCONT);
        until(|| "it is not continued".into(), || !is_in_state(parent, 'T'));
    }
}

/// Processes of the program that has become the init, which knows nothing of them.
fn reaps_what_came_before_exec() {
    for _ in 0..3 {
        drop(Command::new("sleep").arg("0.05").spawn().expect("it is installed"));
    }
    let args = ["--", "/proc/self/exe", ROLE, "sees_no_orphans"];
    panic!("{}", Command::new("/proc/self/exe").arg(INIT).args(args).exec());
}
