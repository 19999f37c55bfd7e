//! What a helper must not leave behind: descriptors and threads.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::help::wait_until;

/// The descriptors and threads of this process at one time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What is open, by number.
    descriptors: BTreeMap<String, String>,
    /// The threads' names.
    threads: Vec<String>,
}

impl Snapshot {
    pub(crate) fn take() -> Self {
        // The listing's own descriptor is closed by the time that its link is read.
        let descriptors = names_in("/proc/self/fd").into_iter().filter_map(|number| {
            let link = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
            Some((number, link.to_string_lossy().into_owned()))
        });
        let threads = names_in("/proc/self/task")
            .into_iter()
            .filter_map(|thread| fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok());
        Self { descriptors: descriptors.collect(), threads: threads.collect() }
    }

    /// Waits until there is nothing more than in this snapshot. The thread of the orphan queue stays
    /// for a moment.
    pub(crate) fn wait_until_nothing_is_left(&self) {
        let nothing_more = || {
            let now = Self::take();
            now.threads.len() <= self.threads.len()
                && now.descriptors.iter().all(|(fd, link)| self.descriptors.get(fd) == Some(link))
        };
        let is_gone = wait_until(Duration::from_secs(5), nothing_more);
        assert!(is_gone, "more is left: {:#?}\nthan before: {self:#?}", Self::take());
    }
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("procfs is mounted, and a descriptor is free");
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
