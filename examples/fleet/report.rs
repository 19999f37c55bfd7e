//! What came of the voyages: a table for people, JSON for programs.

use std::io;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::leftovers::Left;
use crate::voyage::Return;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) children: u32,
    pub(crate) without_pidfd: bool,
    pub(crate) runtimes: Vec<Row>,
}

/// What came of one voyage.
#[derive(Serialize)]
pub(crate) struct Row {
    runtime: &'static str,
    spawned: usize,
    right: usize,
    wrong: usize,
    abandoned: usize,
    abandoned_and_reaped: usize,
    zombies_left: usize,
    descriptors_left: usize,
    threads_left: usize,
    /// From the last act of a child to the return of the await, in microseconds.
    told_median_us: Option<u128>,
    told_p99_us: Option<u128>,
}

impl Row {
    pub(crate) fn new(runtime: &'static str, returns: &[Return], left: &Left) -> Self {
        let count = |which: fn(&Return) -> bool| returns.iter().filter(|home| which(home)).count();
        let abandoned = count(|home| matches!(home, Return::Abandoned));
        let mut told = returns.iter().filter_map(Return::told_after).collect::<Vec<_>>();
        told.sort_unstable();
        let told_us = |percent| told.get(told.len() * percent / 100).map(Duration::as_micros);
        Self {
            runtime,
            spawned: returns.len(),
            right: count(|home| matches!(home, Return::Right(_))),
            wrong: count(|home| matches!(home, Return::Wrong(_))),
            abandoned,
            abandoned_and_reaped: abandoned - left.orphans,
            zombies_left: left.zombies,
            descriptors_left: left.descriptors,
            threads_left: left.threads,
            told_median_us: told_us(50),
            told_p99_us: told_us(99),
        }
    }

    fn is_clean(&self) -> bool {
        let left = self.zombies_left + self.descriptors_left + self.threads_left;
        self.wrong == 0 && left == 0 && self.abandoned == self.abandoned_and_reaped
    }

    fn cells(&self) -> [String; 9] {
        let micros = |time: Option<u128>| time.map_or("-".into(), |time| time.to_string());
        [
            self.runtime.into(),
            self.spawned.to_string(),
            self.right.to_string(),
            self.wrong.to_string(),
            format!("{} / {}", self.abandoned, self.abandoned_and_reaped),
            self.zombies_left.to_string(),
            format!("{} / {}", self.descriptors_left, self.threads_left),
            micros(self.told_median_us),
            micros(self.told_p99_us),
        ]
    }
}

impl Report {
    /// Whether every status was right, and nothing was left over.
    pub(crate) fn is_clean(&self) -> bool {
        self.runtimes.iter().all(Row::is_clean)
    }

    pub(crate) fn print(&self, as_json: bool) -> io::Result<()> {
        if as_json {
            serde_json::to_writer_pretty(io::stdout(), self)?;
            println!();
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "runtime",
            "spawned",
            "right",
            "wrong",
            "abandoned / reaped",
            "zombies",
            "fds / threads left",
            "exit→told µs",
            "p99 µs",
        ]);
        table.add_rows(self.runtimes.iter().map(Row::cells));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}");
        Ok(())
    }
}
