//! `Resource`: what the kernel limits for a process.

use std::ffi::c_int;

/// A resource that the kernel limits for each process
/// ([getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)), for
/// [`Command::rlimit`](crate::Command::rlimit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// `RLIMIT_AS`: bytes of address space.
    AddressSpace,
    /// `RLIMIT_CORE`: bytes of a core file; zero for none.
    Core,
    /// `RLIMIT_CPU`: seconds of CPU time, after which `SIGXCPU` is sent, and `SIGKILL` at the hard
    /// limit.
    Cpu,
    /// `RLIMIT_DATA`: bytes of data, heap and private mappings.
    Data,
    /// `RLIMIT_FSIZE`: bytes of a file that is written, beyond which `SIGXFSZ` is sent.
    FileSize,
    /// `RLIMIT_MEMLOCK`: bytes that may be locked in memory.
    LockedMemory,
    /// `RLIMIT_MSGQUEUE`: bytes in POSIX message queues of the user.
    MessageQueues,
    /// `RLIMIT_NICE`: how far the nice value may be lowered, to 20 minus this.
    Nice,
    /// `RLIMIT_NOFILE`: one more than the largest descriptor.
    OpenFiles,
    /// `RLIMIT_NPROC`: processes and threads of the user.
    Processes,
    /// `RLIMIT_RTPRIO`: the highest real-time priority.
    RealTimePriority,
    /// `RLIMIT_RTTIME`: microseconds of CPU time without a blocking call under a real-time policy.
    RealTimeCpu,
    /// `RLIMIT_SIGPENDING`: signals that may be queued for the user.
    PendingSignals,
    /// `RLIMIT_STACK`: bytes of the stack; also bounds arguments and environment, to a quarter.
    Stack,
}

impl Resource {
    /// The kernel's number.
    pub(super) fn number(self) -> c_int {
        let number = match self {
            Self::AddressSpace => libc::RLIMIT_AS,
            Self::Core => libc::RLIMIT_CORE,
            Self::Cpu => libc::RLIMIT_CPU,
            Self::Data => libc::RLIMIT_DATA,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::MessageQueues => libc::RLIMIT_MSGQUEUE,
            Self::Nice => libc::RLIMIT_NICE,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::Processes => libc::RLIMIT_NPROC,
            Self::RealTimePriority => libc::RLIMIT_RTPRIO,
            Self::RealTimeCpu => libc::RLIMIT_RTTIME,
            Self::PendingSignals => libc::RLIMIT_SIGPENDING,
            Self::Stack => libc::RLIMIT_STACK,
        };
        // The C libraries differ in the type.
        #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "all are below 16")]
        let number = number as c_int;
        number
    }
}
