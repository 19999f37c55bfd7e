//! The orphan queue under faults: panics of other code, descriptors that the program closes, a queue
//! of somebody else's, handlers of the program.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::process::{Child as StdChild, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use pidfd_reaper::{
    Command, End, Interest, Orphan, OrphanQueue, Pipe, Process, Reactor, Reaper, SharedFd, Wait,
    orphans,
};

use super::{Body, bodies};
use crate::children::{Flock, held, many, reaper, sh, until, until_no_orphans};
use crate::leaks::{Snapshot, has_children};
use crate::profiles::Refusal;
use crate::runtimes::{CommandOn, Runtime};
use crate::sys::{
    block_usr1, close_anothers, handlers_elsewhere, only_here_handled, signal_myself,
};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        child_of_anothers_that_panics,
        descriptors_closed_by_the_program,
        waiting_refused.needs_filters(),
        queue_of_anothers,
        no_handler_on_our_threads.long().before(block_usr1),
        threads_of_cancelled_waits,
    ]
}

/// A child of another library, with a bug: it panics when it is asked again, and when it is dropped.
#[derive(Debug)]
struct Faulty(StdChild, u32);

impl Wait for Faulty {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.1 += 1;
        assert!(self.1 < 2, "a bug of another library");
        self.0.try_wait()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // Else it is a zombie of this trial.
        let _ = self.0.wait();
        panic!("another bug");
    }
}

/// The queue gives it up, and reaps all others.
fn child_of_anothers_that_panics<R: Runtime>() -> io::Result<()> {
    let (faulty, faulty_hold) = held(7)?;
    let (child, hold) = held(7)?;
    drop(Reaper::<R::Reactor, _>::new(Faulty(faulty, 0)));
    drop(reaper::<R, Process>(child));
    drop(faulty_hold);
    until(|| "the faulty one stays".into(), || orphans().len() == 1);
    drop(hold);
    until_no_orphans();
    for _ in 0..3 {
        drop(CommandOn::<R>::new("true").spawn()?);
    }
    until_no_orphans();
    Ok(())
}

/// Those of the queue, and opens its own in their place.
fn descriptors_closed_by_the_program<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = flock.command()?;
    let before = Snapshot::take();
    let first = command.spawn()?;
    drop(reaper::<R, Process>(first));
    let mut stubborn = CommandOn::<R>::from(sh("trap '' TERM; echo; read nothing"));
    stubborn.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut stubborn = stubborn.terminate_on_drop(Duration::from_millis(300)).spawn()?;
    let _stdin = stubborn.stdin.take();
    let stdout: Pipe<R::Reactor, _> = stubborn.stdout.take().expect("it was piped").into();
    File::from(stdout.into_owned_fd()?).read_exact(&mut [0])?;
    drop(stubborn);
    let (epolls, timers) =
        (before.further_descriptors("eventpoll"), before.further_descriptors("timerfd"));
    assert_eq!((epolls.len(), timers.len()), (1, 1), "{epolls:?} {timers:?}");
    let files = epolls.into_iter().chain(timers).map(|fd| {
        close_anothers(fd);
        let file = File::open("/dev/null").expect("there is a free number");
        assert_eq!(file.as_raw_fd(), fd);
        file
    });
    let files: Vec<_> = files.collect();
    // The next one that comes or exits makes the queue notice.
    for _ in 0..3 {
        drop(reaper::<R, Process>(command.spawn()?));
    }
    drop((command, flock));
    let noticed = held(7)?;
    drop(reaper::<R, Process>(noticed.0));
    drop(noticed.1);
    until_no_orphans();
    assert!(!has_children());
    for file in files {
        assert!(rustix::fs::fstat(&file).is_ok());
    }
    Ok(())
}

