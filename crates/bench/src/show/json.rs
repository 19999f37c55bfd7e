//! All figures of all rounds, as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::driver::{Counts, Sample};

/// The file, and the machine as it was before anything was measured.
#[derive(Debug)]
pub(super) struct Json<'a> {
    file: &'a Path,
    machine: Value,
}

impl<'a> Json<'a> {
    pub(super) fn to(file: &'a Path) -> Self {
        Self { file, machine: machine() }
    }

    /// Writes all that there is by now, over what was written before.
    pub(super) fn write(&self, samples: &[Sample], counts: &[Counts]) -> io::Result<()> {
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        let all = json!({ "machine": self.machine, "samples": samples, "counts": counts });
        fs::write(self.file, serde_json::to_string_pretty(&all)? + "\n")
    }
}

fn sample(sample: &Sample) -> Value {
    // What never happened is null.
    let figures: BTreeMap<_, _> = sample.figures.iter().copied().collect();
    json!({
        "work": sample.case.work.text(),
        "n": sample.case.n,
        "pidfd": sample.case.pidfd,
        "contender": sample.name.text(),
        "round": sample.round,
        "figures": figures,
    })
}

fn machine() -> Value {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.rsplit(':').next().unwrap_or_default().trim().to_owned()
    };
    let rustc = Command::new("rustc").arg("--version").output();
    json!({
        "processor": first("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": first("/proc/sys/kernel/osrelease", ""),
        "rustc": rustc.map(|run| String::from_utf8_lossy(&run.stdout).trim().to_owned()).ok(),
        "load": first("/proc/loadavg", ""),
    })
}
