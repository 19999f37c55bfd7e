//! Hostile wakers: whatever a waker does, nothing deadlocks, and no other waiter is lost.
//!
//! A waker is foreign code, called from a reactor or a thread of the library. Each body is one way
//! of a waker to misbehave ([`Way`]), and runs over all that can be waited for ([`Case`]). In each
//! run:
//!
//! 1. The wait is polled with the hostile waker, in the context of the runtime.
//! 2. What it waits for happens. The hostile waker is woken, and misbehaves.
//! 3. A waiter beside it, on the runtime, gets its result; so does the wait itself, by a waker that
//!    behaves, if it is still there.
//! 4. Later children are waited for and reaped, with and without a handle.
//!
//! A deadlock and a lost wake-up show as a trial that does not end in time.

use std::fs::File;
use std::future::{Future, pending, poll_fn};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use futures_lite::future::poll_once;
use pidfd_reaper::StateChange::Stopped;
use pidfd_reaper::{ChildHandle, ChildSet, KillScope, Pidfd, Pipe, Signal, Stdin, Stdout, orphans};
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::handles::held_child;
use super::stops::{kernel_tells_of_stops, stoppable};
use super::{Body, bodies};
use crate::children::{held, sh, until_no_orphans, until_state};
use crate::profiles::pidfds_are_here;
use crate::runtimes::{ChildOn, CommandOn, Runtime, TokioCurrent};
use crate::sys::{self, Hooks};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        polls_in_wake,
        drops_its_task_in_wake,
        panics_in_wake,
        is_dropped_last_by_the_wake,
        is_replaced_at_every_poll,
        of_an_executor_that_is_gone,
        calls_the_library_back,
        panics_in_the_driver_of_tokio.if_it(R::NAME == TokioCurrent::NAME),
    ]
}

/// How a waker misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `wake` polls the task in place.
    Polls,
    /// `wake` drops the future, with all that it owns.
    DropsTask,
    Panics,
    /// It is the last owner of the task: its drop drops the future.
    IsDroppedLast,
    /// Each poll has another waker, and only the last one is good for anything.
    IsReplaced,
    /// The executor is gone: `wake` does nothing.
    IsOfNoExecutor,
    /// `wake`, `clone` and `drop` call the library: they ask the child, and wait for it.
    CallsBack,
}

fn polls_in_wake<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::Polls)
}

fn drops_its_task_in_wake<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::DropsTask)
}

/// Where the runtime's driver does not survive that, only what a thread of the library wakes: see
/// [`panics_in_the_driver_of_tokio`].
fn panics_in_wake<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::Panics)
}

fn is_dropped_last_by_the_wake<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::IsDroppedLast)
}

fn is_replaced_at_every_poll<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::IsReplaced)
}

fn of_an_executor_that_is_gone<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::IsOfNoExecutor)
}

fn calls_the_library_back<R: Runtime>() -> io::Result<()> {
    torture::<R>(Way::CallsBack)
}

/// Something to wait for.
struct Case<R: Runtime> {
    name: &'static str,
    /// What is polled with hostile wakers.
    tortured: Vec<Work>,
    /// What is waited for beside that, by tasks of the runtime.
    beside: Vec<Work>,
    /// A child that a waker may call.
    handle: ChildHandle<R::Reactor>,
    /// Has that happen which is waited for.
    trigger: Box<dyn FnOnce() -> io::Result<()>>,
    /// What is done in the end.
    after: Work,
    /// Whether the runtime's reactor wakes it; else a thread of the library does.
    is_on_reactor: bool,
}

type Work = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

fn work(future: impl Future<Output = io::Result<()>> + Send + 'static) -> Work {
    Box::pin(future)
}

