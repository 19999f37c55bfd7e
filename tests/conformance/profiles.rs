//! The kernels that this one can stand for: profiles, made by seccomp filters.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::thread;

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::bodies::Body;

/// What the kernel has of pidfds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// All that the running kernel has.
    Native,
    /// No pidfds: Linux before 5.3.
    NoPidfdEnosys,
    /// Pidfds refused by a filter that does not know them: old Docker, old systemd.
    NoPidfdEperm,
    /// `pidfd_open` without flags, and no status after a theft: Linux 5.4 to 5.9.
    NoFlags,
    /// The same, and no `waitid(P_PIDFD)`: Linux 5.3.
    NoPPidfd,
}

impl Profile {
    pub(crate) const ALL: [Self; 5] =
        [Self::Native, Self::NoPidfdEnosys, Self::NoPidfdEperm, Self::NoFlags, Self::NoPPidfd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NoPidfdEnosys => "no_pidfd_enosys",
            Self::NoPidfdEperm => "no_pidfd_eperm",
            Self::NoFlags => "no_flags",
            Self::NoPPidfd => "no_p_pidfd",
        }
    }

    /// Whether there are pidfds if the running kernel has them.
    pub(crate) fn has_pidfds(self) -> bool {
        !matches!(self, Self::NoPidfdEnosys | Self::NoPidfdEperm)
    }

    /// Puts the profile on the calling thread, and on all threads and processes that come from it.
    pub(crate) fn enter(self) -> Result<(), Box<dyn Error>> {
        self.refusals().iter().try_for_each(Refusal::apply)
    }

    /// Whether the calling thread finds what the profile says.
    pub(crate) fn is_entered(self) -> bool {
        let plain = pidfds_are_here();
        let with_flags = pidfd_open(getpid(), PidfdFlags::NONBLOCK).is_ok();
        match self {
            Self::Native => true,
            Self::NoPidfdEnosys | Self::NoPidfdEperm => !plain,
            Self::NoFlags | Self::NoPPidfd => plain && !with_flags,
        }
    }

    fn refusals(self) -> Vec<Refusal> {
        const P_PIDFD: u64 = libc::P_PIDFD as u64;
        let no_pidfds = |errno| {
            vec![
                Refusal::of(libc::SYS_pidfd_open, errno),
                Refusal::of(libc::SYS_pidfd_send_signal, errno),
                Refusal::of(libc::SYS_waitid, libc::EINVAL).when(0, Eq, P_PIDFD),
            ]
        };
        let no_flags = || {
            vec![
                Refusal::of(libc::SYS_pidfd_open, libc::EINVAL).when(1, Ne, 0),
                Refusal::of(libc::SYS_pidfd_send_signal, libc::EINVAL).when(3, Ne, 0),
                // PIDFD_GET_INFO and its kin.
                Refusal::of(libc::SYS_ioctl, libc::ENOTTY).when(1, MaskedEq(0xff00), 0xff00),
            ]
        };
        match self {
            Self::Native => Vec::new(),
            Self::NoPidfdEnosys => no_pidfds(libc::ENOSYS),
            Self::NoPidfdEperm => no_pidfds(libc::EPERM),
            Self::NoFlags => no_flags(),
            Self::NoPPidfd => {
                let mut refusals = no_flags();
                refusals.push(Refusal::of(libc::SYS_waitid, libc::EINVAL).when(0, Eq, P_PIDFD));
                refusals
            }
        }
    }
}

/// Whether the calling thread finds pidfds at all; perhaps not with flags.
pub(crate) fn pidfds_are_here() -> bool {
    pidfd_open(getpid(), PidfdFlags::empty()).is_ok()
}

/// Whether the calling thread has filters on it: each makes all system calls a little slower.
pub(crate) fn is_filtered() -> bool {
    fs::read_to_string("/proc/thread-self/status").is_ok_and(|text| text.contains("Seccomp:\t2"))
}

/// A system call that fails from now on, or only with a certain argument.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    call: i64,
    errno: i32,
    when: Vec<SeccompCondition>,
}

impl Refusal {
    pub(crate) fn of(call: i64, errno: i32) -> Self {
        Self { call, errno, when: Vec::new() }
    }

    /// Only if the lower half of argument number `argument` compares so to `value`.
    pub(crate) fn when(mut self, argument: u8, comparison: SeccompCmpOp, value: u64) -> Self {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value);
        self.when.push(condition.expect("a call has six arguments"));
        self
    }

    /// Puts it on the calling thread, and on all threads and processes that come from it.
    pub(crate) fn apply(&self) -> Result<(), Box<dyn Error>> {
        let rules =
            if self.when.is_empty() { vec![] } else { vec![SeccompRule::new(self.when.clone())?] };
        let filter = SeccompFilter::new(
            BTreeMap::from([(self.call, rules)]),
            SeccompAction::Allow,
            SeccompAction::Errno(self.errno.unsigned_abs()),
            env::consts::ARCH.try_into()?,
        )?;
        Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
    }
}

/// What the running kernel can show at all. A trial that needs more is ignored, never passed.
#[derive(Debug)]
pub(crate) struct Facts {
    pidfds: bool,
    filters: bool,
}

impl Facts {
    pub(crate) fn ask() -> Self {
        // On a thread of its own, since a filter stays.
        let filters = thread::spawn(|| Profile::NoPidfdEnosys.enter().is_ok());
        Self { pidfds: pidfds_are_here(), filters: filters.join().is_ok_and(|works| works) }
    }

    pub(crate) fn can_show(&self, profile: Profile, body: &Body) -> bool {
        let profile_is_real = match profile {
            Profile::Native => true,
            Profile::NoPidfdEnosys | Profile::NoPidfdEperm => self.filters,
            Profile::NoFlags | Profile::NoPPidfd => self.filters && self.pidfds,
        };
        profile_is_real
            && (self.pidfds || !body.needs_pidfds())
            && (self.filters || !body.needs_filters)
            && (body.can_be_shown)()
    }
}
