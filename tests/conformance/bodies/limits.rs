//! Limits: no descriptors, no threads, a reactor that refuses; a child is managed all the same.

use std::fs::File;
use std::io;
use std::process::Child as StdChild;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::{
    Command, End, Interest, Pipe, Process, Reactor, Reaper, SharedFd, Wait, orphans,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::SeccompCmpOp::MaskedEq;

use super::Place::{WithPidfd, WithoutPidfd};
use super::{Body, bodies};
use crate::children::{Flock, Kind, held, reaper, sh, until_no_orphans, until_state};
use crate::leaks::has_children;
use crate::profiles::Refusal;
use crate::runtimes::{CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        registration_refused,
        registration_of_pipes_refused,
        no_descriptors_at_first_use,
        no_descriptors_later,
        no_pidfds_for_a_time.only(WithPidfd).needs_filters(),
        no_thread_for_the_wait.only(WithoutPidfd).needs_filters(),
        no_thread_and_no_timer_for_the_wait.only(WithoutPidfd).needs_filters(),
        no_thread_but_a_runtime_for_the_orphans.needs_filters(),
        no_thread_for_the_orphans.needs_filters().if_it(R::HAS_OWN_REACTOR),
    ]
}

/// The reactor `R`, which refuses to register for as long as there are [`REFUSALS`].
#[derive(Clone, Debug)]
struct Refusing<R>(R);

/// The errors to come, the last one first.
static REFUSALS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn refuse(errnos: &[i32]) {
    *REFUSALS.lock().unwrap_or_else(PoisonError::into_inner) = errnos.to_vec();
}

impl<R: Reactor> Reactor for Refusing<R> {
    type Source = R::Source;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        R::current().map(Self)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<R::Source> {
        match REFUSALS.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => self.0.register(fd, interest),
        }
    }
}

fn registration_refused<R: Runtime>() -> io::Result<()> {
    fn refused<R: Runtime, W: Kind>(errnos: &[i32]) -> io::Result<()> {
        let (child, hold) = held(7)?;
        let child = W::try_from(child).expect("nobody else has waited for it");
        let mut reaper = Reaper::<Refusing<R::Reactor>, _>::new(child);
        refuse(errnos);
        R::new().block_on(async {
            assert!(poll_once(&mut reaper).await.is_none());
            assert!(poll_once(&mut reaper).await.is_none());
            drop(hold);
            assert_eq!((&mut reaper).await?.code(), Some(7));
            Ok(())
        })
    }
    for errnos in [
        &[libc::EMFILE][..],
        &[libc::ENOSPC],
        &[libc::ENOMEM],
        &[libc::EEXIST],
        &[libc::EMFILE, libc::EEXIST],
    ] {
        refused::<R, Process>(errnos)?;
        refused::<R, StdChild>(errnos)?;
    }
    Ok(())
}

/// Then the output cannot be collected, which is told; the child goes the way of one dropped.
fn registration_of_pipes_refused<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = Command::<Refusing<R::Reactor>>::from(flock.command()?);
    refuse(&[libc::ENOSPC; 10]);
    let output = R::new().block_on(async { command.output().await });
    assert_eq!(output.expect_err("nothing is registered").raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(orphans().len(), 1);
    drop((command, flock));
    until_no_orphans();
    Ok(())
}

/// All descriptors but a few are taken, until it is dropped.
pub(super) struct Scarcity {
    ballast: Vec<File>,
    before: Rlimit,
}

impl Scarcity {
    pub(super) fn of_descriptors_but(free: usize) -> io::Result<Self> {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: before.maximum })?;
        let mut scarcity = Self { ballast: Vec::new(), before };
        while let Ok(file) = File::open("/dev/null") {
            scarcity.ballast.push(file);
        }
        scarcity.ballast.truncate(scarcity.ballast.len() - free);
        Ok(scarcity)
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        self.ballast.clear();
        setrlimit(Resource::Nofile, self.before).expect("it was allowed before");
    }
}

/// The library has asked the kernel for nothing before.
fn no_descriptors_at_first_use<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("exit 7"));
    let scarcity = Scarcity::of_descriptors_but(0)?;
    let mut awaited = command.spawn()?;
    drop(command.spawn()?);
    drop(scarcity);
    assert_eq!(R::new().block_on(awaited.wait())?.code(), Some(7));
    until_no_orphans();
    Ok(())
}

fn no_descriptors_later<R: Runtime>() -> io::Result<()> {
    let mut command = CommandOn::<R>::from(sh("echo out; exit 7"));
    let runtime = R::new();
    let mut run = |free: Option<usize>| {
        runtime.block_on(async {
            let scarcity = free.map(Scarcity::of_descriptors_but).transpose()?;
            let output = command.output().await;
            drop(scarcity);
            output
        })
    };
    let is_right = |output: &std::process::Output| {
        output.status.code() == Some(7) && output.stdout == b"out\n"
    };
    assert!(is_right(&run(None)?));
    let mut failures = 0;
    for free in 0..16 {
        match run(Some(free)) {
            Ok(output) => assert!(is_right(&output), "{output:?}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                failures += 1;
            }
        }
        until_no_orphans();
        assert!(!has_children());
        assert!(is_right(&run(None)?));
    }
    assert!((1..16).contains(&failures), "{failures} of 16 have failed");
    Ok(())
}

