//! Runs the command: waits for its exit, its time and the signals that arrive, whichever is first.

use std::future::{pending, poll_fn};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;

use pidfd_reaper::tokio::{Child, ChildHandle, Command};
use pidfd_reaper::{KillScope, Signal};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getpid, kill_process, setrlimit};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep_until};

use crate::options::Options;
use crate::terminal::Terminal;
use crate::{report, signals};

const TIMED_OUT: u8 = 124;
pub(crate) const OWN_FAILURE: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
const SIGNALLED: i32 = 128;

/// How timeout is to end.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Exit(u8),
    /// By the same signal as the command, so that the caller sees a signal too.
    Signal(i32),
}

impl Outcome {
    /// The status as a shell shows it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => u8::try_from(SIGNALLED + signal).unwrap_or(OWN_FAILURE),
        }
    }

    /// Returns the status to exit with, unless the signal ends this process.
    pub(crate) fn exit(self) -> u8 {
        if let Self::Signal(signal) = self {
            // The core is the command's, if there is one.
            let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
            // It resets the disposition, for a signal that was caught here.
            let _ = emulate_default_handler(signal);
            // It does not do so for `SIGKILL`.
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = kill_process(getpid(), signal);
            }
        }
        self.code()
    }
}

/// Runs the command to its end, and reports errors on standard error.
pub(crate) async fn run(options: &Options) -> Outcome {
    // Before the spawn: a signal that arrives from now on is passed on.
    let received = match Received::new(options) {
        Ok(received) => received,
        Err(error) => return failed(&error),
    };
    let (program, args) = options.command.split_first().expect("a command was parsed");
    let scope = if options.foreground { KillScope::Child } else { KillScope::Group };
    let child = match Command::new(program).args(args).kill_scope(scope).spawn() {
        Ok(child) => child,
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.split(" (os error").next().unwrap_or_default();
            report(format_args!("failed to run command {}: {reason}", quoted(options)));
            return Outcome::Exit(spawn_failure(&error));
        }
    };
    let mut run = Run {
        options,
        terminal: if options.foreground { None } else { Terminal::of(&child) },
        child,
        deadline: options.time.and_then(|time| Instant::now().checked_add(time)),
        next: options.signal,
        signalled: false,
        killed: false,
        timed_out: false,
    };
    match run.until_exit(received).await {
        Ok(status) => run.outcome(status),
        Err(error) => {
            // Without a wait there is no limit either: the command must not run on.
            let _ = run.child.start_kill();
            failed(&error)
        }
    }
}

fn failed(error: &io::Error) -> Outcome {
    report(error);
    Outcome::Exit(OWN_FAILURE)
}

/// The status after an error of the spawn, which may be the command's or that of the fork.
fn spawn_failure(error: &io::Error) -> u8 {
    let own = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => NOT_FOUND,
        Some(errno) if !own.contains(&errno) => CANNOT_BE_RUN,
        _ => OWN_FAILURE,
    }
}

fn quoted(options: &Options) -> String {
    format!("'{}'", options.command[0].to_string_lossy())
}

struct Run<'o> {
    options: &'o Options,
    child: Child,
    terminal: Option<Terminal>,
    /// When the next signal is to be sent: at the end of the time, or of the grace period.
    deadline: Option<Instant>,
    next: Option<Signal>,
    /// Whether the first signal was sent, with which the grace period begins.
    signalled: bool,
    /// Whether `SIGKILL` was sent at the end of the time or of the grace period.
    killed: bool,
    timed_out: bool,
}

enum Event {
    Exited(io::Result<ExitStatus>),
    TimeIsOver,
    Received(Signal),
    Stopped(Signal),
}

