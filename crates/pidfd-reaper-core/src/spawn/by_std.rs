//! The way through the standard library, with the attributes that it does not have.

use std::ffi::c_int;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child as StdChild, Command as StdCommand};

use rustix::io::fcntl_dupfd_cloexec;

use super::attributes::Attributes;
use super::builder::Builder;
use super::error::SpawnError;
use super::plan::has_nul;
use crate::kernel::sys::pre_exec::Hook;
use crate::kernel::sys::steps::Move;

impl Builder {
    /// Has `with` start the child through the standard library's command.
    ///
    /// That sets what it knows. The rest is done by a closure in the forked child, after that.
    pub(crate) fn spawn_by_std(
        &mut self,
        with: impl FnOnce(&mut StdCommand) -> io::Result<StdChild>,
    ) -> io::Result<StdChild> {
        if self.has_nul {
            return Err(has_nul());
        }
        self.hand_over_stdio();
        if !self.attributes.exceed_std() {
            self.hand_over_ids();
            return with(&mut self.std);
        }
        if self.attributes.root.is_some() && self.std.get_current_dir().is_some() {
            // It would be changed before the root, and looked up in the old one.
            let text = "chroot with current_dir, where the standard library starts the child";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let Self { std, attributes, hook, .. } = self;
        let hook = hook.get_or_insert_with(|| Hook::install(std));
        let moves: Vec<Move> = attributes.further_moves().collect();
        let steps = attributes.steps(&moves, None);
        let _reserved = reserve(attributes);
        let (spawned, failed) = hook.lend(&steps, attributes.signals, || with(std))?;
        spawned.map_err(|error| {
            let attribute = failed.and_then(|index| steps.get(index)?.attribute());
            match (attribute, error.raw_os_error()) {
                (Some(attribute), Some(errno)) => SpawnError::io_error(attribute, errno),
                _ => error,
            }
        })
    }
}

/// Takes the numbers that the child's descriptors will have, as far as they are free.
///
/// The standard library opens descriptors of its own for the spawn, over one of which it learns of
/// errors. Were that one to have a number which the closure gives to another, it would be closed,
/// which looks like success.
///
/// A number that cannot be reserved is in use, or too large for the standard library to get it.
fn reserve(attributes: &Attributes) -> Vec<OwnedFd> {
    let reserve = |(target, fd): (&c_int, &OwnedFd)| fcntl_dupfd_cloexec(fd, *target).ok();
    attributes.descriptors.iter().filter_map(reserve).collect()
}
