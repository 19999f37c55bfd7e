//! The plan: which cases, for whom, how often; all of a case interleaved, round by round.

use std::collections::VecDeque;
use std::io;

use rustix::process::geteuid;
use serde::Serialize;

use super::Figures;
use super::measures::measure;
use super::progress;
use crate::child::Extra;
use crate::contender::Name;
use crate::options::Options;
use crate::work::{Size, Work};

/// A work, how much of it, and on what kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) work: Work,
    /// Children, trials or bytes.
    pub(crate) n: u64,
    pub(crate) pidfd: bool,
}

impl Case {
    pub(super) fn children(self) -> f64 {
        self.n as f64
    }
}

/// What one contender brought in one round of a case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    #[serde(skip)]
    pub(crate) case: Case,
    #[serde(skip)]
    pub(crate) name: Name,
    pub(crate) round: u32,
    pub(crate) figures: Figures,
}

/// Runs all that the options ask for; what there is by then goes to `show` after each case.
pub(crate) fn run(
    options: &Options,
    show: impl Fn(Case, &[Sample]) -> io::Result<()>,
) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (case, rounds) in cases(options) {
        let mut contenders: VecDeque<Name> = options.contenders(case).collect();
        for round in 0..rounds {
            for &name in &contenders {
                let (work, n) = (case.work, case.n);
                progress::tell(format_args!("{work} × {n}, round {}/{rounds}: {name}", round + 1));
                match measure(name, case) {
                    Ok(figures) => samples.push(Sample { case, name, round, figures }),
                    Err(error) => eprintln!("{work} × {n}, {name}: {error}"),
                }
            }
            // Nobody always comes after the same one, whose children may still be going.
            let first = contenders.pop_front();
            contenders.extend(first);
        }
        progress::tell(format_args!(""));
        if samples.iter().any(|sample: &Sample| sample.case == case) {
            show(case, &samples)?;
        }
    }
    Ok(samples)
}

fn cases(options: &Options) -> Vec<(Case, u32)> {
    let mut cases = Vec::new();
    for pidfd in [true, false] {
        for work in Work::ALL {
            let few = if pidfd { options.rounds } else { options.rounds.div_ceil(2) };
            let spawn = matches!(work, Work::Spawn(..) | Work::Throughput(_) | Work::ShortOutput);
            if spawn && !pidfd {
                continue;
            }
            let sizes = match work {
                Work::OneAfterAnother | Work::Killed | Work::Dead | Work::ShortOutput => {
                    vec![(100, few)]
                }
                // Where the memory is copied, one takes 100 ms.
                Work::Spawn(Size::Gib1, _) => vec![(10, few)],
                Work::Throughput(_) => vec![(320, few)],
                Work::Gated => vec![],
                Work::Latency | Work::Spawn(Size::Mib10, _) => vec![(50, few)],
                Work::Waiting | Work::Abandoned => options.sizes(few),
                Work::IdleRuntime => vec![(options.trials, 1)],
                Work::Output => vec![(options.bytes, few)],
                Work::Traced => vec![(1, 1)],
            };
            let of_size = |(n, rounds)| (Case { work, n, pidfd }, rounds);
            cases.extend(sizes.into_iter().map(of_size));
        }
    }
    cases.retain(|(case, _)| options.wants(*case));
    if !geteuid().is_root() {
        let count = cases.len();
        cases.retain(|(case, _)| !matches!(case.work, Work::Spawn(_, Extra::Uid)));
        if cases.len() < count {
            eprintln!("children with another uid are left out: this is not root");
        }
    }
    cases
}
