//! Pipes: all bytes come through, both ways at once, and the ends come when they should.

use std::io;
use std::process::{Command as StdCommand, Stdio};
use std::thread;

use futures_lite::future::{poll_once, zip};
use pidfd_reaper::{Pipe, Stdout};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Body, bodies};
use crate::children::{sh, until};
use crate::leaks::has_children;
use crate::runtimes::{ChildOn, CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        megabytes_in_and_out,
        both_outputs_at_once,
        held_by_a_grandchild,
        one_childs_output_is_anothers_input,
        moved_between_runtimes,
        broken,
        no_pipes_at_all,
    ]
}

fn cat<R: Runtime>() -> io::Result<ChildOn<R>> {
    CommandOn::<R>::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// More than all pipes can hold: neither way may wait for the other.
fn megabytes_in_and_out<R: Runtime>() -> io::Result<()> {
    let bytes = (0..=250).collect::<Vec<u8>>().repeat((8 << 20) / 251);
    R::new().block_on(async {
        let mut child = cat::<R>()?;
        let stdin = child.stdin.take().expect("it was piped");
        let stdout = child.stdout.take().expect("it was piped");
        let (written, read) = zip(R::write_all(stdin, &bytes), R::read_to_end(stdout)).await;
        written?;
        assert!(read? == bytes, "other bytes have come out");
        assert!(child.wait().await?.success());

        // The same by the child's own collector.
        let mut child = cat::<R>()?;
        let stdin = child.stdin.take().expect("it was piped");
        let (written, output) = zip(R::write_all(stdin, &bytes), child.wait_with_output()).await;
        written?;
        let output = output?;
        assert!(output.stdout == bytes, "other bytes have come out");
        assert!(output.status.success());
        Ok(())
    })
}

fn both_outputs_at_once<R: Runtime>() -> io::Result<()> {
    // Each by turns, and both more than a pipe holds.
    let script = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); \
        echo 0123456789012345678901234567890123456789012345678901234567890123456789; \
        echo 0123456789012345678901234567890123456789012345678901234567890123456789 >&2; \
        done; exit 3";
    let output = R::new().block_on(async { CommandOn::<R>::from(sh(script)).output().await })?;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.len(), output.stderr.len()), (500 * 71, 500 * 71));
    Ok(())
}

/// The child is reaped when it ends, and the output ends when the grandchild does.
fn held_by_a_grandchild<R: Runtime>() -> io::Result<()> {
    let (leash, hold) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = CommandOn::<R>::from(sh("exec 3<&0; cat <&3 & echo early; exit 3"));
    command.stdin(leash);
    let release = move || {
        until(|| "the child is a zombie, or runs".into(), || !has_children());
        write(&hold, b"late\n")
    };
    let (output, release) = R::new().block_on(async {
        // It starts here.
        let output = command.output();
        let release = thread::spawn(release);
        (output.await, release)
    });
    release.join().expect("the child was reaped")?;
    let output = output?;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"early\nlate\n"[..]));
    Ok(())
}

fn one_childs_output_is_anothers_input<R: Runtime>() -> io::Result<()> {
    let script = "read go; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done";
    let mut command = CommandOn::<R>::from(sh(script));
    R::new().block_on(async {
        let mut first = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = first.stdin.take().expect("it was piped");
        // Registered, and so made non-blocking.
        let mut pipe: Pipe<R::Reactor, Stdout> = first.stdout.take().expect("it was piped").into();
        let read = std::future::poll_fn(|cx| pipe.poll_read(cx, &mut [0; 8]));
        assert!(poll_once(read).await.is_none());
        assert!(fcntl_getfl(&pipe)?.contains(OFlags::NONBLOCK));

        let fd = pipe.into_owned_fd()?;
        assert!(!fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK));
        R::write_all(stdin, b"go\n").await?;
        let pipe: Pipe<R::Reactor, Stdout> = Pipe::from_std(fd.into());
        let mut second = CommandOn::<R>::new("cat");
        let mut second =
            second.stdin(R::into_stdio(pipe.into())?).stdout(Stdio::piped()).spawn()?;
        let lines = R::read_to_end(second.stdout.take().expect("it was piped")).await?;
        let lines = String::from_utf8(lines).expect("it is ASCII");
        assert_eq!((lines.lines().count(), lines.lines().last()), (2000, Some("line 2000")));
        assert!(first.wait().await?.success());
        assert!(second.wait().await?.success());
        Ok(())
    })
}

fn moved_between_runtimes<R: Runtime>() -> io::Result<()> {
    let mut child = cat::<R>()?;
    let stdin = child.stdin.take().expect("it was piped");
    let mut pipe: Pipe<R::Reactor, Stdout> = child.stdout.take().expect("it was piped").into();
    for _ in 0..3 {
        let read = std::future::poll_fn(|cx| pipe.poll_read(cx, &mut [0; 8]));
        assert!(R::new().block_on(poll_once(read)).is_none());
    }
    R::new().block_on(R::write_all(stdin, b"moved"))?;
    assert_eq!(R::new().block_on(R::read_to_end(pipe.into()))?, b"moved");
    assert!(R::new().block_on(child.wait())?.success());
    Ok(())
}

fn broken<R: Runtime>() -> io::Result<()> {
    let mut child = CommandOn::<R>::new("true").stdin(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().expect("it was piped");
    R::new().block_on(async {
        assert!(child.wait().await?.success());
        let error =
            R::write_all(stdin, b"nobody reads").await.expect_err("nobody has the other end");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        Ok(())
    })
}

fn no_pipes_at_all<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let child = ChildOn::<R>::try_from(StdCommand::new("true").spawn()?)?;
        let output = child.wait_with_output().await?;
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
        let status = CommandOn::<R>::from(sh("exit 7")).stdout(Stdio::piped()).status().await?;
        assert_eq!(status.code(), Some(7));
        Ok(())
    })
}
