//! The system calls: with which errors each may fail, or why it does not.

use std::collections::BTreeMap;
use std::env;
use std::error;

use libc::{EACCES, EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOSYS, EPERM};
use seccompiler::SeccompCmpOp::Eq;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use crate::case::{Case, Errno, Occurrence};
use crate::runtimes::Setting;

/// A call that is made to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    number: i64,
    interrupts: bool,
    /// What a limit or a shortage answers, by the man page of the call.
    shortages: &'static [i32],
    /// The spawn's, and the same in all scenarios: a few of them do.
    is_of_spawn: bool,
}

macro_rules! calls {
    ($($(#[$only:meta])* $name:ident $number:ident $interrupts:literal $shortages:expr,
        $is_of_spawn:literal;)*) => {
        &[$($(#[$only])* Call {
            name: stringify!($name),
            number: libc::$number,
            interrupts: $interrupts,
            shortages: $shortages,
            is_of_spawn: $is_of_spawn,
        }),*]
    };
}

/// By name: whether it may fail with `EINTR`, the shortages, whether it is the spawn's.
///
/// A call of the spawn that the kernel restarts by itself, or that only a fatal signal interrupts
/// (`clone`, `execve`), never shows `EINTR`.
const SWEPT: &[Call] = calls! {
    chdir SYS_chdir true &[ENOMEM], true;
    clone SYS_clone false &[EAGAIN, ENOMEM, EMFILE, ENOSPC], true;
    clone3 SYS_clone3 false &[EAGAIN, ENOMEM], false;
    close_range SYS_close_range true &[ENOMEM], true;
    #[cfg(target_arch = "x86_64")] dup2 SYS_dup2 true &[EMFILE], true;
    dup3 SYS_dup3 true &[EMFILE], true;
    epoll_create1 SYS_epoll_create1 true &[EMFILE, ENFILE, ENOMEM], false;
    epoll_ctl SYS_epoll_ctl true &[ENOMEM, ENOSPC], false;
    epoll_pwait SYS_epoll_pwait true &[], false;
    #[cfg(target_arch = "x86_64")] epoll_wait SYS_epoll_wait true &[], false;
    execve SYS_execve false &[EAGAIN, ENOMEM, EMFILE, ENFILE], true;
    fcntl SYS_fcntl true &[EMFILE], false;
    getdents64 SYS_getdents64 true &[], false;
    getpgid SYS_getpgid true &[], false;
    ioctl SYS_ioctl true &[], false;
    kill SYS_kill true &[], false;
    newfstatat SYS_newfstatat true &[ENOMEM], false;
    openat SYS_openat true &[EMFILE, ENFILE, ENOMEM], false;
    pidfd_open SYS_pidfd_open true &[EMFILE, ENFILE, ENOMEM], false;
    pidfd_send_signal SYS_pidfd_send_signal true &[], false;
    pipe2 SYS_pipe2 true &[EMFILE, ENFILE], false;
    ppoll SYS_ppoll true &[ENOMEM], false;
    prctl SYS_prctl true &[], true;
    prlimit64 SYS_prlimit64 true &[], true;
    read SYS_read true &[], false;
    rt_sigaction SYS_rt_sigaction true &[], true;
    rt_sigprocmask SYS_rt_sigprocmask true &[], false;
    setgroups SYS_setgroups true &[ENOMEM], true;
    setpgid SYS_setpgid true &[], false;
    setpriority SYS_setpriority true &[], true;
    setsid SYS_setsid true &[], true;
    setuid SYS_setuid true &[EAGAIN], true;
    statx SYS_statx true &[ENOMEM], false;
    timerfd_create SYS_timerfd_create true &[EMFILE, ENFILE, ENOMEM], false;
    timerfd_settime SYS_timerfd_settime true &[], false;
    wait4 SYS_wait4 true &[], false;
    waitid SYS_waitid true &[], false;
    write SYS_write true &[], false;
};

/// Calls that are left out, by their numbers.
const NOT_SWEPT: &[(&[i64], &str)] = &[
    (
        &[libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_brk],
        "the allocator's too, and Rust ends the program when that has no memory",
    ),
    (&[libc::SYS_futex], "the standard library's locks, which cannot fail"),
    (
        &[
            libc::SYS_exit,
            libc::SYS_gettid,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity,
            libc::SYS_set_robust_list,
            libc::SYS_sigaltstack,
        ],
        "how the C library and the standard library begin and end a thread",
    ),
    (&[libc::SYS_close], "one that fails here was not made, and the descriptor would stay"),
    #[cfg(target_arch = "x86_64")]
    (&[libc::SYS_open], "the C library's, which looks how many processors there are"),
    (&[libc::SYS_exit_group], "does not return"),
    (&[libc::SYS_clock_nanosleep], "of `thread::sleep`, which cannot fail"),
    (&[libc::SYS_getpid, libc::SYS_umask, libc::SYS_getuid], "cannot fail"),
    (&[libc::SYS_getrusage], "of the peak of a usage alone, which is not known without it"),
];

/// The environment variable that asks for all cases. Without it there are no second occurrences,
/// without pidfds no first ones, and of the refusals and the shortages one each.
const FULL: &str = "REFUSALS_FULL";

/// The scenarios in which calls of the spawn fail.
const SPAWNING: [&str; 4] = ["spawn", "failures", "std", "output"];

impl Call {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SWEPT.iter().find(|call| call.name == name)
    }

    /// # Errors
    ///
    /// Why the call of that number is left out; the number of one that was forgotten.
    pub(crate) fn numbered(number: i64) -> Result<&'static Self, Result<&'static str, i64>> {
        SWEPT.iter().find(|call| call.number == number).ok_or_else(|| {
            let mut reasons = NOT_SWEPT.iter();
            let reason = reasons.find(|(numbers, _)| numbers.contains(&number));
            reason.map(|(_, reason)| *reason).ok_or(number)
        })
    }

    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    pub(crate) fn fails_in(&self, scenario: &str) -> bool {
        !self.is_of_spawn || SPAWNING.contains(&scenario)
    }

    /// Whether the runtime, or the standard library in its spawn, makes it again and again until it
    /// succeeds: the scenario waits for that.
    pub(crate) fn is_repeated_by_others(&self, setting: Setting, scenario: &str) -> bool {
        match self.name {
            "epoll_wait" => setting.is_tokio,
            "epoll_pwait" | "timerfd_settime" => !setting.is_tokio,
            "openat" => scenario == "std",
            "read" => scenario == "std" || !(setting.is_tokio || scenario == "pipes"),
            _ => false,
        }
    }

    /// Whether the runtime's threads wake each other by it, and miss wake-ups if it fails.
    ///
    /// async-io drops the events that it has taken if it cannot arm its own eventfd again.
    pub(crate) fn wakes_runtimes(&self, setting: Setting, scenario: &str) -> bool {
        match self.name {
            "write" => scenario != "pipes",
            "epoll_ctl" => !setting.is_tokio,
            _ => false,
        }
    }

    /// Whether no runtime makes it: where the kept table says that nothing comes of its failure,
    /// something would be this library's fault.
    pub(crate) fn is_of_library(&self) -> bool {
        const OTHERS: [&str; 8] = [
            "clone3",
            "epoll_ctl",
            "epoll_pwait",
            "epoll_wait",
            "openat",
            "rt_sigprocmask",
            "timerfd_settime",
            "write",
        ];
        !OTHERS.contains(&self.name)
    }

    /// Whether a child may run on, or stay a zombie, for as long as the call fails: without the kill,
    /// without what looks before it, without what shows exits and deadlines, without a thread for
    /// that where the runtime is gone.
    pub(crate) fn manages_children(&self) -> bool {
        ["clone3", "epoll_pwait", "epoll_wait", "kill", "waitid"].contains(&self.name)
    }

    /// What is to be tried where a scenario makes the call `count` times: the refusals, of which
    /// each needs a process of its own, for the library remembers some; and the others.
    pub(crate) fn cases(&self, setting: Setting, count: u32) -> (Vec<Case>, Vec<Case>) {
        let is_full = env::var_os(FULL).is_some();
        let is_allowed = |which: &Occurrence| match which {
            Occurrence::First => is_full || setting.has_pidfds,
            Occurrence::Second => is_full,
            Occurrence::Every => true,
        };
        let occurrences = Occurrence::ALL.into_iter();
        let occurrences = occurrences.filter(|which| which.number() <= count && is_allowed(which));
        let occurrences: Vec<_> = occurrences.collect();
        let all = |errno: &i32| {
            let errno = Errno(*errno);
            occurrences.iter().map(move |occurrence| Case { errno, occurrence: *occurrence })
        };
        let every = |errno| Case { errno: Errno(errno), occurrence: Occurrence::Every };
        // A filter answers the same each time, unless it looks at the arguments.
        let mut refusals: Vec<_> = all(&EPERM).collect();
        let mut others: Vec<_> = if self.interrupts { all(&EINTR).collect() } else { Vec::new() };
        if is_full {
            refusals.extend([every(EACCES), every(ENOSYS)]);
            others.extend(self.shortages.iter().flat_map(all));
        } else {
            others.extend(self.shortages.first().map(|errno| every(*errno)));
        }
        (refusals, others)
    }
}

/// Makes this a kernel without pidfds, for the calling thread and all that comes from it.
pub(crate) fn refuse_pidfds() -> Result<(), Box<dyn error::Error>> {
    let is_pidfd = SeccompCondition::new(0, SeccompCmpArgLen::Dword, Eq, libc::P_PIDFD.into())?;
    let by_pidfd = vec![SeccompRule::new(vec![is_pidfd])?];
    for (call, rules, errno) in [
        (libc::SYS_pidfd_open, vec![], ENOSYS),
        (libc::SYS_pidfd_send_signal, vec![], ENOSYS),
        (libc::SYS_waitid, by_pidfd, libc::EINVAL),
    ] {
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, rules)]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno.unsigned_abs()),
            env::consts::ARCH.try_into()?,
        )?;
        apply_filter(&BpfProgram::try_from(filter)?)?;
    }
    Ok(())
}
