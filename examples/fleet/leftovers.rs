//! What a voyage has left behind in this process.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// How many descriptors and threads there were before the voyage.
pub(crate) struct Before {
    descriptors: usize,
    threads: usize,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Left {
    /// Abandoned children that were not reaped yet.
    pub(crate) orphans: usize,
    pub(crate) zombies: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Before {
    pub(crate) fn now() -> io::Result<Self> {
        Ok(Self { descriptors: entries("/proc/self/fd")?, threads: entries("/proc/self/task")? })
    }

    /// What is left now, or after `patience`: abandoned children may still live, and the thread
    /// that waits for them stays a little longer.
    pub(crate) fn left(&self, patience: Duration) -> io::Result<Left> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Self::now()?;
            let left = Left {
                orphans: pidfd_reaper::orphans().len(),
                zombies: usize::from(zombie(WaitIdOptions::NOWAIT)?),
                descriptors: now.descriptors.saturating_sub(self.descriptors),
                threads: now.threads.saturating_sub(self.threads),
            };
            if left == Left::default() {
                return Ok(left);
            }
            if Instant::now() > deadline {
                return Ok(Left { zombies: count_zombies()?, ..left });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn entries(directory: &str) -> io::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// Takes them away, so that the next voyage is not blamed for them.
fn count_zombies() -> io::Result<usize> {
    let mut zombies = 0;
    while zombie(WaitIdOptions::empty())? {
        zombies += 1;
    }
    Ok(zombies)
}

/// Whether any child of this process has ended without being reaped.
fn zombie(options: WaitIdOptions) -> io::Result<bool> {
    match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options) {
        Ok(status) => Ok(status.is_some()),
        Err(Errno::CHILD) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
