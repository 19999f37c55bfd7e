//! One figure of one contender in one case, over all rounds; alone, and beside another contender.

use std::collections::BTreeSet;

use crate::contender::Name;
use crate::driver::{Case, Sample};
use crate::stats::median;

/// Looks into all samples of one case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series<'a> {
    samples: &'a [Sample],
    case: Case,
}

impl<'a> Series<'a> {
    pub(super) fn new(samples: &'a [Sample], case: Case) -> Self {
        Self { samples, case }
    }

    /// All cases, in their order.
    pub(super) fn cases(samples: &[Sample]) -> BTreeSet<(bool, Case)> {
        // With pidfd first.
        samples.iter().map(|sample| (!sample.case.pidfd, sample.case)).collect()
    }

    pub(super) fn names(self) -> BTreeSet<Name> {
        self.of_case().map(|sample| sample.name).collect()
    }

    pub(super) fn figures(self) -> Vec<&'static str> {
        let first = self.of_case().next();
        first
            .map(|sample| sample.figures.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default()
    }

    pub(super) fn values(self, name: Name, figure: &str) -> impl Iterator<Item = (u32, f64)> {
        self.of_case().filter(move |sample| sample.name == name).filter_map(move |sample| {
            let (_, value) = sample.figures.iter().find(|(known, _)| *known == figure)?;
            Some((sample.round, *value))
        })
    }

    pub(super) fn median(self, name: Name, figure: &str) -> Option<f64> {
        median(self.values(name, figure).map(|(_, value)| value))
    }

    /// The ratios to `other`, each within its round.
    pub(super) fn ratios(self, name: Name, figure: &str, other: Name) -> Vec<f64> {
        let others: Vec<_> = self.values(other, figure).collect();
        let to_other = |(round, value)| {
            let (_, other) = others.iter().find(|(same, _)| *same == round)?;
            Some(value / other)
        };
        self.values(name, figure).filter_map(to_other).collect()
    }

    fn of_case(self) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.case == self.case)
    }
}
