//! The helper: a process that runs one scenario with one system call under test, case by case.
//!
//! After each case it looks for what must not be: a child that is left, processor time that was
//! spun away, a step that goes wrong. It prints a line for each case that has passed, and panics at
//! the first that has not.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, getppid, waitid};
use rustix::time::{ClockId, clock_gettime};

use crate::calls::{self, Call};
use crate::case::{Case, Occurrence};
use crate::left::Snapshot;
use crate::runtimes::Setting;
use crate::supervisor::{self, Supervisor};
use crate::sys;

/// Errors of steps, and panics of the runtime's or the standard library's, in the order in which
/// they came.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whether the case is one that a filter could make.
static IS_REFUSAL: AtomicBool = AtomicBool::new(false);
/// The case that runs, for the thread that looks for those that hang.
static RUNNING: Mutex<Option<(Case, Instant)>> = Mutex::new(None);
/// Where our own code has panicked.
static FAULT: Mutex<Option<String>> = Mutex::new(None);

/// Notes that a step has failed, and ends the injection: from now on all works.
pub(crate) fn note_error(step: &str, error: &dyn std::fmt::Display) {
    supervisor::disarm();
    eprintln!("{step}: {error}");
    note(format!("error from {step}"));
}

/// What a step returns that fails again although all calls work.
pub(crate) fn still_fails<T>(step: &str, error: impl Into<io::Error>) -> io::Result<T> {
    let error = error.into();
    assert!(IS_REFUSAL.load(SeqCst), "{step} does not recover: {error}");
    note(format!("error from {step}"));
    note("which is remembered".into());
    Err(error)
}

fn note(what: String) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    if !notes.contains(&what) {
        notes.push(what);
    }
}

/// Panics of these crates are faults; others are the runtime's.
fn note_panic(info: &PanicHookInfo<'_>) {
    let file = info.location().map_or("", |location| location.file());
    // Nothing can be printed while `write` fails.
    supervisor::disarm();
    eprintln!("{info}");
    if file.starts_with('/') && !file.contains("/crates/") && !file.contains("/tests/") {
        note("panic of the runtime".into());
    } else {
        FAULT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(info.to_string());
    }
}

/// Asks only whether a helper can do anything.
pub(crate) const PROBE: &str = "probe";

/// Does what the harness asks for.
pub(crate) fn help(what: &str) {
    if what == PROBE {
        let started = Supervisor::start(Some(libc::SYS_getppid));
        started.expect("there are seccomp listeners");
        // Is answered: a kernel before 5.5 does not know how to let it be made.
        assert!(getppid().is_some(), "the call is made");
        return;
    }
    let words: Vec<_> = what.split(' ').collect();
    let [setting, scenario, call, cases @ ..] = &words[..] else { panic!("{what}?") };
    let setting = Setting::named(setting).expect("there is such a setting");
    let helper = Helper { setting, scenario };
    if *call == "trace" {
        helper.trace();
    } else {
        let cases: Vec<_> = cases.iter().map(|case| case.parse().expect("a case")).collect();
        helper.sweep(call, &cases);
    }
}

struct Helper<'a> {
    setting: Setting,
    scenario: &'a str,
}

