//! A trial: one case, run by one init in one place.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

use crate::cases::{self, Case, End};
use crate::helper::end_of;
use crate::inits::Init;
use crate::places::Place;

/// How long a trial may take. Its processes end themselves a little later ([`cases::play`]).
const LIMIT: Duration = Duration::from_secs(100);

pub(crate) struct Trial {
    case: Case,
    init: Init,
    place: Place,
}

pub(crate) fn all() -> Vec<Trial> {
    let mut all = Vec::new();
    for case in cases::all() {
        for &init in case.inits {
            let places = Place::ALL.into_iter();
            let places = places.filter(|place| case.runs_in(*place) && init.runs_in(*place));
            all.extend(places.map(|place| Trial { case, init, place }));
        }
    }
    all
}

impl Trial {
    pub(crate) fn into_test(self) -> libtest_mimic::Trial {
        let name = format!("{}::{}::{}", self.init.name(), self.place.name(), self.case.name);
        let can_be_had = self.init.is_installed() && self.place.can_be_had();
        libtest_mimic::Trial::test(name, move || self.run()).with_ignored_flag(!can_be_had)
    }

    fn run(&self) -> Result<(), Failed> {
        let line = self.init.command_line(&self.case, self.place, this());
        let (status, said) = run(self.place, line)?;
        let ended_well = match self.case.end {
            End::Code(code) => status.and_then(|status| status.code()) == Some(code),
            End::Signal(signal) if self.init.dies_of_signals(self.place) => {
                status.and_then(|status| status.signal()) == Some(signal)
            }
            End::Signal(signal) => status.and_then(|status| status.code()) == Some(128 + signal),
            End::GuardKilled => status.and_then(|status| status.signal()) == Some(9),
        };
        // The last to speak may outlive the one that was waited for.
        let deadline = Instant::now() + LIMIT;
        let mut text = said()?;
        while ended_well && !text.contains(self.case.says) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
            text = said()?;
        }
        let never = self.case.never_says.filter(|words| text.contains(*words));
        if ended_well && text.contains(self.case.says) && never.is_none() {
            return Ok(());
        }
        let status = status.map_or("did not end in time".into(), |status| status.to_string());
        Err(format!("{status}, not as {:?}\n{text}", self.case.end).into())
    }
}

/// The status, if it ended in time, and what reads all that was said until then.
fn run(
    place: Place,
    line: Vec<OsString>,
) -> io::Result<(Option<ExitStatus>, impl Fn() -> io::Result<String>)> {
    // Not a pipe: a process that is left behind would hold it open.
    let said = File::from(memfd_create("said", MemfdFlags::CLOEXEC)?);
    let mut child = place
        .start(line)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .process_group(0)
        .spawn()?;
    let status = end_of(&mut child, LIMIT)?;
    // Opened again, since those who write go on at the offset of this one.
    let read = move || fs::read_to_string(format!("/proc/self/fd/{}", said.as_raw_fd()));
    Ok((status, read))
}

/// This program, under a name that everyone can follow who inherits its descriptor: its folder may
/// be closed to others.
fn this() -> &'static str {
    static THIS: OnceLock<String> = OnceLock::new();
    THIS.get_or_init(|| {
        let file = open("/proc/self/exe", OFlags::RDONLY, Mode::empty()).expect("it runs");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // For as long as the harness runs.
        std::mem::forget(file);
        path
    })
}
