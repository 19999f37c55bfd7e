//! A tracer that holds a zombie: strace and debuggers do.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::stdio::stdout;

use crate::sys;

/// Traces a process until it is dropped.
pub(super) struct Tracer(Child);

impl Tracer {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut tracer =
            command.args(["tracer", &pid.to_string()]).stdout(Stdio::piped()).spawn()?;
        tracer.stdout.take().expect("it is piped").read_exact(&mut [0])?;
        Ok(Self(tracer))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the tracer's process does: it never asks, so what it traces stays when it ends.
pub(crate) fn hold(pid: u32) -> io::Result<()> {
    sys::trace(pid)?;
    rustix::io::write(stdout(), &[0])?;
    thread::sleep(Duration::from_secs(60));
    Ok(())
}
