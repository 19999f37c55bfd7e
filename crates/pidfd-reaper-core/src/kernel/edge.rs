//! `EdgeEpoll`: an epoll that tells of each change once, as `EPOLLET` does.
//!
//! A zombie that a tracer holds stays readable for as long as it is held, and a level-triggered
//! reactor would spin on it. Edges come when the process ends and again when the tracer lets it go.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::retry;

/// A private epoll in which each descriptor is watched for the edge of its readiness to be read.
///
/// It is itself a descriptor that is readable while an edge is to be taken: a level-triggered
/// reactor that cannot be told to watch edges registers this one instead, for any number of
/// descriptors, and [takes](Self::take) the edges after each event. What is watched stays so until
/// it is [removed](Self::remove), or its last descriptor is closed.
///
/// See [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html).
#[derive(Debug)]
pub struct EdgeEpoll(OwnedFd);

impl EdgeEpoll {
    /// An empty one, close-on-exec.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`: out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(retry(|| epoll::create(CreateFlags::CLOEXEC))?))
    }

    /// Watches `fd`; what is ready already counts as an edge. `key` comes back with its edges.
    ///
    /// # Errors
    ///
    /// `ENOSPC` (`/proc/sys/fs/epoll/max_user_watches`), `ENOMEM`; `EEXIST` if it is watched
    /// already.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add_with(fd, key, ALL)
    }

    /// Watches `fd` for one edge. After that it stays in here, silently.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add).
    pub fn add_once(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add_with(fd, key, ALL | EventFlags::ONESHOT)
    }

    /// Watches `fd`, which was added for one edge, for all that come. What is ready now counts as
    /// one.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched at all.
    pub fn change_to_all(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        Ok(retry(|| epoll::modify(&self.0, fd, EventData::new_u64(key), ALL))?)
    }

    /// Watches `fd` no more.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(retry(|| epoll::delete(&self.0, fd))?)
    }

    fn add_with(&self, fd: BorrowedFd<'_>, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(retry(|| epoll::add(&self.0, fd, EventData::new_u64(key), flags))?)
    }

    /// Takes what edges there are, up to 64, without blocking, and gives `each` their keys.
    ///
    /// # Errors
    ///
    /// `EINTR` if a signal interrupts it again and again; a filter's refusal; `EBADF` or `EINVAL` if
    /// the program has closed the descriptor.
    pub fn take(&self, each: impl FnMut(u64)) -> io::Result<()> {
        self.wait(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }), each)
    }

    /// The same, but blocks until there are edges, or for `timeout`.
    pub(crate) fn wait(
        &self,
        timeout: Option<&Timespec>,
        mut each: impl FnMut(u64),
    ) -> io::Result<()> {
        Ok(retry(|| {
            let mut edges = [MaybeUninit::uninit(); 64];
            let (edges, _) = epoll::wait(&self.0, &mut edges, timeout)?;
            edges.iter().map(|edge| edge.data.u64()).for_each(&mut each);
            Ok(())
        })?)
    }
}

const ALL: EventFlags = EventFlags::IN.union(EventFlags::ET);

impl AsFd for EdgeEpoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<EdgeEpoll> for OwnedFd {
    fn from(epoll: EdgeEpoll) -> Self {
        epoll.0
    }
}
