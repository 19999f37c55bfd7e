//! What the harnesses share whose trials are processes of their own.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The helper's end; `None` if it had to be killed, with its group, which it leads.
pub(crate) fn end_of(helper: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = helper.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(2));
    }
    kill_process_group(Pid::from_child(helper), Signal::KILL)?;
    helper.wait()?;
    Ok(None)
}
