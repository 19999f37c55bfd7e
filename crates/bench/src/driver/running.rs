//! `Running`: a contender at its work, seen by the driver.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::iter;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd, read, write};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Case;
use super::outside;
use crate::child::Stamp;
use crate::contender::Name;
use crate::link::Message;

/// Nothing takes longer, unless something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Dropped, it is killed, and its children find the gate gone and end.
pub(super) struct Running {
    /// The contender, or who observes it.
    process: Child,
    contender: u32,
    link: BufReader<UnixStream>,
    gate: OwnedFd,
    stamps: OwnedFd,
    stamp: ([u8; Stamp::SIZE], usize),
}

impl Running {
    pub(super) fn start(name: Name, case: Case) -> io::Result<Self> {
        Self::start_under(iter::empty(), name, case)
    }

    /// Starts it under a program that observes it, and with an empty environment.
    pub(super) fn start_counted(observer: &[OsString], name: Name, case: Case) -> io::Result<Self> {
        let empty = ["env", "-i"].map(OsString::from);
        Self::start_under(observer.iter().cloned().chain(empty), name, case)
    }

    fn start_under(
        before: impl Iterator<Item = OsString>,
        name: Name,
        case: Case,
    ) -> io::Result<Self> {
        let (gate_inside, gate) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stamps, stamps_inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let (link, link_inside) = UnixStream::pair()?;
        // The more it has to start, the longer it may take until it tells.
        link.set_read_timeout(Some(PATIENCE + Duration::from_micros(20_000 * case.n.min(20_000))))?;
        fcntl_setfd(&link_inside, FdFlags::empty())?;

        let myself = std::env::current_exe()?.into_os_string();
        let mut words = before.chain([myself]);
        let mut command = Command::new(words.next().expect("one at least"));
        command.args(words).args(["contender", name.text(), case.work.text()]);
        command.args([case.n.to_string(), case.pidfd.to_string()]);
        command.arg(link_inside.as_raw_fd().to_string());
        let process = command.stdin(gate_inside).stdout(Stdio::from(stamps_inside)).spawn()?;
        let (contender, link) = (process.id(), BufReader::new(link));
        Ok(Self { process, contender, link, gate, stamps, stamp: ([0; _], 0) })
    }

    pub(super) fn pid(&self) -> u32 {
        self.contender
    }

    pub(super) fn hear(&mut self) -> io::Result<Message> {
        let mut line = String::new();
        if self.link.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the contender is gone"));
        }
        let message: Message = serde_json::from_str(&line)?;
        self.contender = message.contender;
        Ok(message)
    }

    pub(super) fn go_on(&mut self) -> io::Result<()> {
        self.link.get_mut().write_all(&[0])
    }

    /// Lets it go on, and waits for what it tells then.
    pub(super) fn next(&mut self) -> io::Result<Message> {
        self.go_on()?;
        self.hear()
    }

    /// The processor time it has used, once it sleeps; in microseconds.
    pub(super) fn cpu(&self) -> io::Result<f64> {
        Ok(outside::cpu_asleep(self.pid())?.as_secs_f64() * 1e6)
    }

    /// Lets so many children end.
    pub(super) fn release(&self, mut children: usize) -> io::Result<()> {
        while children > 0 {
            children -= write(&self.gate, &vec![0; children.min(4096)])?;
        }
        Ok(())
    }

    /// What a child has left behind.
    pub(super) fn stamp(&mut self) -> io::Result<Stamp> {
        let (bytes, have) = &mut self.stamp;
        while *have < Stamp::SIZE {
            let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&self.stamps, PollFlags::IN)], Some(&timeout))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no child ends"));
            }
            match read(&self.stamps, &mut bytes[*have..])? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "all are gone")),
                more => *have += more,
            }
        }
        Ok(Stamp::from_bytes(mem::take(&mut self.stamp).0))
    }

    /// Lets one child end, and waits until it was reaped.
    pub(super) fn one_exit(&mut self) -> io::Result<()> {
        self.release(1)?;
        let child = self.stamp()?.pid;
        outside::until("a child is reaped", PATIENCE, || outside::is_reaped(child))
    }

    /// Lets many children end while it is stopped, then lets it see that all at once.
    pub(super) fn exits_at_once(&mut self, children: usize) -> io::Result<()> {
        outside::stop(self.pid())?;
        self.release(children)?;
        let pids = (0..children).map(|_| Ok(self.stamp()?.pid)).collect::<io::Result<Vec<_>>>()?;
        for pid in &pids {
            outside::until("a child ends", PATIENCE, || outside::has_ended(*pid))?;
        }
        outside::go_on(self.pid())?;
        outside::all_reaped(&pids)
    }

    /// Ends it with a signal that an observer sees too, and waits until that one is done.
    pub(super) fn end(mut self) -> io::Result<()> {
        outside::end(self.contender)?;
        outside::until("the observer is done", PATIENCE, || {
            self.process.try_wait().is_ok_and(|status| status.is_some())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it is gone already, and was reaped by its observer.
        if self.contender != self.process.id() {
            let _ = outside::end(self.contender);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