impl Helper<'_> {
    /// Prints each call that the scenario makes, and how often.
    fn trace(&self) {
        let supervisor = self.enter(None);
        let run = self.setting.prepare(self.scenario);
        supervisor.count();
        run().expect("the scenario passes without a failure");
        wait_until_done(LATE);
        supervisor::disarm();
        for (number, count) in supervisor::counts() {
            println!("{number} {count}");
        }
    }

    /// Runs the cases.
    fn sweep(&self, call: &str, cases: &[Case]) {
        let call = Call::named(call).expect("it is swept");
        let can_hang = call.wakes_runtimes(self.setting, self.scenario);
        thread::spawn(move || end_if_the_runtime_is_broken(can_hang));
        let supervisor = self.enter(Some(call.number()));
        panic::set_hook(Box::new(note_panic));
        drop(self.setting.prepare(self.scenario));
        let before = Snapshot::take();
        for case in cases {
            let outcome = self.run(&supervisor, call, *case);
            println!("case={case} {outcome}");
            let _ = io::stdout().flush();
            if outcome.contains("panic") {
                // The runtime may be broken: the harness goes on with another process.
                return;
            }
        }
        before.wait_until_nothing_is_left();
    }

    fn enter(&self, call: Option<i64>) -> Supervisor {
        sys::block_only_usr1();
        thread::spawn(look_for_children);
        if !self.setting.has_pidfds {
            calls::refuse_pidfds().expect("the harness has tried it");
        }
        Supervisor::start(call).expect("the harness has tried it")
    }

    fn run(&self, supervisor: &Supervisor, call: &Call, case: Case) -> String {
        NOTES.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let run = self.setting.prepare(self.scenario);
        IS_REFUSAL.store(case.errno.is_refusal(), SeqCst);
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some((case, Instant::now()));
        let time = processor_time();
        supervisor.arm(case.errno.0, case.occurrence);
        let _ = panic::catch_unwind(AssertUnwindSafe(run));
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let meanwhile = wait_until_done(SOON);
        let injected = supervisor::disarm();
        if injected.took_too_long {
            let is_theirs = call.is_repeated_by_others(self.setting, self.scenario);
            assert!(is_theirs, "{case}: waits until the call works");
            note("others wait until the call works".into());
        }
        assert!(
            meanwhile == Children::Reaped || call.manages_children() || injected.took_too_long,
            "{case}: while it fails there is a child: {meanwhile:?}"
        );
        match meanwhile {
            Children::Reaped => {}
            Children::Zombie => note("a zombie until the call works".into()),
            Children::Running => note("a child runs on".into()),
        }
        // Longer than the longest pause of the queue.
        if wait_until_done(3 * SOON) == Children::Zombie {
            note("a zombie until the next call of the library".into());
        }
        let spent = processor_time().saturating_sub(time);
        let mut is_broken = notes().iter().any(|note| note.contains("panic"));
        let before = notes();
        if !is_broken {
            // The call works again, and so does everything else.
            let run = self.setting.prepare(self.scenario);
            let _ = panic::catch_unwind(AssertUnwindSafe(run));
            is_broken = notes().iter().any(|note| note.contains("panic"));
        }
        pidfd_reaper::orphans().retry();
        let left = wait_until_done(LATE);
        assert!(left == Children::Reaped, "{case}: afterwards there is a child: {left:?}");
        let fault = FAULT.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(fault.is_none(), "{case}: {}", fault.unwrap_or_default());
        let all = notes();
        let is_remembered = all.iter().any(|note| note.contains("remembered"));
        assert!(all == before || is_broken || is_remembered, "{case}: afterwards: {all:?}");
        assert!(
            spent < MOST || injected.took_too_long,
            "{case}: {spent:?} of processor time, {injected:?}"
        );
        if !sys::only_usr1_is_blocked() {
            // The C library's own spawn does not look whether it could block signals.
            assert!(self.scenario == "std" || is_broken, "{case}: the signal mask has changed");
            note("the C library changes the signal mask".into());
            sys::block_only_usr1();
        }
        let all = notes();
        if injected.failed == 0 {
            return "not reached".into();
        }
        if case.occurrence == Occurrence::Every {
            eprintln!("{case}: {} calls have failed", injected.failed);
        }
        if all.is_empty() { "right".into() } else { all.join(", ") }
    }
}

/// How long a case's children may take, after it.
const SOON: Duration = Duration::from_millis(500);
/// Longer than a child lives that was not killed.
const LATE: Duration = Duration::from_secs(7);
/// The processor time of a case: some milliseconds, in a debug build on a busy machine more.
const MOST: Duration = Duration::from_millis(400);

/// After a panic of the runtime's that a waker of it has raised, and after a wake-up that it has
/// missed, what waits may never be woken. This ends the process then, and the children with it.
fn end_if_the_runtime_is_broken(can_hang: bool) {
    loop {
        thread::sleep(Duration::from_millis(100));
        let running = *RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((case, since)) = running else { continue };
        let has_panicked = notes().iter().any(|note| note.contains("panic"));
        if since.elapsed() > 4 * SOON && has_panicked {
            println!("case={case} panic of the runtime, which hangs then");
            process::exit(0);
        }
        if since.elapsed() > LATE && can_hang {
            println!("case={case} the runtime misses a wake-up");
            process::exit(0);
        }
    }
}

/// What is left of the children of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Children {
    Reaped,
    Zombie,
    Running,
}

const REAPED: u32 = 0;
const ZOMBIE: u32 = 1;
const RUNNING_CHILD: u32 = 2;
const ASKED: u32 = 3;
/// What `look_for_children` has seen, or that it is to look.
static SEEN: AtomicU32 = AtomicU32::new(REAPED);

/// A thread without the filter: what it calls does not fail.
fn look_for_children() {
    loop {
        thread::sleep(Duration::from_millis(1));
        if SEEN.load(SeqCst) != ASKED {
            continue;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let seen = match waitid(WaitId::All, options) {
            Ok(None) => RUNNING_CHILD,
            // An orphan may be counted a moment longer.
            Err(Errno::CHILD) if pidfd_reaper::orphans().is_empty() => REAPED,
            Ok(Some(_)) | Err(_) => ZOMBIE,
        };
        SEEN.store(seen, SeqCst);
    }
}

fn children() -> Children {
    SEEN.store(ASKED, SeqCst);
    loop {
        thread::sleep(Duration::from_millis(1));
        match SEEN.load(SeqCst) {
            REAPED => return Children::Reaped,
            ZOMBIE => return Children::Zombie,
            RUNNING_CHILD => return Children::Running,
            _ => {}
        }
    }
}

/// Waits for up to `limit` until all children are reaped, and returns what is left of them.
fn wait_until_done(limit: Duration) -> Children {
    wait_until(limit, || children() == Children::Reaped);
    children()
}

fn notes() -> Vec<String> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Whether it is done within `limit`.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}
