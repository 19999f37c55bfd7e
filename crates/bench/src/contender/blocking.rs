//! The standard library alone: a blocked thread for each child that is waited for.

use std::io;
use std::process::{Child, Command};
use std::thread;

use super::Contender;

pub(super) struct Blocking;

impl Contender for Blocking {
    type Child = Child;

    fn spawn(&self, mut command: Command, _: bool) -> io::Result<Child> {
        command.spawn()
    }

    fn id(child: &Child) -> u32 {
        child.id()
    }

    fn one_after_another(
        &self,
        commands: impl Iterator<Item = Command>,
        mut after_each: impl FnMut(),
    ) -> io::Result<()> {
        for mut command in commands {
            command.spawn()?.wait()?;
            after_each();
        }
        Ok(())
    }

    fn wait_in_turn(&self, children: Vec<Child>) -> io::Result<()> {
        for mut child in children {
            child.wait()?;
        }
        Ok(())
    }

    fn wait_for_all(
        &self,
        children: Vec<Child>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let wait = |mut child: Child| {
            thread::Builder::new().stack_size(64 * 1024).spawn(move || child.wait())
        };
        let threads = children.into_iter().map(wait).collect::<io::Result<Vec<_>>>()?;
        ready()?;
        for thread in threads {
            thread.join().expect("no wait panics")?;
        }
        Ok(())
    }

    /// It has no way for that: its children stay zombies.
    fn abandon(&self, children: Vec<Child>) {
        drop(children);
    }

    fn idle(&self, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn output(&self, mut command: Command) -> io::Result<usize> {
        Ok(command.output()?.stdout.len())
    }
}
