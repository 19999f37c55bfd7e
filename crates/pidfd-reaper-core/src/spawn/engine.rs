//! The spawn: directly where that can be, else by the standard library.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child as StdChild, Command as StdCommand};

use rustix::io::Errno;
use rustix::process::Pid;

use super::builder::Builder;
use super::dumpable::KeptDumpable;
use super::error::SpawnError;
use super::plan::Plan;
use crate::kernel;
use crate::kernel::pidfd::Pidfd;
use crate::kernel::support::Support;
use crate::kernel::sys::clone::{self, Failure, KNOWN_ARCHITECTURE};
use crate::kernel::sys::steps::Step;
use crate::trace;

/// A child that was just started, and was not waited for.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// From birth. A child that the standard library has started gets its own later.
    pub(crate) pidfd: Option<Pidfd>,
    /// The parent's ends of its pipes: standard input, output and error.
    pub(crate) pipes: [Option<OwnedFd>; 3],
}

impl Builder {
    /// Whether [`spawn`](Self::spawn) starts the child directly.
    pub(crate) fn spawns_directly(&self) -> bool {
        KNOWN_ARCHITECTURE && self.is_known() && Support::here().clone.refused().is_none()
    }

    /// Starts the child.
    pub(crate) fn spawn(&mut self) -> io::Result<Spawned> {
        let support = Support::here();
        if self.spawns_directly() {
            if let Some(spawned) = self.spawn_directly(support)? {
                return Ok(spawned);
            }
        }
        Ok(Spawned::from_std(self.spawn_by_std(StdCommand::spawn)?))
    }

    /// `None` if the kernel, or a filter in front of it, refuses such a clone; this is remembered.
    fn spawn_directly(&self, support: &Support) -> io::Result<Option<Spawned>> {
        let plan = Plan::new(self)?;
        let steps = plan.steps();
        let program = plan.program(&steps);
        let _dumpable = self.attributes.changes_ids().then(KeptDumpable::hold);
        let mut spawned = clone::spawn(&program, support.has_pidfds());
        if let Err(Failure::Clone(Errno::MFILE | Errno::NFILE)) = spawned {
            // There is no descriptor for a pidfd. A child without one is still a child.
            spawned = clone::spawn(&program, false);
        }
        match spawned {
            Ok(cloned) => {
                support.clone.works();
                let pidfd = cloned.pidfd.map(|fd| Pidfd::with_pid(fd, cloned.pid));
                drop(steps);
                Ok(Some(Spawned { pid: cloned.pid, pidfd, pipes: plan.ours }))
            }
            Err(Failure::Clone(errno)) if support.is_refused(errno) => {
                trace::direct_spawn_refused(&errno.into());
                Ok(None)
            }
            Err(Failure::Clone(errno) | Failure::Exec(errno)) => Err(errno.into()),
            Err(Failure::Step(index, errno)) => {
                Err(match steps.get(index).and_then(Step::attribute) {
                    Some(attribute) => SpawnError::io_error(attribute, errno.raw_os_error()),
                    None => errno.into(),
                })
            }
        }
    }
}

impl Spawned {
    /// Takes over a child that was just started.
    ///
    /// # Panics
    ///
    /// If the child has a PID that no process has.
    fn from_std(child: StdChild) -> Self {
        let pid = kernel::pid(child.id()).expect("a started child has a PID");
        let StdChild { stdin, stdout, stderr, .. } = child;
        let pipes = [stdin.map(Into::into), stdout.map(Into::into), stderr.map(Into::into)];
        Self { pid, pidfd: None, pipes }
    }
}
