//! What can be asked for a child beside its program, environment and standard descriptors.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::getpid;

use super::resource::Resource;
use crate::kernel::sys::child::Signals;
use crate::kernel::sys::steps::{Move, Source, Step};

/// The attributes of a child. [`steps`](Self::steps) has the order in which they are set.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Attributes {
    pub(crate) session: bool,
    pub(crate) process_group: Option<i32>,
    pub(crate) controlling_terminal: Option<OwnedFd>,
    pub(crate) foreground: bool,
    pub(crate) cgroup: Option<OwnedFd>,
    /// As it is written to procfs.
    pub(crate) oom_score_adj: Option<String>,
    pub(crate) nice: Option<i32>,
    /// The child's descriptors from 3 on, sorted.
    pub(crate) descriptors: BTreeMap<c_int, OwnedFd>,
    pub(crate) stderr_to_stdout: bool,
    pub(crate) close_other_fds: bool,
    pub(crate) limits: Vec<(Resource, [u64; 2])>,
    pub(crate) umask: Option<u32>,
    pub(crate) root: Option<CString>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) gid: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) parent_death_signal: Option<c_int>,
    pub(crate) no_new_privs: bool,
    pub(crate) signals: Signals,
}

impl Attributes {
    /// Whether there are any that the standard library cannot set.
    pub(super) fn exceed_std(&self) -> bool {
        self.session
            || self.controlling_terminal.is_some()
            || self.foreground
            || self.cgroup.is_some()
            || self.oom_score_adj.is_some()
            || self.nice.is_some()
            || !self.descriptors.is_empty()
            || self.stderr_to_stdout
            || self.close_other_fds
            || !self.limits.is_empty()
            || self.umask.is_some()
            || self.root.is_some()
            || self.groups.is_some()
            || self.parent_death_signal.is_some()
            || self.no_new_privs
            || !self.signals.are_default()
    }

    /// Whether the child gets another user or group.
    pub(super) fn changes_ids(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }

    /// Whether the child leads a group of its own without being moved to `group`, as the leader of a
    /// session does.
    pub(super) fn leads_group(&self, group: i32) -> bool {
        self.session && group == 0
    }

    /// The descriptors from 3 on, and standard error if it is a copy of standard output.
    pub(super) fn further_moves(&self) -> impl Iterator<Item = Move> {
        let descriptors = self.descriptors.iter().map(|(target, fd)| Move {
            target: *target,
            source: Source::Fd(Cell::new(fd.as_raw_fd())),
        });
        let stderr = Move { target: 2, source: Source::Stdout };
        descriptors.chain(self.stderr_to_stdout.then_some(stderr))
    }

    /// The steps by which the child gets its attributes, descriptors and directory.
    ///
    /// What may need the privileges that a change of the user gives up comes before it: so the ids
    /// come late. What they would undo comes after: the kernel clears the parent-death signal when
    /// they change. The directory is changed as the new user, as in the standard library: it must
    /// be accessible to that user. What uses a descriptor by its number in the parent (terminal,
    /// cgroup) comes before the descriptors are moved, and limits come after that, since a lower
    /// limit of descriptors would forbid it. Descriptors are closed last.
    pub(super) fn steps<'a>(
        &'a self,
        moves: &'a [Move],
        directory: Option<&'a CStr>,
    ) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        if self.session {
            steps.push(Step::Session);
        }
        let group = self.process_group.filter(|group| !self.leads_group(*group));
        steps.extend(group.map(Step::ProcessGroup));
        let terminal = self.controlling_terminal.as_ref();
        steps.extend(terminal.map(|fd| Step::ControllingTerminal(fd.as_fd())));
        if self.foreground {
            steps.push(Step::Foreground);
        }
        steps.extend(self.cgroup.as_ref().map(|fd| Step::Cgroup(fd.as_fd())));
        steps.extend(self.oom_score_adj.as_deref().map(Step::OomScoreAdj));
        steps.extend(self.nice.map(Step::Nice));
        if !moves.is_empty() {
            steps.push(Step::Descriptors(moves));
        }
        let limits = self.limits.iter();
        steps.extend(limits.map(|(resource, limits)| Step::Limit(resource.number(), limits)));
        steps.extend(self.umask.map(Step::Umask));
        steps.extend(self.root.as_deref().map(Step::ChangeRoot));
        steps.extend(self.groups.as_deref().map(Step::Groups));
        steps.extend(self.gid.map(Step::Gid));
        if self.uid.is_some() && self.groups.is_none() {
            steps.push(Step::DropGroups);
        }
        steps.extend(self.uid.map(Step::Uid));
        steps.extend(directory.map(Step::ChangeDirectory));
        if let Some(signal) = self.parent_death_signal {
            let parent = getpid().as_raw_nonzero().get();
            steps.push(Step::ParentDeathSignal { signal, parent });
        }
        if self.no_new_privs {
            steps.push(Step::NoNewPrivs);
        }
        if self.close_other_fds {
            steps.push(Step::CloseOthers(moves));
        }
        steps
    }
}
