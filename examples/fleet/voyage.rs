//! One voyage: all children of a fleet on one runtime, from the first start to the last return.

use std::error::Error;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use indicatif::ProgressBar;
use pidfd_reaper::{Child, Command, Pipe, Reactor, Stdin};
use smol::lock::Semaphore;

use crate::job::{Fate, Job};
use crate::leftovers::Before;
use crate::limits;
use crate::report::Row;
use crate::role::{self, Stamps};
use crate::runtime::Runtime;

/// How many children copy at the same time: each has its data in memory twice.
static COPIES: Semaphore = Semaphore::new(16);

/// How a child came home.
pub(crate) enum Return {
    /// With the right status; how long after its last act, if it stamped that.
    Right(Option<Duration>),
    Wrong(String),
    /// Not to us: its handle was dropped.
    Abandoned,
}

/// Sends `children` out on the runtime `R`.
pub(crate) fn run<R: Runtime>(
    name: &'static str,
    children: u32,
    bar: &ProgressBar,
) -> Result<Row, Box<dyn Error>> {
    warm_up::<R>().map_err(limits::explain)?;
    let before = Before::now()?;
    let longest_life = Duration::from_millis(200) + Duration::from_millis(1) * children;
    let runtime = R::new()?;
    let jobs = (0..children).map(|number| Job::new(number, longest_life));
    let returns = runtime.block_on(sail(&runtime, jobs, bar))?;
    drop(runtime);
    for home in &returns {
        if let Return::Wrong(what) = home {
            bar.suspend(|| eprintln!("{name}: {what}"));
        }
    }
    let left = before.left(longest_life + Duration::from_secs(5))?;
    Ok(Row::new(name, &returns, &left))
}

/// What a runtime makes once for the whole process is not left over from a voyage.
fn warm_up<R: Runtime>() -> io::Result<()> {
    R::new()?.block_on(async {
        R::sleep(Duration::from_millis(1)).await;
        Command::<R::Reactor>::new("true").status().await.map(drop)
    })
}

/// Starts a child for each job, opens the gate, and waits for all who are to come back.
async fn sail<R: Runtime>(
    runtime: &R,
    jobs: impl Iterator<Item = Job>,
    bar: &ProgressBar,
) -> Result<Vec<Return>, String> {
    let stamps = Arc::new(Stamps::new().map_err(limits::explain)?);
    let (gate, closed) = new_gate().map_err(limits::explain)?;
    // For those that are to be killed; it opens if the voyage fails.
    let (_gate, closed_for_ever) = new_gate().map_err(limits::explain)?;
    let (mut copies, mut waits) = (Vec::new(), Vec::new());
    for job in jobs {
        if let Fate::Copies(length) = job.fate {
            copies.push(runtime.spawn(counted(bar.clone(), copy::<R::Reactor>(job, length))));
        } else {
            let closed = match job.fate {
                Fate::Killed => &closed_for_ever,
                _ => &closed,
            };
            let child = start(&job, closed, &stamps)
                .map_err(|error| format!("child {}: {}", job.number, limits::explain(error)))?;
            let wait = wait::<R>(job, child, Arc::clone(&stamps));
            waits.push(runtime.spawn(counted(bar.clone(), wait)));
        }
        // Those started before are waited for from now on.
        future::yield_now().await;
    }
    let mut returns = Vec::new();
    for copy in copies {
        returns.push(copy.await.map_err(limits::explain)?);
    }
    // Nothing but ends and waits goes on after this, so that the times are theirs.
    drop(gate);
    for wait in waits {
        returns.push(wait.await.map_err(limits::explain)?);
    }
    Ok(returns)
}

async fn counted<T>(bar: ProgressBar, task: impl Future<Output = T>) -> T {
    let output = task.await;
    bar.inc(1);
    output
}

/// What opens when it is dropped, and what the children stand before.
fn new_gate() -> io::Result<(UnixStream, OwnedFd)> {
    let (gate, closed) = UnixStream::pair()?;
    Ok((gate, closed.into()))
}

/// `None` for one that is dropped at once.
fn start<R: Reactor>(job: &Job, gate: &OwnedFd, stamps: &Stamps) -> io::Result<Option<Child<R>>> {
    let child = role::command::<R>(job, gate, stamps)?.spawn()?;
    Ok(if matches!(job.fate, Fate::DroppedAtOnce) { None } else { Some(child) })
}

async fn wait<R: Runtime>(
    job: Job,
    child: Option<Child<R::Reactor>>,
    stamps: Arc<Stamps>,
) -> io::Result<Return> {
    let Some(mut child) = child else {
        return Ok(Return::Abandoned);
    };
    match job.fate {
        Fate::Abandoned => {
            future::poll_once(child.wait()).await;
            return Ok(Return::Abandoned);
        }
        Fate::Killed => {
            let timeout = async { drop(R::sleep(job.life).await) };
            future::or(async { drop(child.wait().await) }, timeout).await;
            child.start_kill()?;
        }
        _ => {}
    }
    let status = child.wait().await?;
    let age = stamps.age(job.number);
    Ok(if status == job.status() { Return::Right(age) } else { Return::wrong(&job, status) })
}

async fn copy<R: Reactor>(job: Job, length: u32) -> io::Result<Return> {
    let _turn = COPIES.acquire().await;
    let data = job.data(length);
    let mut cat = Command::<R>::new("cat");
    let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().expect("it is piped").into();
    let (written, output) = future::zip(write_all(stdin, &data), child.wait_with_output()).await;
    written?;
    let output = output?;
    Ok(if output.status != job.status() {
        Return::wrong(&job, output.status)
    } else if output.stdout != data {
        Return::wrong(&job, "other bytes came out than went in")
    } else {
        Return::Right(None)
    })
}

async fn write_all<R: Reactor>(mut pipe: Pipe<R, Stdin>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = poll_fn(|cx| pipe.poll_write(cx, data)).await?;
        data = &data[written..];
    }
    Ok(())
}

impl Return {
    /// How long after the child's last act its status was there.
    pub(crate) fn told_after(&self) -> Option<Duration> {
        if let Self::Right(told_after) = self { *told_after } else { None }
    }

    fn wrong(job: &Job, what: impl Display) -> Self {
        Self::Wrong(format!("child {} was to be {:?}: {what}", job.number, job.fate))
    }
}
