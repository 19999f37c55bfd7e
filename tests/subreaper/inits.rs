//! What runs a case.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::cases::Case;
use crate::places::Place;
use crate::{INIT, ROLE};

/// What adopts the orphans of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// The case's own process, by `Subreaper` or for comparison not at all.
    Itself,
    /// The example, by its very code.
    Example,
    Tini,
    Catatonit,
    /// It has no subreaper mode: as PID 1 only.
    Dumb,
}

impl Init {
    pub(crate) const OTHERS: [Self; 3] = [Self::Example, Self::Tini, Self::Catatonit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Example => "init",
            Self::Tini => "tini",
            Self::Catatonit => "catatonit",
            Self::Dumb => "dumb-init",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Itself | Self::Example => true,
            Self::Tini | Self::Catatonit | Self::Dumb => found(self.name()).is_some(),
        }
    }

    pub(crate) fn runs_in(self, place: Place) -> bool {
        self != Self::Dumb || place.is_pid_1()
    }

    /// Whether it dies of the signal that its command died of. Nothing can as PID 1.
    pub(crate) fn dies_of_signals(self, place: Place) -> bool {
        matches!(self, Self::Itself | Self::Example) && !place.is_pid_1()
    }

    /// The command line with which it runs the case; `this` names this program.
    pub(crate) fn command_line(self, case: &Case, place: Place, this: &str) -> Vec<OsString> {
        let mut line: Vec<&str> = match self {
            Self::Itself => vec![],
            Self::Example => vec![this, INIT],
            Self::Tini => vec!["tini"],
            Self::Catatonit => vec!["catatonit"],
            Self::Dumb => vec!["dumb-init"],
        };
        if self == Self::Tini && !place.is_pid_1() {
            line.push("-s");
        }
        // dumb-init does so without an option.
        if case.to_group && self != Self::Dumb {
            line.push("-g");
        }
        line.extend(case.options);
        if self != Self::Itself {
            line.push("--");
        }
        line.extend([this, ROLE, case.name]);
        line.into_iter().map(OsString::from).collect()
    }
}

/// Where the shell would find `program`.
fn found(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
