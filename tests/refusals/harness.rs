//! The harness's side: traces each scenario, and has a helper run each case.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::calls::Call;
use crate::case::Case;
use crate::help as helping;
use crate::helper::end_of;
use crate::runtimes::Setting;
use crate::scenarios;
use crate::table::Table;

/// The environment variable that makes this program a helper; it says what the helper is to do.
pub(crate) const HELPS_WITH: &str = "REFUSALS_HELPER";

/// What a helper prints that has taken too long. On a very busy machine it may have got no processor:
/// it counts only if it is so again.
const TIMES: [&str; 3] = ["the helper: hangs", "waits until the call works", "of processor time"];

/// What a scenario calls on a runtime: each call, and how often.
#[derive(Debug)]
pub(crate) struct Traced {
    setting: Setting,
    scenario: &'static str,
    calls: Vec<(i64, u32)>,
}

/// Whether this machine lets a process have the listener of a seccomp filter.
pub(crate) fn has_listeners() -> bool {
    help(helping::PROBE).is_ok_and(|(ok, _)| ok)
}

/// Traces all scenarios. An error says why this machine cannot.
pub(crate) fn trace_all() -> Result<Vec<Traced>, Failed> {
    let settings = Setting::ALL.into_iter();
    let all: Vec<_> = settings
        .flat_map(|setting| scenarios::names().map(move |scenario| (setting, scenario)))
        .collect();
    let halves = all.chunks(all.len().div_ceil(2));
    let traced = thread::scope(|scope| {
        let threads = halves.map(|half| scope.spawn(|| half.iter().map(trace).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it passes errors on")).collect()
    });
    let traced: Vec<Result<Traced, Failed>> = traced;
    traced.into_iter().collect()
}

fn trace((setting, scenario): &(Setting, &'static str)) -> Result<Traced, Failed> {
    let (ok, text) = help(&format!("{} {scenario} trace", setting.name()))?;
    if !ok {
        return Err(text.into());
    }
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let calls = pairs.filter_map(|(call, count)| Some((call.parse().ok()?, count.parse().ok()?)));
    Ok(Traced { setting: *setting, scenario, calls: calls.collect() })
}

/// The trials of one scenario on one runtime: one for each call.
pub(crate) fn trials(traced: &Traced, table: &Arc<Mutex<Table>>) -> Vec<Trial> {
    let Traced { setting, scenario, .. } = *traced;
    let mut trials = Vec::new();
    for (number, count) in &traced.calls {
        let Ok(call) = Call::numbered(*number) else { continue };
        if !call.fails_in(scenario) {
            continue;
        }
        let (table, count) = (Arc::clone(table), *count);
        let name = format!("{}::{scenario}::{}", setting.name(), call.name);
        trials.push(Trial::test(name, move || {
            let (refusals, others) = call.cases(setting, count);
            let mut batches: Vec<_> = refusals.into_iter().map(|case| vec![case]).collect();
            batches.push(others);
            for batch in batches {
                sweep(setting, scenario, call, batch, &table)?;
            }
            Ok(())
        }));
    }
    trials
}

/// Each call of a fresh trace has a row in the table, or a reason why there is none.
pub(crate) fn every_call_has_a_row(traced: &[Traced]) -> Result<(), Failed> {
    let mut missing = BTreeSet::new();
    for (number, _) in traced.iter().flat_map(|traced| &traced.calls) {
        match Call::numbered(*number) {
            Ok(call) if !Table::kept_has(call.name) => {
                missing.insert(format!("RESULTS.md has no row for {}", call.name));
            }
            Err(Err(number)) => {
                missing.insert(format!("calls.rs does not have system call {number}"));
            }
            Ok(_) | Err(Ok(_)) => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(missing.into_iter().collect::<Vec<_>>().join("\n").into())
}

/// Has helpers run the cases; a new one goes on after one whose runtime is broken.
fn sweep(
    setting: Setting,
    scenario: &str,
    call: &Call,
    mut cases: Vec<Case>,
    table: &Mutex<Table>,
) -> Result<(), Failed> {
    let mut was_slow = false;
    while !cases.is_empty() {
        let names: Vec<_> = cases.iter().map(Case::to_string).collect();
        let what = format!("{} {scenario} {} {}", setting.name(), call.name, names.join(" "));
        let (ok, text) = help(&what)?;
        let mut outcomes = BTreeMap::new();
        for (case, outcome) in text.lines().filter_map(|line| line.split_once(' ')) {
            if let Some(case) = case.strip_prefix("case=").and_then(|case| case.parse().ok()) {
                outcomes.insert(case, outcome);
            }
        }
        if !ok || outcomes.is_empty() {
            if !was_slow && TIMES.iter().any(|time| text.contains(time)) {
                was_slow = true;
                continue;
            }
            return Err(format!("REFUSALS_HELPER={what:?}\n{text}").into());
        }
        for (case, outcome) in &outcomes {
            let is_right = ["right", "not reached"].contains(outcome);
            if !is_right && call.is_of_library() && Table::kept_is_right(call.name, *case) {
                let error = format!("{case}: {outcome}, where RESULTS.md has only right");
                return Err(format!("REFUSALS_HELPER={what:?}\n{error}\n{text}").into());
            }
        }
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        for (case, outcome) in &outcomes {
            table.add(setting, scenario, call.name, *case, outcome);
        }
        drop(table);
        cases.retain(|case| !outcomes.contains_key(case));
    }
    Ok(())
}

/// Has a helper do `what`. Whether it has succeeded, and what it has printed.
fn help(what: &str) -> io::Result<(bool, String)> {
    // Not a pipe: a child left behind would hold it open, and the harness would wait for that.
    let mut printed = File::from(memfd_create("helper", MemfdFlags::CLOEXEC)?);
    let mut helper = Command::new(env::current_exe()?)
        .env(HELPS_WITH, what)
        .stdin(Stdio::null())
        .stdout(printed.try_clone()?)
        .stderr(printed.try_clone()?)
        // To be killed with all that it has started.
        .process_group(0)
        .spawn()?;
    let status = end_of(&mut helper, Duration::from_secs(30))?;
    let mut text = Vec::new();
    printed.rewind()?;
    printed.read_to_end(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if status.is_some_and(|status| status.success()) {
        return Ok((true, text));
    }
    let end = status.map_or("hangs".into(), |status| status.to_string());
    text = format!("{text}the helper: {end}\n");
    Ok((false, text))
}
