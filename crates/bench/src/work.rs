//! The works, as a contender does them. What is measured meanwhile is the driver's matter.

use std::fmt;
use std::io;
use std::iter;
use std::str::FromStr;

use crate::child::{Extra, Life, Order};
use crate::contender::Contender;
use crate::link::Link;
use crate::stats;

/// How much memory the parent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    Mib10,
    Gib1,
}

impl Size {
    /// So much memory, each page of which was written to.
    fn fill(self) -> Vec<u8> {
        let bytes = match self {
            Self::Mib10 => 10 << 20,
            Self::Gib1 => 1 << 30,
        };
        vec![1; bytes]
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// `n` children, each started when the one before it was reaped.
    OneAfterAnother,
    /// The same from a process that uses so much memory, and asks that for its children.
    Spawn(Size, Extra),
    /// So many tasks start `n` children, each the next when its last one was reaped.
    Throughput(u8),
    /// One after another, each of which exits when its parent sleeps: for counts.
    Gated,
    /// The same with children that sleep first and stamp their end.
    Latency,
    /// `n` children are waited for at once.
    Waiting,
    /// `n` handles are dropped while their children run.
    Abandoned,
    /// One handle is dropped, and nothing else ever happens in the runtime.
    IdleRuntime,
    /// `n` children are killed by the drop of their handles.
    Killed,
    /// `n` children are dead before they are waited for.
    Dead,
    /// `n` bytes come out of one child.
    Output,
    /// `n` children write a line each, one after another.
    ShortOutput,
    /// A tracer holds the zombie.
    Traced,
}

impl Work {
    pub(crate) const ALL: [Self; 20] = [
        Self::OneAfterAnother,
        Self::Spawn(Size::Mib10, Extra::Plain),
        Self::Spawn(Size::Mib10, Extra::Uid),
        Self::Spawn(Size::Mib10, Extra::Session),
        Self::Spawn(Size::Gib1, Extra::Plain),
        Self::Spawn(Size::Gib1, Extra::Uid),
        Self::Spawn(Size::Gib1, Extra::Session),
        Self::Throughput(1),
        Self::Throughput(2),
        Self::Throughput(16),
        Self::Gated,
        Self::Latency,
        Self::Waiting,
        Self::Abandoned,
        Self::IdleRuntime,
        Self::Killed,
        Self::Dead,
        Self::Output,
        Self::ShortOutput,
        Self::Traced,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::OneAfterAnother => "one-after-another",
            Self::Spawn(Size::Mib10, Extra::Plain) => "spawn-10mib-plain",
            Self::Spawn(Size::Mib10, Extra::Uid) => "spawn-10mib-uid",
            Self::Spawn(Size::Mib10, Extra::Session) => "spawn-10mib-session",
            Self::Spawn(Size::Gib1, Extra::Plain) => "spawn-1gib-plain",
            Self::Spawn(Size::Gib1, Extra::Uid) => "spawn-1gib-uid",
            Self::Spawn(Size::Gib1, Extra::Session) => "spawn-1gib-session",
            Self::Throughput(1) => "throughput-1",
            Self::Throughput(2) => "throughput-2",
            Self::Throughput(_) => "throughput-16",
            Self::Gated => "gated",
            Self::Latency => "latency",
            Self::Waiting => "waiting",
            Self::Abandoned => "abandoned",
            Self::IdleRuntime => "idle-runtime",
            Self::Killed => "killed-on-drop",
            Self::Dead => "dead-before-await",
            Self::Output => "output",
            Self::ShortOutput => "output-short",
            Self::Traced => "traced",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|work| work.text() == text);
        named.ok_or_else(|| format!("no such work: {text}"))
    }
}

/// How long a child of [`Work::Latency`] sleeps, in milliseconds: until its parent sleeps for sure.
const NAP: u64 = 2;
/// How many bytes a child of [`Work::ShortOutput`] writes.
const LINE: u64 = 80;