fn cases<R: Runtime>(way: Way) -> Vec<fn() -> io::Result<Case<R>>> {
    let mut cases: Vec<fn() -> io::Result<Case<R>>> =
        vec![child, handles, set, abandoned, read_end, write_end, scope];
    // It waits for three things with one waker. If that is never polled again, the child waits for
    // room in the pipe, and the last clone of the waker for the child.
    cases.push(if way == Way::IsDroppedLast { short_output } else { output });
    if pidfds_are_here() {
        cases.push(foreign);
    }
    if kernel_tells_of_stops() {
        cases.extend([stops as fn() -> _, end_of_stops]);
    }
    cases
}

fn is_seven(status: ExitStatus) {
    assert_eq!(status.code(), Some(7), "{status}");
}

fn wait_for<R: Runtime>(handle: &ChildHandle<R::Reactor>) -> Work {
    let handle = handle.clone();
    work(async move {
        is_seven(handle.wait().await?);
        Ok(())
    })
}

fn child<R: Runtime>() -> io::Result<Case<R>> {
    let (mut child, hold) = held_child::<R>(7)?;
    let handle = child.handle();
    let wait = work(async move {
        is_seven(child.wait().await?);
        Ok(())
    });
    Ok(Case {
        name: "Child::wait",
        tortured: vec![wait],
        beside: vec![wait_for::<R>(&handle)],
        after: wait_for::<R>(&handle),
        handle,
        trigger: Box::new(|| {
            drop(hold);
            Ok(())
        }),
        is_on_reactor: pidfds_are_here(),
    })
}

fn handles<R: Runtime>() -> io::Result<Case<R>> {
    let child = child::<R>()?;
    let hostile = (0..3).map(|_| wait_for::<R>(&child.handle)).collect();
    // The child itself and a handle wait beside them.
    let beside = child.tortured.into_iter().chain(child.beside).collect();
    Ok(Case { name: "ChildHandle::wait", tortured: hostile, beside, ..child })
}

/// The set owns the children, and what holds the second: that one exits after the first.
fn set<R: Runtime>() -> io::Result<Case<R>> {
    let (first, hold) = held_child::<R>(7)?;
    let (second, hold_second) = held_child::<R>(7)?;
    let (handle, second_handle) = (first.handle(), second.handle());
    let next = work(async move {
        let mut set = ChildSet::<R::Reactor>::new();
        let ids = [set.add(first), set.add(second)];
        let ended = set.next().await.expect("it has two");
        assert_eq!(ended.id, ids[0]);
        is_seven(ended.result?);
        drop(hold_second);
        let ended = set.next().await.expect("it has one");
        assert_eq!(ended.id, ids[1]);
        is_seven(ended.result?);
        assert!(set.next().await.is_none());
        Ok(())
    });
    Ok(Case {
        name: "ChildSet::next",
        tortured: vec![next],
        beside: vec![wait_for::<R>(&handle)],
        after: wait_for::<R>(&second_handle),
        handle,
        trigger: Box::new(|| {
            drop(hold);
            Ok(())
        }),
        is_on_reactor: pidfds_are_here(),
    })
}

/// The queue reaps the child, and whoever has a handle gets its status.
fn abandoned<R: Runtime>() -> io::Result<Case<R>> {
    let (child, hold) = held_child::<R>(7)?;
    let handle = child.handle();
    let mut changes = child.state_changes()?;
    drop(child);
    assert_eq!(orphans().len(), 1);
    let mut tortured = vec![wait_for::<R>(&handle), wait_for::<R>(&handle)];
    tortured.push(work(async move {
        assert_eq!(changes.next().await, None);
        Ok(())
    }));
    let after = work(async {
        until_no_orphans();
        Ok(())
    });
    Ok(Case {
        name: "an abandoned child",
        tortured,
        beside: vec![wait_for::<R>(&handle)],
        after,
        handle,
        trigger: Box::new(|| {
            drop(hold);
            Ok(())
        }),
        is_on_reactor: pidfds_are_here(),
    })
}

