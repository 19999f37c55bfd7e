//! Processes that are no children of ours, by a pidfd that we opened or were sent.

use std::io::{self, BufRead, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use futures_lite::future::poll_once;
use pidfd_reaper::{KernelSupport, Pidfd, Reactor, Signal, StatusLost, exit_status, exited};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Body, Place, bodies};
use crate::children::{Hold, held, myself, sh, state_of, until_state};
use crate::runtimes::Runtime;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        stranger_awaited.only(Place::WithPidfd),
        stranger_awaited_by_a_pidfd_that_was_sent.only(Place::WithPidfd),
        child_awaited_as_a_stranger.only(Place::WithPidfd),
        exit_awaited_that_is_never_reaped.only(Place::WithPidfd),
        status_asked_of_a_running_stranger.only(Place::WithPidfd),
    ]
}

/// The descriptor that another process has sent over `socket`.
fn received(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let sent = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    sent.ok_or_else(|| io::Error::other("no descriptor was sent"))
}

/// Of a child of the process that has sent it.
fn stranger_awaited_by_a_pidfd_that_was_sent<R: Runtime>() -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut sender = myself("sender")?.stdin(OwnedFd::from(theirs)).spawn()?;
    let pidfd = Pidfd::from(received(&ours)?);
    let status = R::new().block_on(async {
        let mut wait = std::pin::pin!(exit_status::<R::Reactor>(&pidfd));
        assert!(poll_once(&mut wait).await.is_none());
        pidfd.send_signal(Signal::TERM)?;
        wait.await
    })?;
    let recovers = KernelSupport::probe().exit_info.is_ok();
    assert_eq!(status.and_then(|status| status.signal()), recovers.then_some(libc::SIGTERM));
    // Once more, after its parent has reaped it for certain; and then no signal goes there.
    assert!(sender.wait()?.success());
    let again = R::new().block_on(exit_status::<R::Reactor>(&pidfd))?;
    assert_eq!(again.and_then(|status| status.signal()), recovers.then_some(libc::SIGTERM));
    let error = pidfd.send_signal(Signal::TERM).expect_err("it was reaped");
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    Ok(())
}

fn stranger_awaited<R: Runtime>() -> io::Result<()> {
    // A shell gives what it starts in the background no input, unless it is told to.
    let script =
        "exec 3<&0; sh -c 'read nothing; exit 7' <&3 & echo $!; exec 3<&-; wait $!; exit 0";
    let mut parent = sh(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("it was piped")).read_line(&mut line)?;
    let pidfd = Pidfd::open(line.trim().parse().map_err(io::Error::other)?)?;
    let status = R::new().block_on(async {
        let mut wait = std::pin::pin!(exit_status::<R::Reactor>(&pidfd));
        assert!(poll_once(&mut wait).await.is_none());
        drop(parent.stdin.take());
        wait.await
    })?;
    let recovers = KernelSupport::probe().exit_info.is_ok();
    assert_eq!(status.and_then(|status| status.code()), recovers.then_some(7));
    assert!(parent.wait()?.success());
    Ok(())
}

/// Of a child that exits with 7 when it is let go.
pub(super) async fn await_as_a_stranger<R: Reactor>(pidfd: &Pidfd, hold: Hold) -> io::Result<()> {
    let mut wait = std::pin::pin!(exit_status::<R>(pidfd));
    assert!(poll_once(&mut wait).await.is_none());
    drop(hold);
    assert_eq!(wait.await?.and_then(|status| status.code()), Some(7));
    Ok(())
}

fn child_awaited_as_a_stranger<R: Runtime>() -> io::Result<()> {
    let (mut child, hold) = held(7)?;
    let pidfd = Pidfd::open(child.id())?;
    R::new().block_on(await_as_a_stranger::<R::Reactor>(&pidfd, hold))?;
    // It was not reaped.
    assert_eq!(child.wait()?.code(), Some(7));
    Ok(())
}

/// The exit of a process whose parent does not reap it, since it waits for us.
fn exit_awaited_that_is_never_reaped<R: Runtime>() -> io::Result<()> {
    // The parent is stopped by us before its child exits, so it cannot reap it.
    let script = "exec 3<&0; sh -c 'read nothing; exit 7' <&3 & echo $!; wait $!";
    let mut parent = sh(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("it was piped")).read_line(&mut line)?;
    let pid = line.trim().parse().map_err(io::Error::other)?;
    let pidfd = Pidfd::open(pid)?;
    let of_parent = Pidfd::open(parent.id())?;
    of_parent.send_signal(Signal::STOP)?;
    until_state(parent.id(), 'T');
    R::new().block_on(async {
        let mut wait = std::pin::pin!(exited::<R::Reactor>(&pidfd));
        assert!(poll_once(&mut wait).await.is_none());
        drop(parent.stdin.take());
        wait.await?;
        assert_eq!(state_of(pid), Some('Z'));
        // Again, of a zombie.
        exited::<R::Reactor>(&pidfd).await?;
        of_parent.send_signal(Signal::CONT)
    })?;
    parent.wait()?;
    // And of one that is gone.
    R::new().block_on(exited::<R::Reactor>(&pidfd))
}

/// It is an error that says what to call, not one that says that a status is lost.
fn status_asked_of_a_running_stranger<R: Runtime>() -> io::Result<()> {
    let error = Pidfd::open(std::process::id())?.try_wait().expect_err("it is no child of ours");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(!StatusLost::is(&error) && error.to_string().contains("no child"), "{error}");
    R::new().block_on(async {});
    Ok(())
}
