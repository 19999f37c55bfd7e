//! What runs a case.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::places::Place;
use crate::{INIT, ROLE};

/// What takes in the strangers of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// The case's own process, by `Subreaper` or for comparison not at all.
    Itself,
    /// The example, by its very code.
    Example,
    Tini,
    Catatonit,
}

impl Init {
    pub(crate) const OTHERS: [Self; 3] = [Self::Example, Self::Tini, Self::Catatonit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Example => "init",
            Self::Tini => "tini",
            Self::Catatonit => "catatonit",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Itself | Self::Example => true,
            Self::Tini | Self::Catatonit => found(self.name()).is_some(),
        }
    }

    /// The command line that has it run `role`; `this` names this program.
    pub(crate) fn runs(
        self,
        role: &str,
        place: Place,
        to_group: bool,
        this: &str,
    ) -> Vec<OsString> {
        let mut line: Vec<&str> = match self {
            Self::Itself => vec![],
            Self::Example => vec![this, INIT],
            Self::Tini => vec!["tini"],
            Self::Catatonit => vec!["catatonit"],
        };
        if self == Self::Tini && !place.is_pid_1() {
            line.push("-s");
        }
        if to_group {
            line.push("-g");
        }
        if self != Self::Itself {
            line.push("--");
        }
        line.extend([this, ROLE, role]);
        line.into_iter().map(OsString::from).collect()
    }
}

/// Where the shell would find `program`.
fn found(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
