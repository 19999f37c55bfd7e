//! What this process has: children, descriptors, threads, orphans. After a storm, as before it.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// The descriptors and threads at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    descriptors: Vec<String>,
    threads: Vec<String>,
}

impl Census {
    /// Waits for the calm after a storm, and tells what is left.
    ///
    /// It comes by itself if the library keeps its promises; after a failure to get a thread it
    /// takes a further call (`nudge`).
    pub(crate) fn of_the_calm(before: Option<&Self>, nudge: bool) -> Result<Self, String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if nudge {
                pidfd_reaper::orphans().retry();
            }
            let now = Self::take().map_err(|error| format!("procfs: {error}"))?;
            let left = match now.left(before) {
                None if before.is_some() => return Ok(now),
                None => {
                    // Runtimes let go of the last things on threads of their own.
                    thread::sleep(Duration::from_millis(150));
                    let later = Self::take().map_err(|error| format!("procfs: {error}"))?;
                    if later == now {
                        return Ok(now);
                    }
                    "threads or descriptors still come and go".to_owned()
                }
                Some(left) => left,
            };
            if Instant::now() > deadline {
                return Err(left);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn take() -> io::Result<Self> {
        let descriptors = fs::read_dir("/proc/self/fd")?
            // The directory itself is open while it is read, and gone when its link is.
            .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
            .collect();
        let threads = fs::read_dir("/proc/self/task")?
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        Ok(Self { descriptors, threads })
    }

    /// What there is that should not be.
    fn left(&self, before: Option<&Self>) -> Option<String> {
        let orphans = pidfd_reaper::orphans().len();
        if orphans > 0 {
            return Some(format!("{orphans} orphans are left"));
        }
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::All, peek) {
            Err(Errno::CHILD) => {}
            Ok(Some(_)) => return Some("a zombie is left".to_owned()),
            Ok(None) => return Some("a child still runs".to_owned()),
            Err(errno) => return Some(format!("waitid: {errno}")),
        }
        if self.threads.iter().any(|name| name == "orphans" || name.starts_with("wait-")) {
            return Some(format!("threads of the library are left: {:?}", self.threads));
        }
        let before = before?;
        // Fewer is none of our doing: a runtime may end what had nothing to do.
        if self.descriptors.len() > before.descriptors.len() {
            return Some(format!(
                "descriptors: {:?}\nbefore: {:?}",
                self.descriptors, before.descriptors
            ));
        }
        if self.threads.len() > before.threads.len() {
            return Some(format!("threads: {:?}\nbefore: {:?}", self.threads, before.threads));
        }
        None
    }
}
