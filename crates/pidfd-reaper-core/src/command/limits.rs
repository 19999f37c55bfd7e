//! `OutputLimits`: how much output, and for how long, is read of a child that may not be trusted;
//! and what comes of it.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::Output;
use std::time::Duration;

use crate::kernel::exit::Exit;

/// Bounds for [`Command::output_with`](crate::Command::output_with). By default there are none.
///
/// ```
/// use std::time::Duration;
/// use pidfd_reaper_core::OutputLimits;
///
/// let (time, grace) = (Duration::from_secs(10), Duration::ZERO);
/// let limits = OutputLimits::new().bytes(1 << 20).time(time).grace(grace);
/// ```
#[derive(Clone, Debug, Default)]
pub struct OutputLimits {
    pub(super) bytes: Option<usize>,
    pub(super) kills_on_excess: bool,
    pub(super) time: Option<Duration>,
    pub(super) grace: Option<Duration>,
}

impl OutputLimits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps at most so many bytes of each stream. The rest is read and counted, so that the child
    /// does not block on it.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Kills the child's [scope](crate::Command::kill_scope) once a stream has more than its bytes,
    /// and returns what there is, also if it is others that go on to write after the child's exit.
    #[must_use]
    pub fn kill_on_excess(mut self) -> Self {
        self.kills_on_excess = true;
        self
    }

    /// Kills the child's [scope](crate::Command::kill_scope) when that time is over, and returns
    /// what there is.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// How long, after the child's exit, to wait for others that still hold its pipes:
    /// grandchildren. Without it, until they close them; after a limit has killed the child, not at
    /// all.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Whether the child must not run on without what bounds it.
    pub(super) fn bounds_the_child(&self) -> bool {
        self.time.is_some() || self.kills_on_excess
    }
}

/// What came of a child within its [`OutputLimits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoundedOutput {
    /// How the child exited, and what it used.
    pub exit: Exit,
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first bytes of its standard error.
    pub stderr: Vec<u8>,
    /// How many bytes of standard output came beyond the limit, and were thrown away.
    pub stdout_excess: u64,
    /// How many bytes of standard error came beyond the limit, and were thrown away.
    pub stderr_excess: u64,
    /// Whether the time was over before the child exited; it was killed then.
    pub timed_out: bool,
    /// Whether both streams were read to their ends; else something still held a pipe.
    pub complete: bool,
}

impl From<BoundedOutput> for Output {
    fn from(output: BoundedOutput) -> Self {
        let BoundedOutput { exit, stdout, stderr, .. } = output;
        Self { status: exit.status, stdout, stderr }
    }
}

/// Why the output of a child could not be collected to its end, with what was collected.
///
/// [`output_with`](crate::Command::output_with) returns it as such. The calls that return an
/// [`io::Error`] have it inside of that if anything was read or the child's exit is known, and
/// [`from_io`](Self::from_io) finds it there; else they return the error itself.
///
/// ```
/// # use pidfd_reaper_core::{Command, OutputError, Reactor};
/// # async fn run<R: Reactor>() {
/// match Command::<R>::new("make").output().await {
///     Ok(output) => println!("{}", output.status),
///     Err(error) => {
///         let read = OutputError::from_io(&error).map_or(0, |error| error.stdout.len());
///         println!("{error}, after {read} bytes");
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct OutputError {
    /// The first error: of a pipe, of the wait, of a limit's timer or of its kill.
    pub error: io::Error,
    /// How the child exited; `None` if it was not started, or still ran: then it went the way of one
    /// that is dropped.
    pub exit: Option<Exit>,
    /// What was read of its standard output.
    pub stdout: Vec<u8>,
    /// What was read of its standard error.
    pub stderr: Vec<u8>,
}

impl OutputError {
    /// The error with its output that is inside of `error`, if there is one.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the output of the child was not collected to its end: {}", self.error)
    }
}

impl Error for OutputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Of a child that was not started.
impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        Self { error, exit: None, stdout: Vec::new(), stderr: Vec::new() }
    }
}

impl From<OutputError> for io::Error {
    fn from(error: OutputError) -> Self {
        if error.exit.is_none() && error.stdout.is_empty() && error.stderr.is_empty() {
            error.error
        } else {
            Self::new(error.error.kind(), error)
        }
    }
}
