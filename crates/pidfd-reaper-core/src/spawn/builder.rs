//! `Builder`: what a command keeps beside the standard library's, which cannot be read back from
//! it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command as StdCommand;

use super::attributes::Attributes;
use super::stdio::{Kind, Stdio};
use crate::kernel::sys::pre_exec::Hook;
use crate::kernel::sys::terminal;

/// The standard library's command, and beside it what it would not give back.
///
/// Program, arguments, environment and directory are read back from the standard library's command.
/// The rest is kept here alone until the child is started by the standard library, which is given
/// it then.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(super) std: StdCommand,
    /// The standard library's command may have been changed by others, in ways that it does not
    /// show. Then all that is set goes there as well.
    is_opaque: bool,
    /// One of the strings has a NUL in it. The standard library has put another string in its place.
    pub(super) has_nul: bool,
    pub(super) env_is_cleared: bool,
    pub(super) arg0: Option<OsString>,
    /// Standard input, output and error.
    pub(super) stdio: [Slot; 3],
    pub(super) attributes: Attributes,
    /// The group that the standard library's command has.
    std_group: Option<i32>,
    /// In the standard library's command, once it was needed.
    pub(super) hook: Option<Hook>,
}

/// One of the three.
#[derive(Debug, Default)]
pub(super) enum Slot {
    #[default]
    Unset,
    Set(Kind),
    /// The standard library's command has it.
    InStd,
}

impl Builder {
    pub(crate) fn new(program: &OsStr) -> Self {
        let mut this = Self::from_std(StdCommand::new(program));
        this.is_opaque = false;
        this.check(program);
        this
    }

    /// A command that others have made.
    pub(crate) fn from_std(std: StdCommand) -> Self {
        Self {
            std,
            is_opaque: true,
            has_nul: false,
            env_is_cleared: false,
            arg0: None,
            stdio: [Slot::Unset, Slot::Unset, Slot::Unset],
            attributes: Attributes::default(),
            std_group: None,
            hook: None,
        }
    }

    /// The standard library's command, to be read.
    pub(crate) fn std(&self) -> &StdCommand {
        &self.std
    }

    /// The standard library's command with all that it can have, to be changed by others.
    pub(crate) fn std_mut(&mut self) -> &mut StdCommand {
        self.is_opaque = true;
        self.hand_over();
        &mut self.std
    }

    pub(crate) fn into_std(mut self) -> StdCommand {
        self.hand_over();
        self.std
    }

    /// Whether all is known that the child is to be.
    pub(super) fn is_known(&self) -> bool {
        !self.is_opaque && !self.stdio.iter().any(|slot| matches!(slot, Slot::InStd))
    }

    /// Gives the standard library's command what is kept beside it.
    fn hand_over(&mut self) {
        self.hand_over_stdio();
        self.hand_over_ids();
    }

    pub(super) fn hand_over_stdio(&mut self) {
        for (fd, slot) in self.stdio.iter_mut().enumerate() {
            if matches!(slot, Slot::Set(_)) {
                let Slot::Set(kind) = std::mem::replace(slot, Slot::InStd) else { continue };
                set_std(&mut self.std, fd, kind);
            }
        }
        if let Some(arg0) = self.arg0.take() {
            self.std.arg0(arg0);
        }
    }

    pub(super) fn hand_over_ids(&mut self) {
        let (std, attributes) = (&mut self.std, &mut self.attributes);
        // The leader of a session leads a group; the leader of a group cannot make a session.
        let group = attributes.process_group.take().filter(|group| !attributes.leads_group(*group));
        if let Some(group) = group {
            std.process_group(group);
            self.std_group = Some(group);
        }
        attributes.gid.take().map(|gid| std.gid(gid));
        attributes.uid.take().map(|uid| std.uid(uid));
    }

    /// What was set goes to the standard library if that is to have it.
    fn changed(&mut self) {
        if self.is_opaque {
            self.hand_over();
        }
    }

    /// The standard library takes note of a NUL as well, but does not say so before the spawn.
    pub(crate) fn check(&mut self, string: &OsStr) {
        self.has_nul |= string.as_bytes().contains(&0);
    }

    pub(crate) fn arg(&mut self, arg: &OsStr) {
        self.check(arg);
        self.std.arg(arg);
    }

    pub(crate) fn arg0(&mut self, arg: &OsStr) {
        self.check(arg);
        self.arg0 = Some(arg.into());
        self.changed();
    }

    pub(crate) fn env(&mut self, key: &OsStr, value: &OsStr) {
        self.std.env(key, value);
    }

    pub(crate) fn env_remove(&mut self, key: &OsStr) {
        self.std.env_remove(key);
    }

    pub(crate) fn env_clear(&mut self) {
        self.env_is_cleared = true;
        self.std.env_clear();
    }

    pub(crate) fn current_dir(&mut self, dir: &OsStr) {
        self.check(dir);
        self.std.current_dir(dir);
    }

    /// Sets the child's descriptor `fd`, which is 0, 1 or 2.
    pub(crate) fn stdio(&mut self, fd: usize, stdio: Stdio) {
        if matches!(stdio.0, Kind::Std(_)) {
            set_std(&mut self.std, fd, stdio.0);
            self.stdio[fd] = Slot::InStd;
        } else {
            self.stdio[fd] = Slot::Set(stdio.0);
            self.changed();
        }
    }

    /// Those that the standard library does not have; what it has is set by methods of its own.
    pub(crate) fn attributes_mut(&mut self) -> &mut Attributes {
        &mut self.attributes
    }

    /// The standard library's command, once it has a group, cannot be made to have none: then the
    /// child is put into this process's group, where it would be without.
    pub(crate) fn set_process_group(&mut self, group: Option<i32>) {
        let own = || self.std_group.map(|_| terminal::own_group());
        self.attributes.process_group = group.or_else(own);
        self.changed();
    }

    pub(crate) fn gid(&mut self, gid: u32) {
        self.attributes.gid = Some(gid);
        self.changed();
    }

    pub(crate) fn uid(&mut self, uid: u32) {
        self.attributes.uid = Some(uid);
        self.changed();
    }
}

fn set_std(std: &mut StdCommand, fd: usize, kind: Kind) {
    match fd {
        0 => std.stdin(kind.into_std()),
        1 => std.stdout(kind.into_std()),
        _ => std.stderr(kind.into_std()),
    };
}
