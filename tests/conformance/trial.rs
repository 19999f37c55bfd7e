//! A trial: one body on one runtime under one profile, in a process of its own.
//!
//! The harness's side starts the helper, waits for it and shows what it said. The helper's side
//! makes the profile, warms the runtime up, runs the body, and looks for what was left behind.

use std::env;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::bodies::{self, Body};
use crate::helper::end_of;
use crate::leaks::Snapshot;
use crate::profiles::{Facts, Profile};
use crate::runtimes::{AsyncStd, Own, Runtime, Smol, TokioCurrent, TokioMulti};

/// The environment variable that makes this program a helper; it has the trial's name.
pub(crate) const HELPS_WITH: &str = "CONFORMANCE_TRIAL";

pub(crate) struct Trial {
    runtime: &'static str,
    profile: Profile,
    body: Body,
}

impl Trial {
    /// The longest first, so that they do not end alone.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        all.extend(Self::on::<TokioCurrent>());
        all.extend(Self::on::<TokioMulti>());
        all.extend(Self::on::<Smol>());
        all.extend(Self::on::<AsyncStd>());
        all.extend(Self::on::<Own>());
        all.sort_by_key(|trial| !trial.body.is_long);
        all
    }

    fn on<R: Runtime>() -> impl Iterator<Item = Self> {
        Profile::ALL.into_iter().flat_map(|profile| {
            let bodies = bodies::all::<R>().into_iter().filter(move |body| body.runs_on(profile));
            bodies.map(move |body| Self { runtime: R::NAME, profile, body })
        })
    }

    pub(crate) fn name(&self) -> String {
        format!("{}::{}::{}", self.runtime, self.profile.name(), self.body.name)
    }

    /// The harness's side.
    pub(crate) fn into_test(self, facts: &Facts) -> libtest_mimic::Trial {
        let ignored = !facts.can_show(self.profile, &self.body);
        let name = self.name();
        let limit = seconds() * if self.body.is_long { 5 } else { 1 };
        libtest_mimic::Trial::test(name.clone(), move || run_helper(&name, limit))
            .with_ignored_flag(ignored)
    }

    /// The helper's side. A panic is the trial's failure.
    pub(crate) fn help(&self) {
        self.profile.enter().expect("the harness has tried the filters");
        assert!(self.profile.is_entered(), "the filters do not do what they should");
        (self.body.before)();
        (self.body.warm_up)();
        let before = Snapshot::take();
        if let Err(error) = (self.body.run)() {
            panic!("the body ended with an error: {error} ({error:?})");
        }
        before.wait_until_nothing_is_left();
    }
}

/// How long a trial may take; the long ones have more of it.
fn seconds() -> Duration {
    let seconds = env::var("CONFORMANCE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

fn run_helper(name: &str, limit: Duration) -> Result<(), Failed> {
    // Not a pipe: a child left behind would hold it open, and the harness would wait for that.
    let mut said = File::from(memfd_create("helper", MemfdFlags::CLOEXEC)?);
    let mut helper = Command::new(env::current_exe()?)
        .env(HELPS_WITH, name)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        // To be ended with all that it has started.
        .process_group(0)
        .spawn()?;
    let end = end_of(&mut helper, limit)?;
    if end.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let end = end.map_or("did not end in time".into(), |status| status.to_string());
    let mut text = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut text)?;
    Err(format!("the helper: {end}\n{}", String::from_utf8_lossy(&text)).into())
}