fn stops<R: Runtime>() -> io::Result<Case<R>> {
    let (child, hold) = stoppable::<R>(7)?;
    let handle = child.handle();
    let next = || {
        let mut changes = child.state_changes()?;
        Ok(work(async move {
            assert_eq!(changes.next().await, Some(Stopped(Signal::STOP)));
            Ok(())
        }))
    };
    let tortured = (0..2).map(|_| next()).collect::<io::Result<_>>()?;
    let beside = vec![next()?];
    let (stopped, mut owned) = (child.handle(), child);
    let after = work(async move {
        owned.signal(Signal::CONT)?;
        drop(hold);
        is_seven(owned.wait().await?);
        Ok(())
    });
    Ok(Case {
        name: "StateChanges::next",
        tortured,
        beside,
        after,
        handle,
        trigger: Box::new(move || stopped.signal(Signal::STOP)),
        is_on_reactor: false,
    })
}

/// Whoever reaps the child ends the stream, and wakes its waiters.
fn end_of_stops<R: Runtime>() -> io::Result<Case<R>> {
    let child = child::<R>()?;
    let next = || {
        let mut changes = child.handle.state_changes()?;
        Ok(work(async move {
            assert_eq!(changes.next().await, None);
            Ok(())
        }))
    };
    let tortured = (0..2).map(|_| next()).collect::<io::Result<_>>()?;
    let beside = vec![next()?, wait_for::<R>(&child.handle)];
    // The child itself is dropped, or waited for, at the end.
    let after = child.tortured.into_iter().next().expect("there is one");
    Ok(Case {
        name: "the end of StateChanges",
        tortured,
        beside,
        after,
        is_on_reactor: false,
        ..child_without_work(child.handle, child.trigger)
    })
}

fn child_without_work<R: Runtime>(
    handle: ChildHandle<R::Reactor>,
    trigger: Box<dyn FnOnce() -> io::Result<()>>,
) -> Case<R> {
    let after = work(async { Ok(()) });
    let (tortured, beside) = (Vec::new(), Vec::new());
    Case { name: "", tortured, beside, handle, trigger, after, is_on_reactor: false }
}

/// A process that the library has no record of: for this wait it is as foreign as any.
fn foreign<R: Runtime>() -> io::Result<Case<R>> {
    let (mut process, hold) = held(7)?;
    let (other, other_hold) = held_child::<R>(7)?;
    let pidfd = || Pidfd::open(process.id());
    let exited = |pidfd: Pidfd| {
        work(async move {
            pidfd_reaper::exited::<R::Reactor>(&pidfd).await?;
            Ok(())
        })
    };
    let status = pidfd()?;
    // It is this process's own: its status is there at the exit, on every kernel that has it.
    let status = work(async move {
        let status = pidfd_reaper::exit_status::<R::Reactor>(&status).await?;
        assert!(status.is_none_or(|status| status.code() == Some(7)));
        Ok(())
    });
    let tortured = vec![exited(pidfd()?), exited(pidfd()?), status];
    let beside = vec![exited(pidfd()?)];
    let handle = other.handle();
    let after = work(async move {
        is_seven(process.wait()?);
        drop(other_hold);
        is_seven(other.handle().wait().await?);
        Ok(())
    });
    Ok(Case {
        name: "a foreign process",
        tortured,
        beside,
        after,
        handle,
        trigger: Box::new(|| {
            drop(hold);
            Ok(())
        }),
        is_on_reactor: true,
    })
}

