//! What a command can ask for its child beside program, environment and pipes.

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;

use super::command::Command;
use crate::kernel::sys::child::{NO_SIGNALS, add_signal};
use crate::reactor::Reactor;
use crate::spawn::resource::Resource;

/// Attributes of the child.
///
/// None of them makes the spawn a fork: it costs the same in a process of any size. They are safe:
/// the child sets them itself before it executes its program, and if one cannot be set, the spawn
/// fails with a [`SpawnError`](crate::SpawnError) that names it, and there is no child.
///
/// The child sets them in this order, whatever the order of the calls: session, process group,
/// controlling terminal, foreground; cgroup, OOM score, nice value; descriptors; limits, umask;
/// root; supplementary groups, group, user; directory; parent-death signal, `no_new_privs`; the
/// other descriptors are closed; signals. So what takes privileges comes before they are given up.
///
/// Where the standard library starts the child (see [`spawns_directly`](Self::spawns_directly)), a
/// closure sets them in the forked child. If the command is one that others may have changed, the
/// standard library itself sets user, group and process group, before the closure and without
/// naming them in an error.
impl<R: Reactor> Command<R> {
    /// Sets the child's user, by
    /// [setuid(2)](https://man7.org/linux/man-pages/man2/setuid.2.html).
    ///
    /// Supplementary groups are dropped, as far as the privileges allow, unless
    /// [`groups`](Self::groups) sets them.
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` without `CAP_SETUID`, unless it is the real or saved user id already.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.builder.uid(id);
        self
    }

    /// Sets the child's group, by
    /// [setgid(2)](https://man7.org/linux/man-pages/man2/setgid.2.html).
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` without `CAP_SETGID`, unless it is the real or saved group id already.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.builder.gid(id);
        self
    }

    /// Sets the child's supplementary groups, by
    /// [setgroups(2)](https://man7.org/linux/man-pages/man2/setgroups.2.html); none drops all.
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` without `CAP_SETGID`; `EINVAL` for more than 65,536.
    pub fn groups(&mut self, groups: impl Into<Vec<u32>>) -> &mut Self {
        self.builder.attributes_mut().groups = Some(groups.into());
        self
    }

    /// Sets the child's process group, by
    /// [setpgid(2)](https://man7.org/linux/man-pages/man2/setpgid.2.html); zero makes the child the
    /// leader of a new one.
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` if there is no such group in the session of this process.
    pub fn process_group(&mut self, pgroup: i32) -> &mut Self {
        self.group = Some(pgroup);
        self
    }

    /// Makes the child the leader of a new session without a terminal, and of a new process group,
    /// by [setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html).
    pub fn session(&mut self) -> &mut Self {
        self.builder.attributes_mut().session = true;
        self
    }

    /// Makes `terminal` the controlling terminal of the child, which is to lead a session of its
    /// own ([`session`](Self::session)), by `TIOCSCTTY`
    /// ([ioctl_tty(2)](https://man7.org/linux/man-pages/man2/ioctl_tty.2.html)).
    ///
    /// The child's group is the foreground group then. The child does not inherit this descriptor:
    /// give it the terminal as its standard input, output and error too.
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` if the child leads no session, or if the terminal is another session's; `ENOTTY` if
    /// it is no terminal.
    pub fn controlling_terminal(&mut self, terminal: impl Into<OwnedFd>) -> &mut Self {
        self.builder.attributes_mut().controlling_terminal = Some(terminal.into());
        self
    }

    /// Makes the child's process group the foreground group of its terminal, by `TIOCSPGRP`, as a
    /// shell does with [`process_group(0)`](Self::process_group).
    ///
    /// # Errors of the spawn
    ///
    /// `ENXIO` if this process, and so the child, has no controlling terminal.
    pub fn foreground(&mut self) -> &mut Self {
        self.builder.attributes_mut().foreground = true;
        self
    }

    /// Starts the child in a cgroup ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)),
    /// given by its open directory.
    ///
    /// The child writes itself to `cgroup.procs` before it executes its program, with the
    /// privileges of this process, in either version of cgroups.
    ///
    /// # Errors of the spawn
    ///
    /// `ENOENT` if it is no directory of a cgroup; `EACCES` or `EPERM` without the permission to
    /// move processes there; `EAGAIN` if the group has as many processes as it may; `EBUSY` or
    /// `EOPNOTSUPP` if it may have none by its type.
    pub fn cgroup(&mut self, directory: impl Into<OwnedFd>) -> &mut Self {
        self.builder.attributes_mut().cgroup = Some(directory.into());
        self
    }

    /// Sets how likely the child is killed when memory is exhausted: from −1000 (never) to 1000
    /// (first), written to
    /// [`/proc/self/oom_score_adj`](https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html).
    ///
    /// # Errors of the spawn
    ///
    /// `EACCES` for less than this process has, without `CAP_SYS_RESOURCE`; `EINVAL` out of the
    /// range; `ENOENT` without procfs.
    pub fn oom_score_adj(&mut self, score: i32) -> &mut Self {
        self.builder.attributes_mut().oom_score_adj = Some(score.to_string());
        self
    }

    /// Sets the child's nice value, from −20 (the highest priority) to 19, by
    /// [setpriority(2)](https://man7.org/linux/man-pages/man2/setpriority.2.html); it is not added
    /// to that of this process.
    ///
    /// # Errors of the spawn
    ///
    /// `EACCES` for less than this process has, without `CAP_SYS_NICE` or a
    /// [limit](Resource::Nice) that allows it.
    pub fn nice(&mut self, nice: i32) -> &mut Self {
        self.builder.attributes_mut().nice = Some(nice);
        self
    }

    /// Sets a limit of the child, by
    /// [prlimit(2)](https://man7.org/linux/man-pages/man2/prlimit.2.html): the soft limit, which
    /// holds, and the hard one, up to which the child may raise it. `None` is no limit. It may be
    /// called for several resources.
    ///
    /// ```
    /// use pidfd_reaper_core::{Command, Reactor, Resource};
    ///
    /// fn restricted<R: Reactor>() -> Command<R> {
    ///     let mut command = Command::new("make");
    ///     command.rlimit(Resource::Core, 0, 0).rlimit(Resource::Cpu, 60, None);
    ///     command
    /// }
    /// ```
    ///
    /// # Errors of the spawn
    ///
    /// `EINVAL` if the soft limit is above the hard one; `EPERM` for a hard limit above that of
    /// this process, without `CAP_SYS_RESOURCE`.
    pub fn rlimit(
        &mut self,
        resource: Resource,
        soft: impl Into<Option<u64>>,
        hard: impl Into<Option<u64>>,
    ) -> &mut Self {
        let limits = [soft.into(), hard.into()].map(|limit| limit.unwrap_or(u64::MAX));
        let attributes = self.builder.attributes_mut();
        attributes.limits.retain(|(other, _)| *other != resource);
        attributes.limits.push((resource, limits));
        self
    }

    /// Sets which permissions new files of the child do not get, by
    /// [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html).
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.builder.attributes_mut().umask = Some(mask);
        self
    }

    /// Sets the child's root directory, by
    /// [chroot(2)](https://man7.org/linux/man-pages/man2/chroot.2.html). The working directory is
    /// the root then, or [`current_dir`](Self::current_dir) below it, and the program is looked up
    /// there.
    ///
    /// # Errors of the spawn
    ///
    /// `EPERM` without `CAP_SYS_CHROOT`, and those of looking up a path. `InvalidInput` if `root`
    /// has a NUL. `Unsupported` together with a directory, where the standard library starts the
    /// child.
    pub fn chroot<P: AsRef<Path>>(&mut self, root: P) -> &mut Self {
        let root = root.as_ref().as_os_str();
        self.builder.check(root);
        self.builder.attributes_mut().root = CString::new(root.as_bytes()).ok();
        self
    }

    /// Has the kernel send `signal` to the child when the *thread* that spawns it ends, by
    /// `PR_SET_PDEATHSIG`
    /// ([prctl(2)](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)).
    ///
    /// It is the thread, not the process: spawn from one that lives as long as the program. A child
    /// that executes a set-user-id program loses it.
    ///
    /// # Errors of the spawn
    ///
    /// `EINVAL` if it is no signal.
    pub fn parent_death_signal(&mut self, signal: Signal) -> &mut Self {
        self.builder.attributes_mut().parent_death_signal = Some(signal.as_raw());
        self
    }

    /// Has the child, and all that it executes, gain no privileges by an exec, by
    /// `PR_SET_NO_NEW_PRIVS`
    /// ([prctl(2)](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)).
    pub fn no_new_privs(&mut self) -> &mut Self {
        self.builder.attributes_mut().no_new_privs = true;
        self
    }

    /// Sets all signals to their default in the child, also those that this process ignores, by
    /// [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html).
    ///
    /// Without it, ignored ones stay ignored, except for `SIGPIPE`. Handled ones are always set to
    /// their default.
    pub fn reset_signals(&mut self) -> &mut Self {
        self.builder.attributes_mut().signals.reset_ignored = true;
        self
    }

    /// Sets which signals are blocked in the child, by
    /// [sigprocmask(2)](https://man7.org/linux/man-pages/man2/sigprocmask.2.html); those of the
    /// spawning thread by default.
    ///
    /// ```
    /// use pidfd_reaper_core::{Command, Reactor};
    ///
    /// fn unblocked<R: Reactor>() -> Command<R> {
    ///     let mut command = Command::new("server");
    ///     command.reset_signals().signal_mask([]);
    ///     command
    /// }
    /// ```
    pub fn signal_mask(&mut self, blocked: impl IntoIterator<Item = Signal>) -> &mut Self {
        let mut mask = NO_SIGNALS;
        blocked.into_iter().for_each(|signal| add_signal(&mut mask, signal.as_raw()));
        self.builder.attributes_mut().signals.mask = Some(mask);
        self
    }

    /// Gives the child `fd` as its descriptor `number`, by
    /// [dup2(2)](https://man7.org/linux/man-pages/man2/dup.2.html). It may be called for several.
    ///
    /// 0, 1 and 2 are what [`stdin`](Self::stdin), [`stdout`](Self::stdout) and
    /// [`stderr`](Self::stderr) set.
    ///
    /// # Errors of the spawn
    ///
    /// `EBADF` if the number is negative or above the limit of descriptors.
    pub fn fd(&mut self, number: RawFd, fd: impl Into<OwnedFd>) -> &mut Self {
        let fd = fd.into();
        match number {
            0 => self.stdin(fd),
            1 => self.stdout(fd),
            2 => self.stderr(fd),
            _ => {
                self.builder.attributes_mut().descriptors.insert(number, fd);
                self
            }
        }
    }

    /// Gives the child several descriptors, each as by [`fd`](Self::fd).
    pub fn fds<F: Into<OwnedFd>>(
        &mut self,
        fds: impl IntoIterator<Item = (RawFd, F)>,
    ) -> &mut Self {
        for (number, fd) in fds {
            self.fd(number, fd);
        }
        self
    }

    /// Closes all descriptors in the child but 0, 1, 2 and those of [`fd`](Self::fd), also such as
    /// are not close-on-exec, by
    /// [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html).
    ///
    /// # Errors of the spawn
    ///
    /// `ENOSYS` or `EINVAL` before Linux 5.11.
    pub fn close_other_fds(&mut self) -> &mut Self {
        self.builder.attributes_mut().close_other_fds = true;
        self
    }

    /// Makes the child's standard error the same as its standard output, whatever that is, by
    /// [dup2(2)](https://man7.org/linux/man-pages/man2/dup.2.html). What
    /// [`stderr`](Self::stderr) has set does not matter then.
    pub fn stderr_to_stdout(&mut self) -> &mut Self {
        self.builder.attributes_mut().stderr_to_stdout = true;
        self
    }
}
