//! An interactive shell on a terminal of its own, without `unsafe`. On smol.
//!
//! The shell leads a session whose controlling terminal is a new pseudoterminal, so it has job
//! control: a command runs in the foreground, Ctrl-C ends that and not the shell.
//!
//! ```text
//! cargo run --example pty
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use pidfd_reaper::smol::{Child, Command};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

fn main() -> io::Result<ExitCode> {
    let (mut shell, mut terminal) = spawn_on_terminal(Command::new("sh").arg("-i"))?;
    let mut screen = terminal.try_clone()?;
    // Reading fails once the last process has closed the terminal.
    let reader = thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            text.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let started = Instant::now();
    for line in ["tty\n", "sleep 1000\n", "\x03", "echo interrupted: $?\n", "exit 7\n"] {
        // As long as someone needs to type it; the shell has to have started its command by then.
        thread::sleep(Duration::from_millis(300));
        terminal.write_all(line.as_bytes())?;
    }
    let status = smol::block_on(shell.wait())?;
    let text = reader.join().expect("it only reads");
    println!("{text}\n\nThe shell ended with {status}, after {:.1?}", started.elapsed());
    let is_right = status.code() == Some(7) && text.contains("interrupted: 130");
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a command on a new terminal, and returns the other side of that.
fn spawn_on_terminal(command: &mut Command) -> io::Result<(Child, File)> {
    let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&outside)?;
    unlockpt(&outside)?;
    let path = ptsname(&outside, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = openat(CWD, path, flags, Mode::empty())?;
    let child = command
        .stdin(inside.try_clone()?)
        .stdout(inside.try_clone()?)
        .stderr(inside.try_clone()?)
        .session()
        .controlling_terminal(inside)
        .spawn()?;
    Ok((child, outside.into()))
}
