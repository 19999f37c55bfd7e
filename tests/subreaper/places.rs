//! Where a case runs: as which process, and as which user.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{child_subreaper, getuid};

/// Someone who may do nothing: the number that the kernel has for those it does not know.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Subreaper,
    Pid1,
    /// As above, with the rights of nobody, if the harness is root.
    SubreaperAsNobody,
    /// By a user namespace.
    Pid1AsNobody,
}

impl Place {
    pub(crate) const ALL: [Self; 4] =
        [Self::Subreaper, Self::Pid1, Self::SubreaperAsNobody, Self::Pid1AsNobody];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Subreaper => "subreaper",
            Self::Pid1 => "pid_1",
            Self::SubreaperAsNobody => "subreaper_as_nobody",
            Self::Pid1AsNobody => "pid_1_as_nobody",
        }
    }

    pub(crate) fn is_pid_1(self) -> bool {
        matches!(self, Self::Pid1 | Self::Pid1AsNobody)
    }

    fn is_nobody(self) -> bool {
        matches!(self, Self::SubreaperAsNobody | Self::Pid1AsNobody)
    }

    /// A command that starts the command line there.
    pub(crate) fn start(self, line: Vec<OsString>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.is_pid_1() {
            words.extend(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"].map(Into::into),
            );
            if self.is_nobody() || !getuid().is_root() {
                words.extend(["--user", "--map-root-user"].map(Into::into));
            }
        }
        words.extend(line);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if self.is_nobody() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Asked once for each, since it takes a process.
    pub(crate) fn can_be_had(self) -> bool {
        static ANSWERS: [OnceLock<bool>; 4] = [const { OnceLock::new() }; 4];
        *ANSWERS[self as usize].get_or_init(|| {
            if self.is_nobody() && !getuid().is_root() {
                return false;
            }
            // gVisor has no child subreapers.
            if !self.is_pid_1() && child_subreaper().is_err() {
                return false;
            }
            let mut command = self.start(vec!["true".into()]);
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        })
    }
}
