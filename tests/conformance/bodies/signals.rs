//! Signals: the library needs none, changes nothing about them, and sends none to a stranger.

use std::fs;
use std::io;
use std::process::Child as StdChild;

use futures_lite::future::poll_once;
use pidfd_reaper::{Kill, Process, Reaper, Signal, orphans};

use super::{Body, bodies};
use crate::children::{Kind, held, reaper, until, until_no_orphans};
use crate::leaks::has_children;
use crate::runtimes::{CommandOn, Runtime};
use crate::sys::{self, Disposition};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        blocked_in_all_threads.before(sys::block_sigchld),
        left_alone,
        handler_of_the_program,
        strangers_are_spared.if_shown(sys::can_choose_numbers),
    ]
}

/// A child awaited, and another abandoned.
fn live<R: Runtime>() -> io::Result<()> {
    fn one<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let mut wait = reaper::<R, W>(child);
        R::new().block_on(async {
            assert!(poll_once(&mut wait).await.is_none());
            drop(hold);
            assert_eq!((&mut wait).await?.code(), Some(7));
            io::Result::Ok(())
        })?;
        let (child, hold) = held(7)?;
        drop(reaper::<R, W>(child));
        assert_eq!(orphans().len(), 1);
        drop(hold);
        until_no_orphans();
        Ok(())
    }
    one::<R, StdChild>()?;
    one::<R, Process>()?;
    let output = R::new().block_on(async { CommandOn::<R>::new("true").output().await })?;
    assert!(output.status.success());
    Ok(())
}

/// What this thread and this process have blocked, ignored and caught.
fn signal_state() -> io::Result<Vec<String>> {
    let text = fs::read_to_string("/proc/thread-self/status")?;
    let lines = text.lines().filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"));
    Ok(lines.map(String::from).collect())
}

fn blocked_in_all_threads<R: Runtime>() -> io::Result<()> {
    assert!(sys::blocks_sigchld());
    live::<R>()?;
    assert!(sys::blocks_sigchld());
    Ok(())
}

fn left_alone<R: Runtime>() -> io::Result<()> {
    let (before, disposition) = (signal_state()?, Disposition::now());
    assert!(!sys::blocks_sigchld());
    live::<R>()?;
    assert!(!sys::blocks_sigchld());
    assert_eq!((signal_state()?, Disposition::now()), (before, disposition));
    Ok(())
}

fn handler_of_the_program<R: Runtime>() -> io::Result<()> {
    let disposition = Disposition::counted();
    disposition.set();
    let (before, count) = (signal_state()?, sys::children_signalled());
    live::<R>()?;
    assert_eq!((signal_state()?, Disposition::now()), (before, disposition));
    until(|| "the handler was not called".into(), || sys::children_signalled() > count);
    Ok(())
}

/// A stolen child's number goes to a process that is none of ours.
fn strangers_are_spared<R: Runtime>() -> io::Result<()> {
    for _ in 0..50 {
        let (child, hold) = held(7)?;
        let pid = child.id();
        let process = Process::try_from(child)?;
        let mut reaper = Reaper::<R::Reactor, _>::new(process.clone());
        drop(hold);
        super::thefts::steal(pid);
        // Somebody else on this machine may have got the number first.
        let Some(stranger) = sys::Stranger::with_number(pid) else { continue };
        let error = process.signal(Signal::KILL).expect_err("it was reaped");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        let error = reaper.kill().expect_err("it was reaped");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        super::thefts::check(R::new().block_on(&mut reaper), 7)?;
        drop(reaper);
        assert!(stranger.lives());
        assert!(!has_children());
        return Ok(());
    }
    panic!("the number was taken each time");
}
