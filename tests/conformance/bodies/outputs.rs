//! Errors while output is collected: what was read comes back, and no child runs on without its
//! limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::{Command, OutputError, OutputLimits, Pipe, Stdout, orphans};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use super::failures::{FOR_EVER, Failing, fail};
use super::limits::Scarcity;
use super::{Body, bodies};
use crate::children::{Flock, sh, until, until_gone, until_no_orphans};
use crate::runtimes::{CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        no_timer_for_the_limit,
        no_timer_for_the_limit_of_a_running_child,
        output_read_before_an_error,
        output_of_a_terminal,
    ]
}

const LONG: Duration = Duration::from_secs(600);

/// Then the child is not started.
fn no_timer_for_the_limit<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let mut command = CommandOn::<R>::new("true");
        let scarcity = Scarcity::of_descriptors_but(0)?;
        let output = command.output_with(OutputLimits::new().time(LONG));
        drop(scarcity);
        let error = output.await.expect_err("there is no descriptor for a timer");
        assert_eq!(error.error.raw_os_error(), Some(libc::EMFILE));
        assert!(error.exit.is_none());
        assert!(orphans().is_empty());
        Ok(())
    })
}

/// Then it is killed, and what it has written is returned.
fn no_timer_for_the_limit_of_a_running_child<R: Runtime>() -> io::Result<()> {
    R::new().block_on(async {
        let mut command = CommandOn::<R>::from(sh("echo first; exec sleep 600"));
        let child = command.stdout(Stdio::piped()).spawn()?;
        let pid = child.id().expect("it runs");
        crate::children::until_it_runs(pid, "sleep");
        let limits = OutputLimits::new().time(LONG);
        let scarcity = Scarcity::of_descriptors_but(0)?;
        let error = child.wait_with_output_within(&limits).await;
        drop(scarcity);
        let error = error.expect_err("there is no descriptor for a timer");
        assert_eq!(error.error.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(error.stdout, b"first\n");
        if let Some(exit) = error.exit {
            assert_eq!(exit.status.signal(), Some(9));
        }
        until_gone(pid);
        Ok(())
    })
}

/// A reactor that fails while it goes on.
fn output_read_before_an_error<R: Runtime>() -> io::Result<()> {
    let flock = Flock::new()?;
    let runtime = R::new();
    for bounded in [false, true] {
        // The child inherits it, and says by it that it has written.
        let (said, says) = pipe_with(PipeFlags::empty())?;
        let script = format!("echo first; echo > /proc/self/fd/{}; exec cat", says.as_raw_fd());
        let mut command = Command::<Failing<R::Reactor>>::from(sh(&script));
        command.stdin(flock.leash()?);
        let output: Pin<Box<dyn Future<Output = io::Result<()>>>> = if bounded {
            let output = command.output_with(OutputLimits::new().time(LONG));
            Box::pin(async { output.await.map(drop).map_err(io::Error::from) })
        } else {
            let output = command.output();
            Box::pin(async { output.await.map(drop) })
        };
        File::from(said).read_exact(&mut [0])?;
        drop(says);
        let mut output = output;
        let error = runtime.block_on(async {
            assert!(poll_once(&mut output).await.is_none());
            fail(FOR_EVER);
            output.await
        });
        fail(0);
        let error = error.expect_err("no source works any more");
        assert!(error.to_string().contains("not collected"), "{error}");
        let partial = OutputError::from_io(&error).expect("something was read");
        assert_eq!(partial.stdout, b"first\n");
        assert_eq!(partial.error.raw_os_error(), Some(libc::EIO));
        // It went the way of one that is dropped; bounded, it was killed.
        until(|| "a bounded child runs on".into(), || orphans().len() == 1);
    }
    drop(flock);
    until_no_orphans();
    Ok(())
}

/// The master ends with EIO, which is its end of file.
fn output_of_a_terminal<R: Runtime>() -> io::Result<()> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    let mut command = CommandOn::<R>::from(sh("echo hello; exit 7"));
    let mut child = command.stdout(slave).spawn()?;
    drop(command);
    let master: Pipe<R::Reactor, Stdout> = Pipe::from_std(ChildStdout::from(master));
    child.stdout = Some(master.into());
    let output = R::new().block_on(child.wait_with_output())?;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"hello\r\n");
    Ok(())
}