impl Run<'_> {
    async fn until_exit(&mut self, mut received: Received) -> io::Result<ExitStatus> {
        let handle = self.child.handle();
        loop {
            // The grace period is that of the whole group. Without one, only the command's exit
            // matters: what it leaves behind is its own affair.
            let group = self.signalled && self.options.grace.is_some() && !self.killed;
            let event = tokio::select! {
                biased;
                status = exit(&handle, group) => Event::Exited(status),
                () = at(self.deadline) => Event::TimeIsOver,
                signal = received.next() => Event::Received(signal),
                signal = stop(self.terminal.as_mut()) => Event::Stopped(signal),
            };
            match event {
                Event::Exited(status) => {
                    if self.killed {
                        // An error means that the rest may not be signalled.
                        let _ = self.child.kill().await;
                    }
                    return status;
                }
                Event::TimeIsOver | Event::Received(Signal::ALARM) => self.time_is_over(),
                Event::Received(Signal::TSTP) => {
                    self.with_terminal(|_, child| Terminal::stop(child));
                }
                Event::Received(Signal::CONT) => self.with_terminal(Terminal::go_on),
                Event::Received(signal) => self.send(Some(signal)),
                Event::Stopped(signal) => {
                    self.with_terminal(|terminal, child| terminal.child_stopped(child, signal));
                }
            }
        }
    }

    fn time_is_over(&mut self) {
        self.timed_out = true;
        self.deadline = None;
        self.killed = self.next == Some(Signal::KILL);
        self.send(self.next);
    }

    /// Sends a signal, and begins the grace period with the first one.
    fn send(&mut self, signal: Option<Signal>) {
        if let (false, Some(grace)) = (self.signalled, self.options.grace) {
            self.deadline = Instant::now().checked_add(grace);
            self.next = Some(Signal::KILL);
        }
        self.signalled = true;
        if self.options.verbose {
            let name = signal.map_or("EXIT", signals::name);
            report(format_args!("sending signal {name} to command {}", quoted(self.options)));
        }
        if let Some(signal) = signal {
            self.signal(signal);
        }
        // A stopped process takes a signal only once it goes on.
        if !self.options.foreground && ![Some(Signal::KILL), Some(Signal::CONT)].contains(&signal) {
            self.signal(Signal::CONT);
        }
    }

    fn signal(&self, signal: Signal) {
        let sent = if self.options.foreground {
            self.child.signal(signal)
        } else {
            self.child.signal_scope(signal)
        };
        match sent {
            // It has exited.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                let name = signals::name(signal);
                let command = quoted(self.options);
                report(format_args!("cannot send signal {name} to command {command}: {error}"));
            }
            Ok(()) => {}
        }
    }

    fn with_terminal(&mut self, act: impl FnOnce(&mut Terminal, &Child) -> io::Result<()>) {
        if let Some(Err(error)) = self.terminal.as_mut().map(|terminal| act(terminal, &self.child))
        {
            report(format_args!("terminal: {error}"));
        }
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        if status.core_dumped() {
            report("the monitored command dumped core");
        }
        let signal = status.signal();
        let code = signal.map_or_else(|| status.code(), |signal| Some(SIGNALLED + signal));
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OWN_FAILURE);
        match signal {
            Some(signal) if !self.timed_out => Outcome::Signal(signal),
            Some(signal) if signal == Signal::KILL.as_raw() => Outcome::Exit(code),
            _ if self.timed_out && !self.options.preserve_status => Outcome::Exit(TIMED_OUT),
            _ => Outcome::Exit(code),
        }
    }
}

/// Waits for the exit of the command or of its whole group. It is dropped and made again with each
/// event, which loses nothing.
async fn exit(child: &ChildHandle, group: bool) -> io::Result<ExitStatus> {
    if group { child.wait_scope().await } else { child.wait().await }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn stop(terminal: Option<&mut Terminal>) -> Signal {
    match terminal {
        Some(terminal) => terminal.stopped().await,
        None => pending().await,
    }
}

/// The signals that arrive here. A command does not inherit that they are caught: `exec` resets them
/// to their default action, also those that the caller had ignored.
struct Received(Vec<(Signal, unix::Signal)>);

impl Received {
    fn new(options: &Options) -> io::Result<Self> {
        use Signal as S;
        let mut signals = vec![S::INT, S::QUIT, S::HUP, S::TERM, S::ALARM];
        if !options.foreground {
            signals.extend([S::TSTP, S::CONT]);
        }
        // Tokio refuses those that cannot be caught.
        let uncaught = [S::KILL, S::STOP, S::ILL, S::FPE, S::SEGV];
        let own = options.signal.filter(|own| !signals.contains(own) && !uncaught.contains(own));
        signals.extend(own);
        let register =
            |signal: S| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        // With `SIGCHLD` ignored the kernel would reap the command, and its status be lost.
        drop(unix::signal(SignalKind::child())?);
        signals.into_iter().map(register).collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(cx).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