pub(crate) fn perform<C: Contender>(
    contender: &C,
    work: Work,
    n: u64,
    mut link: Link,
) -> io::Result<()> {
    let order = match work {
        Work::Spawn(_, extra) => Life::End.order(0).with(extra),
        Work::Gated => Life::Knock.order(0),
        Work::Latency => Life::Nap.order(NAP),
        Work::ShortOutput => Life::Pour.order(LINE),
        _ => Life::End.order(0),
    };
    let memory = if let Work::Spawn(size, _) = work { size.fill() } else { Vec::new() };
    if let Work::Spawn(..) = work {
        // What the first spawn alone does is not of the kind that is compared here.
        contender.one_after_another(iter::once(order), || {})?;
    }
    link.pause(vec![], vec![])?;
    match work {
        Work::OneAfterAnother | Work::Gated | Work::Latency | Work::Spawn(..) => {
            one_after_another(contender, order, n, &mut link)
        }
        Work::Throughput(tasks) => {
            contender.in_tasks(tasks.into(), n / u64::from(tasks), order)?;
            link.pause(vec![], vec![])
        }
        Work::ShortOutput => output(contender, order, count(n), LINE, &mut link),
        Work::Waiting | Work::Traced => waiting(contender, n, &mut link),
        Work::Dead => dead(contender, n, &mut link),
        Work::Abandoned => abandoned(contender, n, false, true, &mut link),
        Work::Killed => abandoned(contender, n, true, true, &mut link),
        Work::IdleRuntime => abandoned(contender, 1, false, false, &mut link),
        Work::Output => output(contender, Life::Pour.order(n), 1, n, &mut link),
    }?;
    drop(memory);
    Ok(())
}

fn one_after_another<C: Contender>(
    contender: &C,
    order: Order,
    n: u64,
    link: &mut Link,
) -> io::Result<()> {
    let orders = iter::repeat_n(order, count(n));
    let mut returns = Vec::with_capacity(count(n));
    contender.one_after_another(orders, || returns.push(stats::now()))?;
    link.pause(vec![], returns)
}

fn dead<C: Contender>(contender: &C, n: u64, link: &mut Link) -> io::Result<()> {
    let children = spawn(contender, Life::End, n, false)?;
    link.pause(children.iter().map(C::id).collect(), vec![])?;
    contender.wait_in_turn(children)?;
    link.pause(vec![], vec![])
}

fn waiting<C: Contender>(contender: &C, n: u64, link: &mut Link) -> io::Result<()> {
    let children = spawn(contender, Life::Gate, n, false)?;
    link.pause(children.iter().map(C::id).collect(), vec![])?;
    contender.wait_for_all(children, || link.tell(vec![], vec![]))?;
    link.pause(vec![], vec![])
}

fn abandoned<C: Contender>(
    contender: &C,
    n: u64,
    kill: bool,
    turned: bool,
    link: &mut Link,
) -> io::Result<()> {
    let children = spawn(contender, Life::Gate, n, kill)?;
    link.pause(children.iter().map(C::id).collect(), vec![])?;
    let before = stats::thread_cpu();
    contender.abandon(children);
    let dropped = stats::thread_cpu() - before;
    link.tell(vec![], vec![dropped])?;
    // The driver ends this process when it has seen enough.
    contender.idle(turned)
}

fn output<C: Contender>(
    contender: &C,
    order: Order,
    children: usize,
    bytes: u64,
    link: &mut Link,
) -> io::Result<()> {
    let before = stats::now();
    let read = contender.outputs(iter::repeat_n(order, children))?;
    let took = stats::now() - before;
    assert_eq!(read as u64, bytes * children as u64);
    link.pause(vec![], vec![took])
}

fn spawn<C: Contender>(contender: &C, life: Life, n: u64, kill: bool) -> io::Result<Vec<C::Child>> {
    // All room at once, so that the heap tells what the handles take.
    let mut children = Vec::with_capacity(count(n));
    for _ in 0..n {
        children.push(contender.spawn(life.order(0), kill)?);
    }
    Ok(children)
}

fn count(n: u64) -> usize {
    usize::try_from(n).expect("so many fit into memory")
}
