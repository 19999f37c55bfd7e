//! The cases: what a main child does, and what comes of it.

mod grace;
mod guarding;
mod options;
mod orphans;
mod promise;
mod signals;
mod status;
mod terminal;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::inits::Init;
use crate::places::Place;
use crate::processes::state_and_parent;
use crate::{ROLE, sys};

/// What one init does in one situation.
///
/// The body runs as the init's command, or as what is to guard itself. It panics if it does not
/// find what it should; the init then ends with 101.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    body: fn(),
    pub(crate) inits: &'static [Init],
    /// How the init is to end.
    pub(crate) end: End,
    /// What is to be found in what was said.
    pub(crate) says: &'static str,
    /// What must not be found in it.
    pub(crate) never_says: Option<&'static str>,
    /// Whether the init forwards signals to the whole group.
    pub(crate) to_group: bool,
    /// Further options of the init.
    pub(crate) options: &'static [&'static str],
    /// Only there; everywhere if there is none.
    only: Option<Only>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    /// By this signal, or as PID 1 and by some peers with 128 and its number.
    Signal(i32),
    GuardKilled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Pid1,
    Subreaper,
}

pub(crate) fn all() -> Vec<Case> {
    [
        status::all(),
        signals::all(),
        orphans::all(),
        promise::all(),
        guarding::all(),
        grace::all(),
        options::all(),
        terminal::all(),
    ]
    .concat()
}

/// Whatever happens, nothing stays for longer, in seconds. It is handed down by exec, not by fork.
pub(crate) const LONGEST_LIFE: u32 = 150;

/// Plays a role: the body of a case, or what a body starts.
pub(crate) fn play(role: &str) {
    sys::die_after(LONGEST_LIFE);
    sys::ignore_none();
    let case = all().into_iter().find(|case| case.name == role);
    match case
        .map(|case| case.body)
        .or_else(|| signals::part(role))
        .or_else(|| grace::part(role))
        .or_else(|| options::part(role))
        .or_else(|| status::part(role))
        .or_else(|| terminal::part(role))
    {
        Some(body) => body(),
        None => panic!("there is no role {role}"),
    }
}

impl Case {
    /// Of the example and its peers.
    fn of_inits(name: &'static str, body: fn()) -> Self {
        Self { inits: &Init::OTHERS, ..Self::of_itself(name, body) }
    }

    /// Of a process that guards itself, or is to.
    fn of_itself(name: &'static str, body: fn()) -> Self {
        Self {
            name,
            body,
            inits: &[Init::Itself],
            end: End::Code(0),
            says: "",
            never_says: None,
            to_group: false,
            options: &[],
            only: None,
        }
    }

    /// Of these alone: the others do something else, as the example's documentation says.
    fn by(self, inits: &'static [Init]) -> Self {
        Self { inits, ..self }
    }

    fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }

    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn never_says(self, words: &'static str) -> Self {
        Self { never_says: Some(words), ..self }
    }

    fn options(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    fn to_group(self) -> Self {
        Self { to_group: true, ..self }
    }

    fn only(self, only: Only) -> Self {
        Self { only: Some(only), ..self }
    }

    pub(crate) fn runs_in(&self, place: Place) -> bool {
        match self.only {
            None => true,
            Some(Only::Pid1) => place.is_pid_1(),
            Some(Only::Subreaper) => !place.is_pid_1(),
        }
    }
}

/// Starts this program in a role, and waits until that says `ready`. Its standard error is this
/// process's, where it may speak after this one has exited.
fn start(role: &str) -> Child {
    start_with(role, |_| ())
}

fn start_with(role: &str, prepare: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new("/proc/self/exe");
    command.args([ROLE, role]).stdin(Stdio::null());
    prepare(&mut command);
    start_command(&mut command)
}

fn start_command(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it is this program");
    let mut line = String::new();
    let said = child.stdout.as_mut().expect("it was piped");
    BufReader::new(said).read_line(&mut line).expect("it is a pipe");
    assert_eq!(line, "ready\n", "it did not start");
    child
}

fn is_in_state(pid: i32, state: char) -> bool {
    state_and_parent(pid).is_some_and(|(now, _)| now == state)
}
