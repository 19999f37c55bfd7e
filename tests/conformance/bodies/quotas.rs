//! Quotas that the kernel itself keeps: a cgroup's processes, a user's watches in epolls.
//!
//! Each trial has one of its own, so that nobody else goes short.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process;

use futures_lite::future::poll_once;
use pidfd_reaper::{EdgeEpoll, orphans};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::Place::WithPidfd;
use super::{Body, bodies};
use crate::children::{Flock, until, until_no_orphans};
use crate::leaks::{Snapshot, has_children};
use crate::runtimes::{CommandOn, Runtime};
use crate::sys;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        no_processes_in_the_cgroup.if_shown(Cgroup::can_be_made),
        no_epoll_watches.only(WithPidfd).before(become_another_user)
            .if_shown(Watches::can_be_exhausted),
    ]
}

/// A cgroup that this process has moved into, with a limit of processes and threads.
struct Cgroup(PathBuf);

impl Cgroup {
    fn can_be_made() -> bool {
        geteuid().is_root() && Self::enter().map(drop).is_ok()
    }

    fn parent() -> io::Result<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            fs::write(root.join("cgroup.subtree_control"), "+pids")?;
            return Ok(root.into());
        }
        // Version 1 has a hierarchy for each.
        Ok(root.join("pids"))
    }

    fn enter() -> io::Result<Self> {
        let group = Self::parent()?.join(format!("conformance-{}", process::id()));
        fs::create_dir(&group)?;
        let group = Self(group);
        group.allow("max")?;
        fs::write(group.0.join("cgroup.procs"), "0")?;
        Ok(group)
    }

    fn allow_no_more(&self) -> io::Result<()> {
        let now = fs::read_to_string(self.0.join("pids.current"))?;
        self.allow(now.trim())
    }

    fn allow(&self, most: &str) -> io::Result<()> {
        fs::write(self.0.join("pids.max"), most)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Ok(parent) = Self::parent() {
            let _ = fs::write(parent.join("cgroup.procs"), "0");
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn no_processes_in_the_cgroup<R: Runtime>() -> io::Result<()> {
    let runtime = R::new();
    let before = Snapshot::take();
    assert!(runtime.block_on(CommandOn::<R>::new("true").status())?.success());
    let flock = Flock::new()?;
    let mut command = CommandOn::<R>::from(flock.command()?);
    let (mut awaited, abandoned, killed) =
        (command.spawn()?, command.spawn()?, command.kill_on_drop(true).spawn()?);
    // None may end from here on, and make room.
    until(|| "a thread stays".into(), || before.more_threads() == 0);

    let group = Cgroup::enter()?;
    group.allow_no_more()?;
    let is_refused = |error: io::Error| error.raw_os_error() == Some(libc::EAGAIN);
    assert!(is_refused(command.spawn().expect_err("there is no process to be had")));
    assert!(is_refused(runtime.block_on(async { command.output().await.expect_err("nor here") })));
    // With a pidfd it waits; without, it says that it cannot, and may be asked again.
    let end = runtime.block_on(poll_once(awaited.wait()));
    assert!(end.is_none_or(|end| end.is_err_and(|error| error.to_string().contains("thread"))));
    drop((abandoned, killed));
    assert!(!orphans().is_empty());

    group.allow("max")?;
    assert!(runtime.block_on(CommandOn::<R>::new("true").status())?.success());
    drop((command, flock));
    assert!(runtime.block_on(awaited.wait())?.success());
    until_no_orphans();
    assert!(!has_children());
    Ok(())
}

/// All that this user may watch in epolls is watched, until it is dropped.
struct Watches {
    epolls: Vec<EdgeEpoll>,
    watched: Vec<OwnedFd>,
}

impl Watches {
    const MOST: &str = "/proc/sys/fs/epoll/max_user_watches";
    /// So many are watched in a second. A machine of today has millions; the guests of `kernels/run`
    /// have fewer.
    const FEW: u64 = 50_000;

    fn can_be_exhausted() -> bool {
        let most = fs::read_to_string(Self::MOST).ok().and_then(|text| text.trim().parse().ok());
        geteuid().is_root() && most.is_some_and(|most: u64| most < Self::FEW)
    }

    fn exhaust() -> io::Result<Self> {
        let (end, _other) = rustix::pipe::pipe()?;
        let watched = (0..500).map(|_| end.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let mut epolls = Vec::new();
        loop {
            let epoll = EdgeEpoll::new()?;
            let added = watched.iter().try_for_each(|fd| epoll.add(fd.as_fd(), 0));
            epolls.push(epoll);
            match added {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Self { epolls, watched })
    }

    /// Gives them back: a child just started holds copies, until its exec comes to close them.
    fn give_back(self) -> io::Result<()> {
        drop(self.epolls);
        let epoll = EdgeEpoll::new()?;
        let can_watch = || epoll.add(self.watched[0].as_fd(), 0).is_ok();
        until(|| "there are no watches again".into(), can_watch);
        Ok(())
    }
}

/// Before any epoll is made: it belongs to the user who makes it.
fn become_another_user() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("it is allowed");
    sys::become_user(60_000 + process::id() % 5_000);
}

fn no_epoll_watches<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let mut command = CommandOn::<R>::from(flock.command()?);
    // All of it in one: a runtime may need watches to begin.
    R::new().block_on(async {
        let (mut awaited, abandoned, killed) =
            (command.spawn()?, command.spawn()?, command.kill_on_drop(true).spawn()?);

        let watches = Watches::exhaust()?;
        assert!(poll_once(awaited.wait()).await.is_none());
        drop((abandoned, killed));
        assert!(CommandOn::<R>::new("true").status().await?.success());
        // Its pipes cannot be waited for, as is told; the child goes the way of one dropped.
        let error = command.output().await.expect_err("no pipe can be watched");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");

        watches.give_back()?;
        let output = CommandOn::<R>::new("echo").arg("7").output().await?;
        assert_eq!(output.stdout, b"7\n");
        drop((command, flock));
        assert!(awaited.wait().await?.success());
        io::Result::Ok(())
    })?;
    until_no_orphans();
    assert!(!has_children());
    Ok(())
}
