//! `OutputLimits`: how much output, and for how long, is read of a child that may not be trusted.

use std::io;
use std::time::Duration;

use super::child::Child;
use super::command::Command;
use super::output;
use crate::kernel::exit::Exit;
use crate::reactor::Reactor;
use crate::spawn::stdio::Stdio;

/// Bounds for [`Command::output_with`]. By default there are none.
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

    /// Kills the child once a stream has more than its bytes.
    #[must_use]
    pub fn kill_on_excess(mut self) -> Self {
        self.kills_on_excess = true;
        self
    }

    /// Kills the child when that time is over, and returns what there is.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// How long, after the child's end, to wait for others that still hold its pipes:
    /// grandchildren. Without it, until they close them; after a limit has killed the child, not at
    /// all.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

/// What came of a child within its [`OutputLimits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoundedOutput {
    /// How the child ended, and what it used.
    pub exit: Exit,
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first bytes of its standard error.
    pub stderr: Vec<u8>,
    /// How many bytes of standard output came beyond the limit, and were thrown away.
    pub stdout_excess: u64,
    /// How many bytes of standard error came beyond the limit, and were thrown away.
    pub stderr_excess: u64,
    /// Whether the time was over before the child ended; it was killed then.
    pub timed_out: bool,
    /// Whether both streams were read to their ends; else someone still held a pipe.
    pub complete: bool,
}

impl<R: Reactor> Command<R> {
    /// Starts the child now, its output and error piped; the future collects both within `limits`.
    ///
    /// [`kill_scope`](Self::kill_scope) says whom a limit kills.
    ///
    /// # Errors
    ///
    /// Those of [`output`](Self::output), and `EMFILE` if there is no timer to be had.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub fn output_with(
        &mut self,
        limits: OutputLimits,
    ) -> impl Future<Output = io::Result<BoundedOutput>> + use<R> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = R::current().and_then(|_| self.spawn());
        async move { child?.wait_with_output_within(&limits).await }
    }
}

impl<R: Reactor> Child<R> {
    /// [`wait_with_output`](Self::wait_with_output) within `limits`.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with_output`](Self::wait_with_output), and `EMFILE` if there is no timer to
    /// be had.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub async fn wait_with_output_within(self, limits: &OutputLimits) -> io::Result<BoundedOutput> {
        let Self { mut owned, stdin, stdout, stderr } = self;
        drop(stdin);
        output::collect(&mut owned, stdout.map(Into::into), stderr.map(Into::into), limits).await
    }
}
