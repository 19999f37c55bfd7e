//! The whole surface of `tokio::process` on Unix, used as programs use it.

// The one line that a migration changes, and the one that it may change.
use super::Stdio;
use super::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use std::future::Future;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

type Result = io::Result<()>;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

/// A trait implemented for each pipe apart: they have to be three types.
trait Named {
    const NAME: &str;
}

impl Named for ChildStdin {
    const NAME: &str = "in";
}

impl Named for ChildStdout {
    const NAME: &str = "out";
}

impl Named for ChildStderr {
    const NAME: &str = "err";
}

fn name<T: Named>(_: &T) -> &'static str {
    T::NAME
}

/// As `tokio::process`'s types are.
#[test]
fn types_may_cross_a_caught_panic() {
    fn is_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    is_safe::<ChildStdin>();
    is_safe::<ChildStdout>();
    is_safe::<ChildStderr>();
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn arguments_environment_and_directory() -> Result {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $A $B ${C-none} $PWD"]).env_clear().env("A", "1");
    command.envs([("B", "2"), ("C", "3")]).env_remove("C").current_dir("/");
    assert_eq!(text(&command.output().await?), "1 2 none /");
    Ok(())
}

#[tokio::test]
async fn the_standard_librarys_command_in_and_out() -> Result {
    let mut command = Command::from(std::process::Command::new("sh"));
    command.as_std_mut().arg("-c");
    command.arg("exit 3");
    assert_eq!(command.as_std().get_program(), "sh");
    assert_eq!(command.as_std().get_args().count(), 2);
    assert!(format!("{command:?}").contains("exit 3"));
    let mut std = command.into_std();
    assert_eq!(std.status()?.code(), Some(3));
    Ok(())
}

#[tokio::test]
async fn identity_and_group() -> Result {
    let mut command = sh("echo $0; cat /proc/self/stat");
    command.arg0("renamed").process_group(0);
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    command.uid(uid.as_raw()).gid(gid.as_raw());
    let child = command.stdout(Stdio::piped()).spawn()?;
    let pid = child.id().unwrap().to_string();
    let output = child.wait_with_output().await?;
    let stat = text(&output).lines().last().unwrap();
    // pid (comm) state ppid pgrp: cat runs in the group that the shell leads.
    let group = stat.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap();
    assert_eq!(group, pid);
    Ok(())
}

#[tokio::test]
#[expect(unsafe_code, reason = "the method is unsafe in tokio::process too")]
async fn a_closure_before_the_exec() -> Result {
    let mut command = sh("exit 0");
    // SAFETY: the closure does nothing but make an error of a number.
    unsafe { command.pre_exec(|| Err(io::Error::from_raw_os_error(71))) };
    assert_eq!(command.spawn().unwrap_err().raw_os_error(), Some(71));
    Ok(())
}

#[tokio::test]
async fn status_and_output_start_at_once() -> Result {
    let mut command = sh("exit 5");
    let status = is_send(command.status());
    // Neither borrows the command.
    command.arg("more");
    let output = is_send(command.output());
    let status: ExitStatus = status.await?;
    assert_eq!((status.code(), output.await?.status.code()), (Some(5), Some(5)));
    Ok(())
}

#[tokio::test]
async fn waited_for_again_and_again() -> Result {
    let mut child = sh("exit 9").spawn()?;
    assert!(child.id().is_some());
    assert_eq!(is_send(child.wait()).await?.code(), Some(9));
    assert_eq!(child.wait().await?.code(), Some(9));
    assert_eq!(child.try_wait()?.unwrap().code(), Some(9));
    assert_eq!(child.id(), None);
    // Nothing is left to be killed, and that is no error.
    child.start_kill()?;
    child.kill().await
}

#[tokio::test]
async fn killed() -> Result {
    let mut child = Command::new("sleep").arg("60").spawn()?;
    assert_eq!(child.try_wait()?, None);
    child.start_kill()?;
    assert_eq!(child.wait().await?.signal(), Some(9));
    let mut child = Command::new("sleep").arg("60").spawn()?;
    is_send(child.kill()).await?;
    assert_eq!(child.wait().await?.signal(), Some(9));
    Ok(())
}

#[tokio::test]
async fn killed_by_the_drop() -> Result {
    let mut command = Command::new("cat");
    assert!(!command.get_kill_on_drop());
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert!(command.get_kill_on_drop());
    // The pipes are moved out of the child, which is dropped.
    let Child { stdin, stdout, .. } = command.spawn()?;
    let mut rest = Vec::new();
    stdout.unwrap().read_to_end(&mut rest).await?;
    assert_eq!(rest, b"");
    drop(stdin);
    Ok(())
}

#[tokio::test]
async fn three_pipes_of_three_types() -> Result {
    let mut command = sh("read line; echo out $line; echo err $line >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    assert_eq!((name(&stdin), name(&stdout), name(&stderr)), ("in", "out", "err"));
    assert!(stdin.is_write_vectored());
    let written = stdin.write_vectored(&[IoSlice::new(b"li"), IoSlice::new(b"ne\n")]).await?;
    assert_eq!(written, 5);
    stdin.flush().await?;
    stdin.shutdown().await?;
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err))?;
    assert_eq!((out.as_str(), err.as_str()), ("out line\n", "err line\n"));
    assert!(child.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn wait_closes_stdin() -> Result {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    assert!(child.wait().await?.success());
    assert!(child.stdin.is_none());
    Ok(())
}

#[tokio::test]
async fn one_childs_output_is_anothers_input() -> Result {
    let mut first = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
    let stdin: Stdio = first.stdout.take().unwrap().try_into()?;
    let output = Command::new("tr").args(["a-z", "A-Z"]).stdin(stdin).output().await?;
    assert_eq!(text(&output), "HELLO");
    assert!(first.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_standard_librarys_pipes_in_and_descriptors_out() -> Result {
    let mut std = std::process::Command::new("cat");
    std.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut std = std.spawn()?;
    let mut stdin = ChildStdin::from_std(std.stdin.take().unwrap())?;
    let stdout = ChildStdout::from_std(std.stdout.take().unwrap())?;
    let stderr = ChildStderr::from_std(std.stderr.take().unwrap())?;
    stdin.write_all(b"through").await?;
    assert!(stdin.as_raw_fd() > 2);
    assert!(stderr.as_fd().as_raw_fd() > 2);
    let owned: OwnedFd = stderr.into_owned_fd()?;
    drop(owned);
    drop(stdin.into_owned_fd()?);
    let mut text = String::new();
    std::fs::File::from(stdout.into_owned_fd()?).read_to_string(&mut text)?;
    assert_eq!(text, "through");
    assert!(std.wait()?.success());
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there() {
    let error = Command::new("/nonexistent/program").spawn().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let status: std::pin::Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>> =
        Box::pin(Command::new("/nonexistent/program").status());
    assert_eq!(status.await.unwrap_err().kind(), io::ErrorKind::NotFound);
}