/// On a thread that may not have any, since a filter stays; this one still may.
fn no_pidfds_for_a_time<R: Runtime>() -> io::Result<()> {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        let start = move || {
            Refusal::of(libc::SYS_pidfd_open, errno).apply().expect("filters can be set");
            let (child, hold) = held(7)?;
            io::Result::Ok((Process::try_from(child)?, hold))
        };
        let (process, hold) = thread::spawn(start).join().expect("it does not panic")?;
        assert!(process.pidfd().is_err());
        let mut reaper = Reaper::<R::Reactor, _>::new(process);
        R::new().block_on(async {
            assert!(poll_once(&mut reaper).await.is_none());
            drop(hold);
            assert_eq!((&mut reaper).await?.code(), Some(7));
            io::Result::Ok(())
        })?;
        // It is not remembered.
        let (child, hold) = held(7)?;
        let process = Process::try_from(child)?;
        assert!(process.pidfd().is_ok());
        drop(hold);
        let reaper = Reaper::<R::Reactor, _>::new(process);
        assert_eq!(R::new().block_on(reaper)?.code(), Some(7));
    }
    Ok(())
}

/// Runs `body` on a thread on which no further thread can be started.
pub(super) fn without_threads<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let body = || {
        // The flags of clone3 lie in memory, where no filter looks.
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        let clone = Refusal::of(libc::SYS_clone, libc::EAGAIN).when(0, MaskedEq(thread), thread);
        for refusal in [Refusal::of(libc::SYS_clone3, libc::ENOSYS), clone] {
            refusal.apply().expect("filters can be set");
        }
        assert!(thread::Builder::new().spawn(|| ()).is_err());
        body()
    };
    thread::scope(|scope| scope.spawn(body).join()).expect("it does not panic")
}

/// Then the child is asked now and then, by a timer on the reactor.
fn no_thread_for_the_wait<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let mut reaper = reaper::<R, Process>(child);
    let (other, other_hold) = held(8)?;
    let mut other = self::reaper::<R, StdChild>(other);
    let runtime = R::new();
    without_threads(|| {
        runtime.block_on(async {
            for _ in 0..2 {
                assert!(poll_once(&mut reaper).await.is_none());
                assert!(poll_once(&mut other).await.is_none());
            }
            drop((hold, other_hold));
            assert_eq!((&mut reaper).await?.code(), Some(7));
            assert_eq!((&mut other).await?.code(), Some(8));
            Ok(())
        })
    })
}

/// Nor can the timer be registered: the error says so, and the wait can be repeated.
fn no_thread_and_no_timer_for_the_wait<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held(7)?;
    let child = Process::try_from(child)?;
    let mut reaper = Reaper::<Refusing<R::Reactor>, _>::new(child);
    let runtime = R::new();
    without_threads(|| {
        for _ in 0..2 {
            refuse(&[libc::ENOSPC]);
            let end = runtime.block_on(poll_once(&mut reaper)).expect("an error comes at once");
            let error = end.expect_err("there is no thread");
            assert_eq!(error.kind(), io::Error::from_raw_os_error(libc::EAGAIN).kind());
            assert!(error.to_string().contains("thread"), "{error}");
        }
    });
    refuse(&[]);
    assert!(runtime.block_on(poll_once(&mut reaper)).is_none());
    drop(hold);
    assert_eq!(runtime.block_on(reaper)?.code(), Some(7));
    Ok(())
}

/// The runtime that runs does what the thread would.
fn no_thread_but_a_runtime_for_the_orphans<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    without_threads(|| {
        runtime.block_on(async {
            let mut command = CommandOn::<R>::new("cat");
            command.stdin(std::process::Stdio::piped());
            let mut children = (0..3).map(|_| command.spawn()).collect::<io::Result<Vec<_>>>()?;
            let holds: Vec<_> = children.iter_mut().map(|child| child.stdin.take()).collect();
            drop(children);
            // One that does not heed SIGTERM, and is killed at the end of its grace period.
            let mut stubborn = CommandOn::<R>::from(sh("trap '' TERM; echo; read nothing"));
            stubborn.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut child = stubborn.terminate_on_drop(Duration::from_millis(50)).spawn()?;
            let _stdin = child.stdin.take();
            let stdout = child.stdout.take().expect("it was piped");
            let said = R::read_to_end(stdout);
            drop(child);
            said.await?;
            drop(holds);
            while !orphans().is_empty() {
                assert!(CommandOn::<R>::new("true").status().await?.success());
            }
            assert!(!has_children());
            Ok(())
        })
    })
}

/// They are kept, and later calls look after them.
fn no_thread_for_the_orphans<R: Runtime>() -> io::Result<()> {
    let abandon = || -> io::Result<_> {
        let (first, first_hold) = held(7)?;
        let (second, second_hold) = held(7)?;
        let pids = [first.id(), second.id()];
        drop(reaper::<R, Process>(first));
        drop(reaper::<R, StdChild>(second));
        Ok((pids, first_hold, second_hold))
    };
    // They have ended when we try again.
    let (pids, first, second) = without_threads(abandon)?;
    assert_eq!(orphans().len(), 2);
    drop((first, second));
    for pid in pids {
        until_state(pid, 'Z');
    }
    assert_eq!(orphans().len(), 2);
    orphans().retry();
    assert!(orphans().is_empty());
    assert!(!has_children());
    // They still run then.
    let (_, first, second) = without_threads(abandon)?;
    orphans().retry();
    assert_eq!(orphans().len(), 2);
    drop((first, second));
    until_no_orphans();
    // Any spawn tries it as well.
    let (_, first, second) = without_threads(abandon)?;
    let mut child = CommandOn::<R>::new("true").spawn()?;
    drop((first, second));
    until_no_orphans();
    assert!(R::new().block_on(child.wait())?.success());
    Ok(())
}
