//! What is asked for.

use std::path::PathBuf;
use std::process;

use lexopt::{Arg, Parser, ValueExt};

use crate::contender::Name;
use crate::driver::Case;
use crate::work::Work;

const HELP: &str = "\
Measures pidfd-reaper beside its peers and beside the least that the kernel asks for.

  --most N          up to so many waiting or abandoned at once (1000)
  --least N         from so many on (10)
  --rounds N        so often; the medians are shown (3)
  --trials N        so many abandoned in an idle runtime (20)
  --bytes N         so many through output (67108864)
  --only NAME       this contender; again for others
  --work WORK       this work; again for others
  --pidfd BOOL      only with, or only without pidfd
  --counts          only what is counted: system calls, allocations, polls, instructions
  --no-counts       only what is timed
  --json FILE       writes all figures
  --plots DIR       draws the cost per exit against N
  --list            names the contenders and the works
";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) least: u64,
    pub(crate) most: u64,
    pub(crate) rounds: u32,
    pub(crate) trials: u64,
    pub(crate) bytes: u64,
    pub(crate) only: Vec<Name>,
    pub(crate) works: Vec<Work>,
    pub(crate) pidfd: Option<bool>,
    pub(crate) times: bool,
    pub(crate) counts: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) plots: Option<PathBuf>,
}

impl Options {
    pub(crate) fn contenders(&self, case: Case) -> impl Iterator<Item = Name> {
        Name::ALL.into_iter().filter(move |name| {
            // Everything is held against the floor.
            let floor = *name == Name::Floor && case.pidfd;
            let asked_for = self.only.is_empty() || self.only.contains(name);
            (asked_for || floor) && name.can(case.work, case.pidfd)
        })
    }

    pub(crate) fn wants(&self, case: Case) -> bool {
        (self.works.is_empty() || self.works.contains(&case.work))
            && self.pidfd.is_none_or(|pidfd| pidfd == case.pidfd)
    }

    /// How many wait at once, and how often that is measured: the more, the less often.
    pub(crate) fn sizes(&self, rounds: u32) -> Vec<(u64, u32)> {
        let sizes = [10, 100, 1000, 2000, 5000, 10_000, 15_000];
        let rounds = |n| if n < 1000 { rounds } else { rounds.div_ceil(2) };
        let asked_for = self.least..=self.most;
        sizes.into_iter().filter(|n| asked_for.contains(n)).map(|n| (n, rounds(n))).collect()
    }
}

pub(crate) fn parse() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        least: 10,
        most: 1000,
        rounds: 3,
        trials: 20,
        bytes: 64 << 20,
        only: Vec::new(),
        works: Vec::new(),
        pidfd: None,
        times: true,
        counts: true,
        json: None,
        plots: None,
    };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("most") => options.most = parser.value()?.parse()?,
            Arg::Long("least") => options.least = parser.value()?.parse()?,
            Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
            Arg::Long("trials") => options.trials = parser.value()?.parse()?,
            Arg::Long("bytes") => options.bytes = parser.value()?.parse()?,
            Arg::Long("only") => options.only.push(parser.value()?.parse()?),
            Arg::Long("work") => options.works.push(parser.value()?.parse()?),
            Arg::Long("pidfd") => options.pidfd = Some(parser.value()?.parse()?),
            Arg::Long("counts") => options.times = false,
            Arg::Long("no-counts") => options.counts = false,
            Arg::Long("json") => options.json = Some(parser.value()?.into()),
            Arg::Long("plots") => options.plots = Some(parser.value()?.into()),
            Arg::Long("list") => stop_with(&list()),
            Arg::Long("help") | Arg::Short('h') => stop_with(HELP),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn list() -> String {
    let contenders = Name::ALL.map(Name::text).join(" ");
    let works = Work::ALL.map(Work::text).join(" ");
    format!("contenders: {contenders}\nworks: {works}\n")
}

fn stop_with(text: &str) -> ! {
    print!("{text}");
    process::exit(0)
}
