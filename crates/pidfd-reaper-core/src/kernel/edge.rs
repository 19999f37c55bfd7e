//! `EdgeEpoll`: an epoll that tells of each change once, as `EPOLLET` does.
//!
//! A zombie that a tracer holds stays readable for as long as it is held, and a level-triggered
//! reactor would spin on it. Edges come when the process ends and again when the tracer lets it go.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// A private epoll in which each descriptor is watched for the edge of its readiness to be read.
///
/// It is itself a descriptor that is readable while an edge is to be taken: a level-triggered
/// reactor that cannot be told to watch edges registers this one instead, and calls
/// [`take`](Self::take) after each event. What is watched stays so until its last descriptor is
/// closed.
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
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches `fd`; what is ready already counts as an edge. `key` comes back with its edges.
    ///
    /// # Errors
    ///
    /// `ENOSPC` (`/proc/sys/fs/epoll/max_user_watches`), `ENOMEM`; `EEXIST` if it is watched
    /// already.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(key), EventFlags::IN | EventFlags::ET)?)
    }

    /// Takes an edge if there is one, without blocking: whether there was.
    ///
    /// # Errors
    ///
    /// None that `epoll_wait(2)` documents can happen here; they are passed on if they do.
    pub fn take(&self) -> io::Result<bool> {
        let mut edge = [MaybeUninit::uninit()];
        let (taken, _) =
            epoll::wait(&self.0, &mut edge, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(!taken.is_empty())
    }

    /// Blocks until there are edges, or for `timeout`; the keys of up to 64 replace what is in
    /// `keys`.
    pub(crate) fn wait(&self, keys: &mut Vec<u64>, timeout: Option<&Timespec>) {
        keys.clear();
        let mut edges = [MaybeUninit::uninit(); 64];
        // No other error than an interruption can happen: descriptor and buffer are ours and valid.
        if let Ok((edges, _)) = epoll::wait(&self.0, &mut edges, timeout) {
            keys.extend(edges.iter().map(|edge| edge.data.u64()));
        }
    }
}

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