fn cat<R: Runtime>() -> io::Result<ChildOn<R>> {
    let mut command = CommandOn::<R>::from(sh("cat; exit 7"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

fn read_end<R: Runtime>() -> io::Result<Case<R>> {
    let mut child = cat::<R>()?;
    let mut stdout: Pipe<R::Reactor, Stdout> = child.stdout.take().expect("it was piped").into();
    let stdin: Pipe<R::Reactor, Stdin> = child.stdin.take().expect("it was piped").into();
    let mut stdin = File::from(stdin.into_owned_fd()?);
    let handle = child.handle();
    let read = work(async move {
        let mut bytes = Vec::new();
        while poll_fn(|cx| stdout.poll_append(cx, &mut bytes)).await? > 0 {}
        assert_eq!(bytes, b"hello");
        Ok(())
    });
    // Its output may be closed before it writes.
    let wait = handle.clone();
    let wait = work(async move {
        let status = wait.wait().await?;
        assert!(status.code().is_some() || status.signal() == Some(libc::SIGPIPE), "{status}");
        Ok(())
    });
    let after = work(async move { child.wait().await.map(drop) });
    Ok(Case {
        name: "Pipe::poll_append",
        tortured: vec![read],
        beside: vec![wait],
        after,
        handle,
        trigger: Box::new(move || stdin.write_all(b"hello")),
        is_on_reactor: true,
    })
}

/// The pipe is full until the child, which is stopped, is continued.
fn write_end<R: Runtime>() -> io::Result<Case<R>> {
    let mut command = CommandOn::<R>::from(sh("cat; exit 7"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.signal(Signal::STOP)?;
    until_state(child.id().expect("it runs"), 'T');
    let mut stdin: Pipe<R::Reactor, Stdin> = child.stdin.take().expect("it was piped").into();
    let handle = child.handle();
    let write = work(async move {
        let (bytes, mut written) = (vec![0; 64 << 10], 0);
        while written < 1 << 20 {
            written += poll_fn(|cx| stdin.poll_write(cx, &bytes)).await?;
        }
        Ok(())
    });
    let after = work(async move {
        is_seven(child.wait().await?);
        Ok(())
    });
    let stopped = handle.clone();
    Ok(Case {
        name: "Pipe::poll_write",
        tortured: vec![write],
        beside: vec![wait_for::<R>(&handle)],
        after,
        handle,
        trigger: Box::new(move || stopped.signal(Signal::CONT)),
        is_on_reactor: true,
    })
}

/// The leader and a member of its group exit, one after the other.
fn scope<R: Runtime>() -> io::Result<Case<R>> {
    let mut command = CommandOn::<R>::from(sh("exec 3<&0; cat <&3 & cat; exit 7"));
    let mut child = command.kill_scope(KillScope::Group).stdin(Stdio::piped()).spawn()?;
    let stdin: Pipe<R::Reactor, Stdin> = child.stdin.take().expect("it was piped").into();
    let (handle, waits) = (child.handle(), child.handle());
    let wait = work(async move {
        is_seven(child.wait_scope().await?);
        Ok(())
    });
    let wait_for_scope = |handle: ChildHandle<R::Reactor>| {
        work(async move {
            is_seven(handle.wait_scope().await?);
            Ok(())
        })
    };
    Ok(Case {
        name: "wait_scope",
        tortured: vec![wait],
        beside: vec![wait_for_scope(waits.clone())],
        after: wait_for_scope(waits),
        handle,
        trigger: Box::new(move || {
            drop(stdin);
            Ok(())
        }),
        is_on_reactor: pidfds_are_here(),
    })
}

/// More than one poll of `output` reads.
fn output<R: Runtime>() -> io::Result<Case<R>> {
    output_of(8 << 20)
}

/// Less than a pipe holds.
fn short_output<R: Runtime>() -> io::Result<Case<R>> {
    output_of(1000)
}

fn output_of<R: Runtime>(size: usize) -> io::Result<Case<R>> {
    let child = child::<R>()?;
    let (leash, hold) = pipe_with(PipeFlags::CLOEXEC)?;
    let collect = work(async move {
        let script = format!("cat; exec head -c {size} /dev/zero");
        let output = CommandOn::<R>::from(sh(&script)).stdin(leash).output().await?;
        assert!(output.status.success() && output.stdout.len() == size);
        Ok(())
    });
    let trigger = child.trigger;
    let beside = child.tortured.into_iter().chain(child.beside).collect();
    Ok(Case {
        name: "output",
        tortured: vec![collect],
        beside,
        after: child.after,
        is_on_reactor: true,
        ..child_without_work(
            child.handle,
            Box::new(move || {
                drop(hold);
                trigger()
            }),
        )
    })
}

fn torture<R: Runtime>(way: Way) -> io::Result<()> {
    let runtime = R::new();
    for case in cases::<R>(way) {
        let case = case()?;
        if way == Way::Panics && !R::SURVIVES_PANICS && case.is_on_reactor {
            runtime.block_on(without_torture(case))?;
        } else {
            eprintln!("{way:?}: {}", case.name);
            runtime.block_on(run(&runtime, case, way))?;
        }
        runtime.block_on(later_children::<R>())?;
    }
    Ok(())
}

/// So that nothing of it is left.
async fn without_torture<R: Runtime>(case: Case<R>) -> io::Result<()> {
    drop(case.tortured);
    (case.trigger)()?;
    drop(case.beside);
    case.after.await?;
    until_no_orphans();
    Ok(())
}

async fn run<R: Runtime>(runtime: &R, case: Case<R>, way: Way) -> io::Result<()> {
    let (sends, mut events) = unbounded_channel();
    let mut awaited = (0..case.tortured.len()).collect::<Vec<_>>();
    let mut left = Vec::new();
    for (number, work) in case.tortured.into_iter().enumerate() {
        let events = Events { number, sends: sends.clone() };
        left.extend(start::<R>(work, way, &case.handle, &events));
    }
    let mut beside = Vec::new();
    for mut work in case.beside {
        assert!(poll_once(&mut work).await.is_none(), "nothing has happened yet");
        beside.push(runtime.spawn(work));
    }
    (case.trigger)()?;
    while !awaited.is_empty() {
        let (number, result) = events.recv().await.expect("a sender is here");
        awaited.retain(|awaited| *awaited != number);
        if let Err(error) = result {
            // Polled by a thread of the library, where there is no reactor to register with. The
            // wait can be repeated: so it is, by what comes after.
            let has_no_reactor = R::HAS_OWN_REACTOR && !pidfds_are_here();
            assert!(has_no_reactor && error.kind() == io::ErrorKind::Other, "{error}");
        }
    }
    for work in left {
        work.await?;
    }
    for task in beside {
        task.await?;
    }
    case.after.await
}

/// All goes on: a child is waited for, and another is reaped without a handle.
async fn later_children<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held_child::<R>(7)?;
    assert!(poll_once(child.wait()).await.is_none());
    let (abandoned, other_hold) = held_child::<R>(7)?;
    drop((abandoned, hold, other_hold));
    is_seven(child.wait().await?);
    until_no_orphans();
    Ok(())
}

/// What a hostile waker has to say.
#[derive(Clone)]
struct Events {
    number: usize,
    sends: UnboundedSender<(usize, io::Result<()>)>,
}

impl Events {
    fn send(&self, result: io::Result<()>) {
        // In the end it does not matter any more.
        let _ = self.sends.send((self.number, result));
    }
}

/// Polls `work` with a hostile waker; returns it, unless that waker owns it.
fn start<R: Runtime>(
    mut work: Work,
    way: Way,
    handle: &ChildHandle<R::Reactor>,
    events: &Events,
) -> Option<Work> {
    let owned_by_waker = matches!(way, Way::Polls | Way::DropsTask | Way::IsDroppedLast);
    if owned_by_waker {
        let (future, is_woken) = (Mutex::new(Some(work)), AtomicBool::new(false));
        Arc::new(Task { way, future, is_woken, events: events.clone() }).poll();
        return None;
    }
    let polls = if way == Way::IsReplaced { 3 } else { 1 };
    for poll in 1..=polls {
        let (handle, events) = (handle.clone(), events.clone());
        let waker =
            sys::waker(Arc::new(Hostile::<R> { way, is_last: poll == polls, handle, events }));
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "nothing has happened yet");
    }
    Some(work)
}

/// A task that is owned by its wakers.
struct Task {
    way: Way,
    future: Mutex<Option<Work>>,
    /// While a thread polls it: that it is to be polled again.
    is_woken: AtomicBool,
    events: Events,
}

impl Hooks for Task {
    fn wake(self: Arc<Self>) {
        match self.way {
            Way::Polls => self.poll(),
            Way::DropsTask => {
                let future = self.lock().and_then(|mut future| future.take());
                if future.is_some() {
                    drop(future);
                    self.events.send(Ok(()));
                }
            }
            _ => {}
        }
    }
}

impl Task {
    fn poll(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        while self.is_woken.load(Ordering::SeqCst) {
            // Whoever polls it looks again.
            let Some(mut future) = self.lock() else { return };
            self.is_woken.store(false, Ordering::SeqCst);
            let Some(polled) = &mut *future else { return };
            let waker = sys::waker(Arc::clone(self));
            if let Poll::Ready(result) = polled.as_mut().poll(&mut Context::from_waker(&waker)) {
                let done = future.take();
                drop(future);
                drop(done);
                self.events.send(result);
                return;
            }
        }
    }

    /// `None` while it is polled.
    fn lock(&self) -> Option<MutexGuard<'_, Option<Work>>> {
        match self.future.try_lock() {
            Ok(future) => Some(future),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.way == Way::IsDroppedLast {
            drop(self.future.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            self.events.send(Ok(()));
        }
    }
}

/// A waker of a future that is polled by others as well.
struct Hostile<R: Runtime> {
    way: Way,
    /// Whether no other has replaced it.
    is_last: bool,
    handle: ChildHandle<R::Reactor>,
    events: Events,
}

impl<R: Runtime> Hooks for Hostile<R> {
    fn wake(self: Arc<Self>) {
        self.call_back();
        if self.is_last {
            self.events.send(Ok(()));
        }
        assert!(self.way != Way::Panics, "a waker panics, as it should");
    }

    fn cloned(&self) {
        self.call_back();
    }

    fn dropped(&self) {
        self.call_back();
    }
}

impl<R: Runtime> Hostile<R> {
    fn call_back(&self) {
        if self.way == Way::CallsBack {
            // There may be no runtime here.
            let _ = self.handle.try_wait();
            let mut wait = wait_for::<R>(&self.handle);
            let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(wait);
            let _ = self.handle.id();
            let _ = orphans().len();
        }
    }
}

/// A panic in the driver of Tokio is Tokio's matter, and comes out of `block_on` just as it does with
/// a pipe of Tokio's own. The waits are not lost by that: they go on in another runtime.
fn panics_in_the_driver_of_tokio<R: Runtime>() -> io::Result<()> {
    let panics = |runtime: &R| {
        let driven = catch_unwind(AssertUnwindSafe(|| runtime.block_on(pending::<()>())));
        driven.is_err()
    };
    let (sends, _events) = unbounded_channel();
    let events = Events { number: 0, sends };
    let (other, hold) = held_child::<R>(7)?;

    let bare = R::new();
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let pipe = bare.block_on(async { Receiver::from_owned_fd(read_end) })?;
    let wait = work(async move { pipe.readable().await });
    let wait = start::<R>(wait, Way::Panics, &other.handle(), &events);
    write(&write_end, b"wake")?;
    assert!(panics(&bare), "Tokio bears it: so can what is waited for here");
    drop((wait, bare));

    for case in cases::<R>(Way::Panics) {
        let case = case()?;
        let first = R::new();
        if !case.is_on_reactor {
            first.block_on(without_torture(case))?;
            continue;
        }
        eprintln!("{}", case.name);
        let waits = first.block_on(async {
            let start = |work| start::<R>(work, Way::Panics, &case.handle, &events);
            let tortured = case.tortured.into_iter().filter_map(start);
            let mut waits = tortured.collect::<Vec<_>>();
            for mut work in case.beside {
                assert!(poll_once(&mut work).await.is_none(), "nothing has happened yet");
                waits.push(work);
            }
            waits
        });
        (case.trigger)()?;
        assert!(panics(&first));
        drop(first);
        R::new().block_on(async {
            for wait in waits {
                wait.await?;
            }
            case.after.await?;
            later_children::<R>().await
        })?;
    }
    drop(hold);
    R::new().block_on(async { other.handle().wait().await.map(is_seven) })
}
