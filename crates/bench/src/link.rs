//! The line between the driver and a contender: messages up, permission to go on down.

use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;

use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use crate::{alloc, contender, sys};

/// What a contender has counted since its start, and what its work brought to light.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The contender's own number: who observes it has another.
    pub(crate) contender: u32,
    pub(crate) polls: u64,
    pub(crate) allocations: u64,
    pub(crate) bytes_in_use: u64,
    /// How often its threads went to sleep.
    pub(crate) sleeps: u64,
    pub(crate) pids: Vec<u32>,
    pub(crate) nanos: Vec<u64>,
}

/// A contender's end of the line.
#[derive(Debug)]
pub(crate) struct Link(UnixStream);

impl Link {
    /// Takes over the descriptor that the driver has handed down; children do not get it.
    pub(crate) fn inherited(fd: RawFd) -> io::Result<Self> {
        let fd: OwnedFd = sys::inherited(fd);
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(Self(fd.into()))
    }

    /// Tells where the counts stand, and goes on.
    pub(crate) fn tell(&mut self, pids: Vec<u32>, nanos: Vec<u64>) -> io::Result<()> {
        let message = Message {
            contender: process::id(),
            polls: contender::polls::count(),
            allocations: alloc::allocations(),
            bytes_in_use: alloc::bytes_in_use(),
            sleeps: sys::sleeps(),
            pids,
            nanos,
        };
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Tells where the counts stand, and sleeps until the driver lets it go on.
    pub(crate) fn pause(&mut self, pids: Vec<u32>, nanos: Vec<u64>) -> io::Result<()> {
        self.tell(pids, nanos)?;
        self.0.read_exact(&mut [0])
    }
}
