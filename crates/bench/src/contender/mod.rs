//! The contenders: what each of them is, and what all of them can be asked to do.

mod asynchronous;
mod blocking;
mod engine;
mod floor;
mod peers;
pub(crate) mod polls;
mod runtimes;
mod without_pidfd;

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::str::FromStr;

use self::asynchronous::Async;
use self::blocking::Blocking;
use self::engine::Engine;
use self::floor::Floor;
use self::peers::{
    AsyncPidfd, AsyncProcess, BareAsync, BareAsyncFd, Ours, OursByStd, TokioProcess,
};
use self::runtimes::{ByHand, OnTokio, OwnReactor, Smol};
use crate::child::Order;
use crate::link::Link;
use crate::work::{self, Work};

/// One way to start children and to wait for them.
pub(crate) trait Contender {
    type Child;

    fn spawn(&self, order: Order, kill_on_drop: bool) -> io::Result<Self::Child>;

    fn id(child: &Self::Child) -> u32;

    /// Starts each and waits for it before the next; `after_each` wait it calls that.
    fn one_after_another(
        &self,
        orders: impl Iterator<Item = Order>,
        after_each: impl FnMut(),
    ) -> io::Result<()>;

    /// Has so many tasks start so many children each, each the next one when its last was reaped.
    /// Without a runtime the tasks are threads.
    fn in_tasks(&self, tasks: u64, each: u64, order: Order) -> io::Result<()>;

    /// Waits for one after the other, in one task.
    fn wait_in_turn(&self, children: Vec<Self::Child>) -> io::Result<()>;

    /// Waits for all together, each in a task of its own; calls `ready` when it does.
    fn wait_for_all(
        &self,
        children: Vec<Self::Child>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()>;

    /// Lets go of children that run.
    fn abandon(&self, children: Vec<Self::Child>);

    /// Has nothing to do any more, for ever; `turned` has its reactor had a turn before.
    fn idle(&self, turned: bool) -> io::Result<()>;

    /// Collects what the children write, one after another: how much it was.
    fn outputs(&self, orders: impl Iterator<Item = Order>) -> io::Result<usize>;
}

/// Who competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Floor,
    Engine,
    Blocking,
    BareAsyncFd,
    OursTokio,
    OursTokioStd,
    TokioProcess,
    OursTokioMulti,
    TokioProcessMulti,
    BareAsync,
    OursSmol,
    AsyncProcess,
    AsyncPidfd,
    OursByHand,
}

impl Name {
    pub(crate) const ALL: [Self; 14] = [
        Self::Floor,
        Self::Engine,
        Self::Blocking,
        Self::BareAsyncFd,
        Self::OursTokio,
        Self::OursTokioStd,
        Self::TokioProcess,
        Self::OursTokioMulti,
        Self::TokioProcessMulti,
        Self::BareAsync,
        Self::OursSmol,
        Self::AsyncProcess,
        Self::AsyncPidfd,
        Self::OursByHand,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Engine => "floor-engine",
            Self::Blocking => "std-blocking",
            Self::BareAsyncFd => "bare-asyncfd",
            Self::OursTokio => "ours-tokio",
            Self::OursTokioStd => "ours-tokio-std",
            Self::TokioProcess => "tokio-process",
            Self::OursTokioMulti => "ours-tokio-multi",
            Self::TokioProcessMulti => "tokio-process-multi",
            Self::BareAsync => "bare-async",
            Self::OursSmol => "ours-smol",
            Self::AsyncProcess => "async-process",
            Self::AsyncPidfd => "async-pidfd",
            Self::OursByHand => "ours-by-hand",
        }
    }

    /// Whether it is this library.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::OursTokio
                | Self::OursTokioStd
                | Self::OursTokioMulti
                | Self::OursSmol
                | Self::OursByHand
        )
    }

    /// The library that its users have now.
    pub(crate) const fn rival(self) -> Option<Self> {
        match self {
            Self::OursTokio | Self::OursTokioStd => Some(Self::TokioProcess),
            Self::OursTokioMulti => Some(Self::TokioProcessMulti),
            Self::OursSmol => Some(Self::AsyncProcess),
            _ => None,
        }
    }

    /// Whether it can do the work at all.
    pub(crate) fn can(self, work: Work, pidfd: bool) -> bool {
        let library = self.is_ours()
            || matches!(self, Self::TokioProcess | Self::TokioProcessMulti | Self::AsyncProcess);
        let spawns = matches!(
            work,
            Work::OneAfterAnother | Work::Gated | Work::Spawn(..) | Work::Throughput(_)
        );
        if matches!(self, Self::Engine | Self::OursTokioStd) {
            // What else there is does not depend on how a child was started.
            return spawns && pidfd;
        }
        match work {
            Work::Abandoned | Work::IdleRuntime | Work::Killed => {
                library || (pidfd && self == Self::Floor)
            }
            Work::Output | Work::ShortOutput => library || self == Self::Floor,
            Work::Traced => library && pidfd,
            _ => library || pidfd || self == Self::Blocking,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|name| name.text() == text);
        named.ok_or_else(|| format!("no such contender: {text}"))
    }
}

/// Does one work as one contender, and tells the driver.
pub(crate) fn compete(
    name: Name,
    work: Work,
    n: u64,
    pidfd: bool,
    link: RawFd,
) -> Result<(), Box<dyn Error>> {
    let link = Link::inherited(link)?;
    if !pidfd {
        without_pidfd::install()?;
    }
    match name {
        Name::Floor => work::perform(&Floor::new()?, work, n, link),
        Name::Engine => work::perform(&Engine, work, n, link),
        Name::Blocking => work::perform(&Blocking, work, n, link),
        Name::BareAsyncFd => {
            work::perform(&Async::<_, BareAsyncFd>::on(OnTokio::on_one_thread()?), work, n, link)
        }
        Name::OursTokio => {
            work::perform(&Async::<_, OursOnTokio>::on(OnTokio::on_one_thread()?), work, n, link)
        }
        Name::OursTokioStd => work::perform(
            &Async::<_, OursOnTokioByStd>::on(OnTokio::on_one_thread()?),
            work,
            n,
            link,
        ),
        Name::TokioProcess => {
            work::perform(&Async::<_, TokioProcess>::on(OnTokio::on_one_thread()?), work, n, link)
        }
        Name::OursTokioMulti => {
            work::perform(&Async::<_, OursOnTokio>::on(OnTokio::on_many_threads()?), work, n, link)
        }
        Name::TokioProcessMulti => {
            work::perform(&Async::<_, TokioProcess>::on(OnTokio::on_many_threads()?), work, n, link)
        }
        Name::BareAsync => work::perform(&Async::<_, BareAsync>::on(Smol::new()), work, n, link),
        Name::OursSmol => work::perform(&Async::<_, OursOnSmol>::on(Smol::new()), work, n, link),
        Name::AsyncProcess => {
            work::perform(&Async::<_, AsyncProcess>::on(Smol::new()), work, n, link)
        }
        Name::AsyncPidfd => work::perform(&Async::<_, AsyncPidfd>::on(Smol::new()), work, n, link),
        Name::OursByHand => {
            work::perform(&Async::<_, Ours<OwnReactor>>::on(ByHand::new()), work, n, link)
        }
    }?;
    Ok(())
}

type OursOnTokio = Ours<pidfd_reaper::tokio::Tokio>;
type OursOnTokioByStd = OursByStd<pidfd_reaper::tokio::Tokio>;
type OursOnSmol = Ours<pidfd_reaper::smol::AsyncIo>;
