//! What a trial must not leave behind: children, zombies, descriptors, threads.

use std::collections::BTreeMap;
use std::fs;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::children::until;

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

    /// How many threads there are more than in this snapshot.
    pub(crate) fn more_threads(&self) -> usize {
        Self::take().threads.len().saturating_sub(self.threads.len())
    }

    /// How many descriptors there are more than in this snapshot whose link has `kind` in it.
    pub(crate) fn more_descriptors(&self, kind: &str) -> usize {
        self.further_descriptors(kind).len()
    }

    /// The numbers of those.
    pub(crate) fn further_descriptors(&self, kind: &str) -> Vec<i32> {
        let more = self.more().map_or_else(BTreeMap::new, |more| more.descriptors);
        let further = more.iter().filter(|(_, link)| link.contains(kind));
        further.filter_map(|(number, _)| number.parse().ok()).collect()
    }

    /// Waits until there is no child, and nothing more than in this snapshot.
    ///
    /// Some things go a little later: the thread of the orphan queue stays for a moment, and a
    /// thread that was joined is in the kernel's list for an instant more.
    pub(crate) fn wait_until_nothing_is_left(&self) {
        until(
            || format!("there is more than before, or a child: {:#?}", self.more()),
            || !has_children() && self.more().is_none(),
        );
    }

    fn more(&self) -> Option<Self> {
        let mut now = Self::take();
        now.descriptors.retain(|number, link| self.descriptors.get(number) != Some(link));
        if now.threads.len() <= self.threads.len() {
            now.threads.clear();
        }
        (!now.descriptors.is_empty() || !now.threads.is_empty()).then_some(now)
    }
}

/// Whether this process has a child, alive or a zombie.
pub(crate) fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// The resident memory of this process, in pages.
pub(crate) fn resident_pages() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
    let resident = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    resident.expect("the second number is the resident set")
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("procfs is mounted, and a descriptor is to be had");
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
