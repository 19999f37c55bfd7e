//! What is told to `tracing` of a child: `cargo test -p pidfd-reaper-core --features tracing`.

use std::fmt::{self, Write};
use std::io;
use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;

use pidfd_reaper_core::{
    End, Interest, Pipe, Process, Reactor, Reaper, SharedFd, Source, StatusLost, Wait, orphans,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the events as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn about(&self, pid: u32) -> Vec<String> {
        let pid = format!("pid={pid} ");
        self.0.lock().unwrap().iter().filter(|line| line.contains(&pid)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pidfd_reaper"
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The numbers of a child that is abandoned and of one that is stolen, and what was told of each.
#[test]
fn spawned_orphaned_reaped_and_stolen() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();

    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let abandoned = child.id();
    drop(Reaper::<NoReactor, _>::new(Process::try_from(child).unwrap()));
    drop(stdin);
    while !orphans().is_empty() {
        thread::yield_now();
    }
    let told = lines.about(abandoned);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("spawned"), "{told:?}");
    assert!(told[1].contains("orphaned"), "{told:?}");
    assert!(told[2].contains("reaped") && told[2].contains("by=OrphanQueue"), "{told:?}");

    // It must not end before it is taken over: that would reap it.
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let stolen = child.id();
    let mut process = Process::try_from(child).unwrap();
    drop(stdin);
    waitpid(Pid::from_raw(stolen.try_into().unwrap()), WaitOptions::empty()).unwrap();
    let recovered = match process.try_wait() {
        Ok(status) => status.unwrap().success(),
        Err(error) => !StatusLost::is(&error),
    };
    let told = lines.about(stolen);
    let wanted = format!("recovered={recovered}");
    assert!(told[1].contains("stolen") && told[1].contains(&wanted), "{told:?}");
}

/// Nothing is awaited here.
#[derive(Clone, Debug)]
enum NoReactor {}

impl Reactor for NoReactor {
    type Source = NoSource;
    type Pipe<K: End> = Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn register(&self, _: SharedFd, _: Interest) -> io::Result<NoSource> {
        match *self {}
    }
}

#[derive(Debug)]
enum NoSource {}

impl Source for NoSource {
    fn poll_io<T>(
        &mut self,
        _: &mut Context<'_>,
        _: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match *self {}
    }
}
