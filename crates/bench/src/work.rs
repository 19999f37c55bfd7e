//! The works, as a contender does them. What is measured meanwhile is the driver's matter.

use std::fmt;
use std::io;
use std::iter;
use std::str::FromStr;

use crate::child::Life;
use crate::contender::Contender;
use crate::link::Link;
use crate::stats;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// `n` children, each started when the one before it was reaped.
    OneAfterAnother,
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
    /// A tracer holds the zombie.
    Traced,
}

impl Work {
    pub(crate) const ALL: [Self; 9] = [
        Self::OneAfterAnother,
        Self::Latency,
        Self::Waiting,
        Self::Abandoned,
        Self::IdleRuntime,
        Self::Killed,
        Self::Dead,
        Self::Output,
        Self::Traced,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::OneAfterAnother => "one-after-another",
            Self::Latency => "latency",
            Self::Waiting => "waiting",
            Self::Abandoned => "abandoned",
            Self::IdleRuntime => "idle-runtime",
            Self::Killed => "killed-on-drop",
            Self::Dead => "dead-before-await",
            Self::Output => "output",
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

pub(crate) fn perform<C: Contender>(
    contender: &C,
    work: Work,
    n: u64,
    mut link: Link,
) -> io::Result<()> {
    link.pause(vec![], vec![])?;
    match work {
        Work::OneAfterAnother => one_after_another(contender, Life::End, n, &mut link),
        Work::Latency => one_after_another(contender, Life::Nap, n, &mut link),
        Work::Waiting | Work::Traced => waiting(contender, n, &mut link),
        Work::Dead => dead(contender, n, &mut link),
        Work::Abandoned => abandoned(contender, n, false, true, &mut link),
        Work::Killed => abandoned(contender, n, true, true, &mut link),
        Work::IdleRuntime => abandoned(contender, 1, false, false, &mut link),
        Work::Output => output(contender, n, &mut link),
    }
}

fn one_after_another<C: Contender>(
    contender: &C,
    life: Life,
    n: u64,
    link: &mut Link,
) -> io::Result<()> {
    let commands = iter::repeat_with(|| life.command(NAP)).take(count(n));
    let mut returns = Vec::with_capacity(count(n));
    contender.one_after_another(commands, || returns.push(stats::now()))?;
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

fn output<C: Contender>(contender: &C, bytes: u64, link: &mut Link) -> io::Result<()> {
    let before = stats::now();
    let read = contender.output(Life::Pour.command(bytes))?;
    let took = stats::now() - before;
    assert_eq!(read as u64, bytes);
    link.pause(vec![], vec![took])
}

fn spawn<C: Contender>(contender: &C, life: Life, n: u64, kill: bool) -> io::Result<Vec<C::Child>> {
    // All room at once, so that the heap tells what the handles take.
    let mut children = Vec::with_capacity(count(n));
    for _ in 0..n {
        children.push(contender.spawn(life.command(0), kill)?);
    }
    Ok(children)
}

fn count(n: u64) -> usize {
    usize::try_from(n).expect("so many fit into memory")
}