/// A filter lets the queue make its epoll, and refuses to wait on it.
fn waiting_refused<R: Runtime>() -> io::Result<()> {
    for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
        let flock = Flock::new()?;
        let mut command = flock.command()?;
        let refused = thread::spawn(move || {
            for call in [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_epoll_wait] {
                Refusal::of(call, errno).apply().expect("filters can be set");
            }
            for _ in 0..3 {
                drop(reaper::<R, Process>(command.spawn()?));
            }
            let mut stubborn = CommandOn::<R>::from(sh("trap '' TERM; echo; read nothing"));
            stubborn.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = stubborn.terminate_on_drop(Duration::from_millis(50)).spawn()?;
            let stdin = child.stdin.take();
            let stdout: Pipe<R::Reactor, _> = child.stdout.take().expect("piped").into();
            File::from(stdout.into_owned_fd()?).read_exact(&mut [0])?;
            io::Result::Ok(stdin)
        });
        let _stdin = refused.join().expect("it does not panic")?;
        drop(flock);
        until_no_orphans();
        assert!(!has_children());
    }
    Ok(())
}

/// A reactor with a queue of its own, which reaps now and then.
#[derive(Clone, Debug)]
struct WithQueue<R>(R);

#[derive(Debug)]
struct AnothersQueue(Mutex<Vec<Orphan>>);

static QUEUE: AnothersQueue = AnothersQueue(Mutex::new(Vec::new()));

impl OrphanQueue for AnothersQueue {
    fn push(&'static self, orphan: Orphan) {
        self.0.lock().expect("no panic").push(orphan);
    }
}

impl<R: Reactor> Reactor for WithQueue<R> {
    type Source = R::Source;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        R::current().map(Self)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<R::Source> {
        self.0.register(fd, interest)
    }

    fn orphans() -> &'static dyn OrphanQueue {
        &QUEUE
    }
}

/// The grace period is kept by the library, whichever queue has the child.
fn queue_of_anothers<R: Runtime>() -> io::Result<()> {
    let script = "trap '' TERM; echo; read nothing";
    let mut command = Command::<WithQueue<R::Reactor>>::from(sh(script));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.terminate_on_drop(Duration::from_millis(50)).spawn()?;
    let _stdin = child.stdin.take();
    let stdout = child.stdout.take().expect("it was piped");
    File::from(stdout.into_owned_fd()?).read_exact(&mut [0])?;
    drop(child);
    until(
        || "it runs on".into(),
        || {
            let mut queue = QUEUE.0.lock().expect("no panic");
            queue.retain_mut(|orphan| matches!(orphan.try_wait(), Ok(None)));
            queue.is_empty()
        },
    );
    until_no_orphans();
    Ok(())
}

/// A storm of signals that one thread handles, while threads of the library start.
fn no_handler_on_our_threads<R: Runtime>() -> io::Result<()> {
    let worker = only_here_handled(|| {
        for _ in 0..many(300, 30) {
            let child = CommandOn::<R>::new("sleep").arg("600").kill_on_drop(true).spawn()?;
            // A thread of the library's each.
            child.state_changes()?;
            signal_myself();
        }
        io::Result::Ok(())
    });
    while !worker.is_finished() {
        signal_myself();
    }
    worker.join().expect("it does not panic")?;
    until_no_orphans();
    assert_eq!(handlers_elsewhere(), 0, "handlers ran on other threads");
    Ok(())
}

/// Where the pidfd cannot be registered, or there is none.
fn threads_of_cancelled_waits<R: Runtime>() -> io::Result<()> {
    use super::limits::Scarcity;
    let (child, hold) = super::handles::held_child::<R>(7)?;
    let handle = child.handle();
    let mut child = child;
    R::new().block_on(async {
        assert!(futures_lite::future::poll_once(child.wait()).await.is_none());
        let before = Snapshot::take();
        let scarcity = Scarcity::of_descriptors_but(0)?;
        for _ in 0..100 {
            assert!(futures_lite::future::poll_once(handle.wait()).await.is_none());
        }
        drop(scarcity);
        assert!(before.more_threads() <= 1, "{} threads", before.more_threads());
        drop(hold);
        assert_eq!(handle.wait().await?.code(), Some(7));
        io::Result::Ok(())
    })
}
