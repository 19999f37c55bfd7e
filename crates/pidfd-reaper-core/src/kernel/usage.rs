//! What a process has used, as the kernel counts it when the process is reaped.

use std::time::Duration;

use super::sys::{self, KernelLong, RawUsage};

/// The resources that a reaped child, and those of its children that it waited for, have used.
///
/// The kernel reports it with the status, in the same `waitid`. What it counts, and what it leaves at
/// zero, is in [getrusage(2)](https://man7.org/linux/man-pages/man2/getrusage.2.html).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// Processor time spent in user mode.
    pub user_time: Duration,
    /// Processor time spent in the kernel.
    pub system_time: Duration,
    /// The largest resident set, in KiB; `None` if it is not known.
    ///
    /// The kernel carries the peak of the process that calls exec over to the program, and a child
    /// shares or copies the memory of its parent until its exec. So the count begins with this
    /// process's own peak. Only a larger number is the child's; a smaller one shows nothing but that
    /// the child's was not larger.
    pub max_rss_kib: Option<u64>,
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Page faults that needed I/O.
    pub major_faults: u64,
    /// Times the file system had to read, in blocks of 512 bytes.
    pub blocks_read: u64,
    /// Times the file system had to write, in blocks of 512 bytes.
    pub blocks_written: u64,
    /// Context switches because the process waited for something.
    pub voluntary_switches: u64,
    /// Context switches because its time slice ended or another process came first.
    pub involuntary_switches: u64,
}

impl ResourceUsage {
    pub(crate) fn from_raw(raw: RawUsage) -> Self {
        let count = |index: usize| u64::try_from(raw[index]).unwrap_or(0);
        Self {
            user_time: time(raw[0], raw[1]),
            system_time: time(raw[2], raw[3]),
            max_rss_kib: Some(count(4)),
            minor_faults: count(8),
            major_faults: count(9),
            blocks_read: count(11),
            blocks_written: count(12),
            voluntary_switches: count(16),
            involuntary_switches: count(17),
        }
    }
}

impl ResourceUsage {
    /// As it is reported: without a peak that may be this process's.
    pub(crate) fn reported(mut self) -> Self {
        /// The kernel counts pages for each processor, and adds that up now and then.
        const INACCURACY: u64 = 1024;
        let ours = sys::own_max_rss_kib();
        let is_own = |kib: &u64| ours.is_some_and(|ours| *kib > ours + INACCURACY);
        self.max_rss_kib = self.max_rss_kib.filter(is_own);
        self
    }
}

fn time(seconds: KernelLong, micros: KernelLong) -> Duration {
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(micros).unwrap_or(0) * 1000)
}
