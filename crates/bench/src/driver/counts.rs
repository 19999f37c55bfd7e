//! What is counted, not timed: the same on every machine, however busy it is.
//!
//! Each is the difference of two runs, divided by how many children the longer one had more: so the
//! start of the process and of its runtime is not in it. The environment is empty: each variable of
//! it would cost a direct spawn two allocations, since the standard library only gives it out copied.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use serde::Serialize;

use super::Case;
use super::instructions;
use super::outside;
use super::progress;
use super::running::{PATIENCE, Running};
use super::syscalls;
use crate::contender::Name;
use crate::options::Options;
use crate::work::Work;

/// In the shorter and in the longer run.
const CHILDREN: [u64; 2] = [5, 30];

/// What each child costs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) contender: &'static str,
    pub(crate) work: &'static str,
    pub(crate) polls: f64,
    pub(crate) allocations: f64,
    pub(crate) instructions: Option<f64>,
    /// By name, those that come to less than one in a hundred children left out.
    pub(crate) system_calls: Vec<(String, f64)>,
}

impl Counts {
    pub(crate) fn calls(&self) -> f64 {
        self.system_calls.iter().map(|(_, calls)| calls).sum()
    }
}

/// Counts for every contender that is asked for.
pub(crate) fn count(options: &Options) -> io::Result<Vec<Counts>> {
    if !syscalls::is_there() {
        eprintln!("strace is not here: no system calls are counted");
    }
    let perf = instructions::are_counted_here();
    if !perf {
        eprintln!("perf counts no instructions here (is it a virtual machine?): they are left out");
    }
    let mut counts = Vec::new();
    for work in [Work::Gated, Work::Waiting, Work::Abandoned, Work::Dead] {
        let case = Case { work, n: 0, pidfd: true };
        if options.wants(case) {
            for name in options.contenders(case) {
                progress::tell(format_args!("counting: {work}, {name}"));
                counts.push(count_one(name, case, perf)?);
            }
        }
    }
    progress::tell(format_args!(""));
    Ok(counts)
}

fn count_one(name: Name, case: Case, perf: bool) -> io::Result<Counts> {
    let each = |from: u64, to: u64| (to as f64 - from as f64) / (CHILDREN[1] - CHILDREN[0]) as f64;
    let [short, long] = CHILDREN.map(|n| run(&[], name, Case { n, ..case }));
    let (short, long) = (short?, long?);

    let file = Log::new();
    let mut system_calls = Vec::new();
    if syscalls::is_there() {
        let [short, long] = CHILDREN.map(|n| {
            run(&syscalls::observer(&file.0), name, Case { n, ..case })?;
            syscalls::count(&file.0)
        });
        let short = short?;
        for (call, count) in long? {
            let calls = each(short.get(&call).copied().unwrap_or(0), count);
            if calls >= 0.01 {
                system_calls.push((call, calls));
            }
        }
    }
    let instructions = perf.then(|| {
        let [short, long] = CHILDREN.map(|n| {
            run(&instructions::observer(&file.0), name, Case { n, ..case })?;
            instructions::count(&file.0)
        });
        io::Result::Ok(each(short?, long?))
    });
    Ok(Counts {
        contender: name.text(),
        work: case.work.text(),
        polls: each(short.polls, long.polls),
        allocations: each(short.allocations, long.allocations),
        instructions: instructions.transpose()?,
        system_calls,
    })
}

/// How often what happened in one run.
struct Run {
    polls: u64,
    allocations: u64,
}

/// One run to its end, under an observer or without.
fn run(observer: &[OsString], name: Name, case: Case) -> io::Result<Run> {
    let mut running = Running::start_counted(observer, name, case)?;
    let first = running.hear()?;
    let last = match case.work {
        Work::Gated => {
            running.go_on()?;
            for _ in 0..case.n {
                // It has started; its parent may not wait for it yet.
                running.stamp()?;
                running.cpu()?;
                running.release(1)?;
                running.stamp()?;
            }
            running.hear()?
        }
        Work::Waiting => {
            running.next()?;
            running.next()?;
            for _ in 0..case.n {
                running.one_exit()?;
            }
            running.hear()?
        }
        Work::Abandoned => {
            running.next()?;
            let last = running.next()?;
            for _ in 0..case.n {
                running.one_exit()?;
            }
            last
        }
        Work::Dead => {
            for pid in running.next()?.pids {
                outside::until("a child ends", PATIENCE, || outside::has_ended(pid))?;
            }
            running.next()?
        }
        _ => running.next()?,
    };
    running.end()?;
    Ok(Run { polls: last.polls - first.polls, allocations: last.allocations - first.allocations })
}

/// A file that goes when it is dropped.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("bench-{}.log", process::id())))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}
