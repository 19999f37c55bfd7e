//! How each work is measured.

use std::hint;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::outside::{self, entries};
use super::running::Running;
use super::tracer::Tracer;
use super::{Case, Figures};
use crate::contender::Name;
use crate::stats::{self, median, percentile};
use crate::work::Work;

/// So many exits come one at a time at most; the others come at once.
const ONE_AT_A_TIME: usize = 200;
/// Who has not reaped after that will not.
const NEVER: Duration = Duration::from_millis(100);

pub(super) fn measure(name: Name, case: Case) -> io::Result<Figures> {
    match case.work {
        Work::OneAfterAnother
        | Work::Gated
        | Work::Spawn(..)
        | Work::Throughput(_)
        | Work::ShortOutput => one_after_another(name, case),
        Work::Latency => latency(name, case),
        Work::Waiting => waiting(name, case),
        Work::Abandoned => abandoned(name, case),
        Work::IdleRuntime => idle_runtime(name, case),
        Work::Killed => killed(name, case),
        Work::Dead => dead(name, case),
        Work::Output => output(name, case),
        Work::Traced => traced(name, case),
    }
}

fn one_after_another(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, case)?;
    running.hear()?;
    let (cpu, start) = (running.cpu()?, Instant::now());
    running.next()?;
    let wall = micros(start.elapsed());
    let cpu = running.cpu()? - cpu;
    Ok(vec![("CPU µs/child", cpu / case.children()), ("wall µs/child", wall / case.children())])
}

fn latency(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, case)?;
    running.hear()?;
    let returns = running.next()?.nanos;
    let mut latencies = Vec::new();
    for returned in returns {
        latencies.push(returned.saturating_sub(running.stamp()?.nanos) as f64 / 1e3);
    }
    let part = |part| percentile(latencies.iter().copied(), part).unwrap_or(f64::NAN);
    Ok(vec![("median µs", part(50)), ("p90 µs", part(90))])
}

/// Waits for one more than asked for, which ends last and is not counted: the contender does not
/// come back from its wait before all was measured.
fn waiting(name: Name, case: Case) -> io::Result<Figures> {
    let n = case.children();
    let mut running = Running::start(name, Case { n: case.n + 1, ..case })?;
    let first = running.hear()?;
    let start = running.cpu()?;
    let spawned = running.next()?;
    let held = running.cpu()?;
    let ready = running.next()?;
    let waiting = running.cpu()?;
    let (threads, fds) = (entries(running.pid(), "task")?, entries(running.pid(), "fd")?);

    let exits = exits(&mut running, case.n, waiting)?;
    running.release(1)?;
    let done = running.hear()?;

    let each = |from: u64, to: u64| (to as f64 - from as f64) / (n + 1.0);
    Ok(vec![
        ("one at a time µs/exit", exits.one_at_a_time),
        ("at once µs/exit", exits.at_once),
        ("spawn µs", (held - start) / n),
        ("first poll µs", (waiting - held) / n),
        ("heap handle B", each(first.bytes_in_use, spawned.bytes_in_use)),
        ("heap waiting B", each(first.bytes_in_use, ready.bytes_in_use)),
        ("allocations", each(first.allocations, done.allocations)),
        ("polls", each(first.polls, done.polls)),
        ("sleeps", each(ready.sleeps, done.sleeps)),
        ("fds", fds as f64),
        ("threads", threads as f64),
    ])
}

fn abandoned(name: Name, case: Case) -> io::Result<Figures> {
    let n = case.children();
    let mut running = Running::start(name, case)?;
    running.hear()?;
    running.next()?;
    let held = running.cpu()?;
    let dropped = running.next()?.nanos[0];
    let idle = running.cpu()?;
    let threads = entries(running.pid(), "task")?;
    let exits = exits(&mut running, case.n, idle)?;
    Ok(vec![
        ("one at a time µs/exit", exits.one_at_a_time),
        ("at once µs/exit", exits.at_once),
        ("drop µs", dropped as f64 / 1e3 / n),
        ("drop and after µs", (idle - held) / n),
        ("threads", threads as f64),
    ])
}

/// What one exit costs.
struct Exits {
    one_at_a_time: f64,
    at_once: f64,
}

/// Lets the first of `n` children end one at a time, and the others at once.
fn exits(running: &mut Running, n: u64, cpu: f64) -> io::Result<Exits> {
    let all = usize::try_from(n).map_err(io::Error::other)?;
    let first = (all / 2).min(ONE_AT_A_TIME);
    for _ in 0..first {
        running.one_exit()?;
    }
    let between = running.cpu()?;
    running.exits_at_once(all - first)?;
    let end = running.cpu()?;
    Ok(Exits {
        one_at_a_time: (between - cpu) / first as f64,
        at_once: (end - between) / (all - first) as f64,
    })
}

/// Each trial in a process of its own: with the first orphan all is different.
fn idle_runtime(name: Name, case: Case) -> io::Result<Figures> {
    let mut latencies = Vec::new();
    for _ in 0..case.n {
        let mut running = Running::start(name, Case { n: 1, ..case })?;
        running.hear()?;
        running.next()?;
        running.next()?;
        running.cpu()?;
        running.release(1)?;
        let child = running.stamp()?;
        while !outside::is_reaped(child.pid) && stats::now() < child.nanos + nanos(NEVER) {
            hint::spin_loop();
        }
        let reaped = outside::is_reaped(child.pid);
        let latency = stats::now().saturating_sub(child.nanos) as f64 / 1e3;
        latencies.push(if reaped { latency } else { f64::INFINITY });
    }
    let never = latencies.iter().filter(|latency| latency.is_infinite()).count();
    let middle = median(latencies).unwrap_or(f64::NAN);
    Ok(vec![("median µs", middle), ("never reaped", never as f64), ("trials", case.children())])
}

fn killed(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, case)?;
    running.hear()?;
    let pids = running.next()?.pids;
    let held = running.cpu()?;
    let dropped = running.next()?.nanos[0];
    outside::all_reaped(&pids)?;
    let end = running.cpu()?;
    let n = case.children();
    Ok(vec![("CPU µs/child", (end - held) / n), ("drop µs", dropped as f64 / 1e3 / n)])
}

fn dead(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, case)?;
    running.hear()?;
    let start = running.cpu()?;
    let pids = running.next()?.pids;
    for pid in pids {
        outside::until("a child ends", NEVER * 100, || outside::has_ended(pid))?;
    }
    let spawned = running.cpu()?;
    running.next()?;
    let end = running.cpu()?;
    let n = case.children();
    Ok(vec![
        ("await CPU µs/child", (end - spawned) / n),
        ("with its spawn µs/child", (end - start) / n),
    ])
}

fn output(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, case)?;
    running.hear()?;
    let before = running.cpu()?;
    let wall = running.next()?.nanos[0] as f64 / 1e6;
    let cpu = (running.cpu()? - before) / 1e3;
    Ok(vec![("wall ms", wall), ("CPU ms", cpu)])
}

fn traced(name: Name, case: Case) -> io::Result<Figures> {
    let mut running = Running::start(name, Case { n: 1, ..case })?;
    running.hear()?;
    let pid = running.next()?.pids[0];
    let ready = running.next()?;
    let before = running.cpu()?;
    let tracer = Tracer::of(pid)?;
    running.release(1)?;
    running.stamp()?;
    thread::sleep(Duration::from_secs(1));
    drop(tracer);
    let done = running.hear()?;
    let cpu = (running.cpu()? - before) / 1e3;
    Ok(vec![("polls", (done.polls - ready.polls) as f64), ("CPU ms", cpu)])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
