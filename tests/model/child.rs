//! A child that ends when it is told to, and what others than the library see of it.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use pidfd_reaper::Process;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

pub(crate) const CODE: i32 = 7;

/// A child by its number. What is left of it goes with this.
pub(crate) struct TestChild {
    pid: Pid,
    input: ChildStdin,
}

impl TestChild {
    /// It exits with [`CODE`] when it is told to.
    pub(crate) fn spawn() -> (Self, Process) {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("read line; exit {CODE}")).stdin(Stdio::piped());
        let mut child = command.spawn().expect("there is a shell");
        let input = child.stdin.take().expect("it is piped");
        let process = Process::try_from(child).expect("nobody else reaps it");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("its number");
        (Self { pid, input }, process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns when it is a zombie.
    pub(crate) fn let_exit(&mut self) {
        self.input.write_all(b"\n").expect("it reads");
        self.until_it_ends();
    }

    pub(crate) fn until_it_ends(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(self.pid), options)).expect("it was not reaped");
    }

    /// Returns when it is stopped.
    pub(crate) fn until_it_stops(&self) {
        let options = WaitIdOptions::STOPPED;
        retry_on_intr(|| waitid(WaitId::Pid(self.pid), options)).expect("it was not reaped");
    }

    /// A foreign `waitid`: its status if it was there to be taken, `None` while it runs.
    pub(crate) fn steal(&self) -> Result<Option<ExitStatus>, Errno> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let end = waitid(WaitId::Pid(self.pid), options)?;
        Ok(end.map(|end| {
            let code = end.exit_status().map(|code| code << 8);
            ExitStatus::from_raw(code.or(end.terminating_signal()).expect("it has ended"))
        }))
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        // An error means that it was reaped, and then the number is not its own.
        if self.steal() == Ok(None) {
            let _ = kill_process(self.pid, Signal::KILL);
            self.until_it_ends();
            let _ = self.steal();
        }
    }
}
