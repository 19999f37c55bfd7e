//! Dropping: whatever was abandoned, wherever and whenever, is reaped when it ends.

use std::cell::RefCell;
use std::io;
use std::process::{Child as StdChild, Command as StdCommand};
use std::thread;

use futures_lite::future::poll_once;
use pidfd_reaper::{Process, orphans};

use super::{Body, bodies};
use crate::children::{
    Flock, Kind, LITTLE, Tracer, held, idle_second, in_another_process, many, reaper,
    until_no_orphans, until_state,
};
use crate::leaks::has_children;
use crate::runtimes::Runtime;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        dropped_alive,
        dropped_alive_after_a_poll,
        dropped_dead,
        dropped_by_the_hundred,
        dropped_while_traced,
        dropped_by_another_thread,
        dropped_with_its_thread,
        dropped_with_its_tasks,
        dropped_before_the_process_exits,
    ]
}

fn dropped_alive<R: Runtime>() -> io::Result<()> {
    fn abandon<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let runtime = R::new();
        runtime.block_on(async { drop(reaper::<R, W>(child)) });
        assert_eq!(orphans().len(), 1);
        drop(hold);
        until_no_orphans();
        assert!(!has_children());
        Ok(())
    }
    abandon::<R, StdChild>()?;
    abandon::<R, Process>()
}

fn dropped_alive_after_a_poll<R: Runtime>() -> io::Result<()> {
    fn abandon<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        R::new().block_on(async {
            let mut reaper = reaper::<R, W>(child);
            assert!(poll_once(&mut reaper).await.is_none());
            drop(reaper);
            assert_eq!(orphans().len(), 1);
            // Others go on meanwhile.
            let mut other = self::reaper::<R, W>(StdCommand::new("true").spawn()?);
            assert!((&mut other).await?.success());
            drop(hold);
            until_no_orphans();
            Ok(())
        })
    }
    abandon::<R, StdChild>()?;
    abandon::<R, Process>()
}

fn dropped_dead<R: Runtime>() -> io::Result<()> {
    fn abandon<R: Runtime, W: Kind>() -> io::Result<()> {
        let (child, hold) = held(7)?;
        let pid = child.id();
        R::new().block_on(async {
            let mut reaper = reaper::<R, W>(child);
            assert!(poll_once(&mut reaper).await.is_none());
            drop(hold);
            until_state(pid, 'Z');
            drop(reaper);
            assert!(!has_children());
            assert!(orphans().is_empty());
        });
        Ok(())
    }
    abandon::<R, StdChild>()?;
    abandon::<R, Process>()
}

fn dropped_by_the_hundred<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = flock.command()?;
    let number = many(100, 20);
    let runtime = R::new();
    for turn in 0..number {
        let mut reaper = reaper::<R, Process>(command.spawn()?);
        // Half of them were waited for before.
        if turn % 2 == 0 {
            assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
        }
    }
    assert_eq!(orphans().len(), number);
    drop((command, flock));
    until_no_orphans();
    Ok(())
}

fn dropped_while_traced<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let pid = child.id();
    let tracer = Tracer::of(pid)?;
    drop(reaper::<R, Process>(child));
    drop(hold);
    until_state(pid, 'Z');
    let spent = idle_second();
    assert_eq!(orphans().len(), 1);
    tracer.end();
    until_no_orphans();
    assert!(spent < LITTLE, "the queue took {spent:?} of the processor");
    Ok(())
}

/// The runtime sleeps all the while, without anything that would wake it.
fn dropped_by_another_thread<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let (done, is_done) = smol::channel::bounded::<()>(1);
    R::new().block_on(async {
        let mut reaper = reaper::<R, Process>(child);
        assert!(poll_once(&mut reaper).await.is_none());
        let other = thread::spawn(move || {
            drop(reaper);
            drop(hold);
            until_no_orphans();
            drop(done);
        });
        is_done.recv().await.expect_err("nothing is sent");
        other.join().expect("the orphan was reaped");
    });
    Ok(())
}

thread_local! {
    static KEPT: RefCell<Vec<Box<dyn Send>>> = const { RefCell::new(Vec::new()) };
}

fn dropped_with_its_thread<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let second_hold = thread::spawn(move || {
        let (second, second_hold) = held(7)?;
        // Made first, so that the runtime's own locals end first.
        KEPT.with_borrow_mut(|kept| kept.push(Box::new(reaper::<R, StdChild>(second))));
        R::new().block_on(async {
            let mut reaper = reaper::<R, Process>(child);
            assert!(poll_once(&mut reaper).await.is_none());
            KEPT.with_borrow_mut(|kept| kept.push(Box::new(reaper)));
        });
        io::Result::Ok(second_hold)
    })
    .join()
    .expect("a drop in a destructor does not panic")?;
    assert_eq!(orphans().len(), 2);
    drop((hold, second_hold));
    until_no_orphans();
    Ok(())
}

fn dropped_with_its_tasks<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let runtime = R::new();
    let mut command = flock.command()?;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(runtime.spawn(reaper::<R, Process>(command.spawn()?)));
    }
    // Their first polls are done when this one, which comes after, has ended.
    runtime.block_on(async {
        runtime.spawn(reaper::<R, Process>(StdCommand::new("true").spawn()?)).await
    })?;
    drop(runtime);
    drop(tasks);
    drop((command, flock));
    until_no_orphans();
    Ok(())
}

/// Neither the orphans' thread nor the orphans keep it.
fn dropped_before_the_process_exits<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    in_another_process(|| {
        let mut command = flock.command().expect("there are descriptors");
        for _ in 0..3 {
            drop(reaper::<R, Process>(command.spawn().expect("it can be started")));
        }
        assert_eq!(orphans().len(), 3);
        let last = reaper::<R, Process>(command.spawn().expect("it can be started"));
        KEPT.with_borrow_mut(|kept| kept.push(Box::new(last)));
    })
}
