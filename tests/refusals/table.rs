//! The table of the results: system call, error, occurrence, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::case::{Case, Occurrence};
use crate::runtimes::Setting;

/// The table that is kept.
const KEPT: &str = include_str!("RESULTS.md");

/// What comes of a case: each outcome, and the scenarios with it.
type Outcomes = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<(&'static str, String), BTreeMap<Occurrence, Outcomes>>);

impl Table {
    /// Whether the kept table has a row for the call of that name.
    pub(crate) fn kept_has(call: &str) -> bool {
        KEPT.lines().any(|line| line.starts_with(&format!("| `{call}` |")))
    }

    /// Whether the kept table has nothing but "right" for the case.
    pub(crate) fn kept_is_right(call: &str, case: Case) -> bool {
        let errno = case.errno.to_string();
        let mut rows = KEPT.lines().map(|line| line.split(" | ").collect::<Vec<_>>());
        let row = rows.find(|row| {
            row[0] == format!("| `{call}`") && row[1].split(", ").any(|other| other == errno)
        });
        let outcome = row.and_then(|row| row.get(2 + case.occurrence as usize).copied());
        outcome.is_some_and(|outcome| outcome.trim_end_matches(" |") == "right")
    }

    pub(crate) fn add(
        &mut self,
        _setting: Setting,
        scenario: &str,
        call: &'static str,
        case: Case,
        outcome: &str,
    ) {
        if outcome == "not reached" {
            return;
        }
        let row = self.0.entry((call, case.errno.to_string())).or_default();
        let outcomes = row.entry(case.occurrence).or_default();
        for part in outcome.split(", ") {
            outcomes.entry(part.into()).or_default().insert(scenario.into());
        }
    }
}

/// As Markdown. Errors with the same outcomes share a row.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<(&str, Vec<&str>, String)> = Vec::new();
        for ((call, errno), row) in &self.0 {
            let cells = Occurrence::ALL.map(|occurrence| cell(row.get(&occurrence)));
            let cells = cells.join(" | ");
            match rows.iter_mut().find(|(other, _, same)| other == call && *same == cells) {
                Some((_, errnos, _)) => errnos.push(errno),
                None => rows.push((call, vec![errno], cells)),
            }
        }
        writeln!(f, "| Call | Error | First | Second | Every |\n|---|---|---|---|---|")?;
        for (call, errnos, cells) in rows {
            writeln!(f, "| `{call}` | {} | {cells} |", errnos.join(", "))?;
        }
        Ok(())
    }
}

fn cell(outcomes: Option<&Outcomes>) -> String {
    let Some(outcomes) = outcomes else { return "–".into() };
    let parts = outcomes.iter().map(|(outcome, scenarios)| {
        if outcome == "right" {
            return "right".into();
        }
        let scenarios: Vec<_> = scenarios.iter().map(String::as_str).collect();
        format!("{outcome} ({})", scenarios.join(" "))
    });
    let parts: Vec<String> = parts.collect();
    parts.join("; ")
}
