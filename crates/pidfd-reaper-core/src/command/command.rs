//! `Command`: the standard library's builder, whose children are awaited.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as StdChild, Command as StdCommand, ExitStatus, Output};
use std::time::Duration;

use super::child::Child;
use super::ending::OnDrop;
use super::limits::{BoundedOutput, OutputError, OutputLimits};
use super::output::Prepared;
use crate::reactor::Reactor;
use crate::reap::process::Process;
use crate::reap::reaper::Reaper;
use crate::reap::scope::KillScope;
use crate::spawn::builder::Builder;
use crate::spawn::stdio::Stdio;

/// Builds and starts a child process that is awaited on the reactor `R`.
///
/// Its methods have the names, arguments and meaning of `tokio::process::Command`'s, and those that
/// it shares with [`std::process::Command`] do what they do there.
///
/// ```
/// use pidfd_reaper_core::{Command, Reactor};
///
/// async fn lines<R: Reactor>(path: &str) -> std::io::Result<usize> {
///     let output = Command::<R>::new("cat").arg(path).kill_on_drop(true).output().await?;
///     Ok(output.stdout.split(|byte| *byte == b'\n').count())
/// }
/// ```
pub struct Command<R: Reactor> {
    pub(super) builder: Builder,
    on_drop: OnDrop,
    scope: KillScope,
    /// What [`process_group`](Self::process_group) was set to.
    pub(super) group: Option<i32>,
    reactor: PhantomData<fn() -> R>,
}

/// Building it.
impl<R: Reactor> Command<R> {
    /// A command for `program`, looked up in `PATH` unless it has a slash, with no arguments,
    /// and with this process's environment, directory, standard input, output and error.
    pub fn new<S: AsRef<OsStr>>(program: S) -> Self {
        Self::from_builder(Builder::new(program.as_ref()))
    }

    fn from_builder(builder: Builder) -> Self {
        let (on_drop, scope) = (OnDrop::default(), KillScope::default());
        Self { builder, on_drop, scope, group: None, reactor: PhantomData }
    }

    /// The standard library's command in it, with its program, arguments, environment and
    /// directory. The rest may not be in it yet: it has no accessors for more.
    #[must_use]
    pub fn as_std(&self) -> &StdCommand {
        self.builder.std()
    }

    /// The standard library's command in it, to be changed.
    ///
    /// What is changed there cannot all be read back, so the standard library starts the child from
    /// now on ([`spawns_directly`](Self::spawns_directly)).
    pub fn as_std_mut(&mut self) -> &mut StdCommand {
        self.builder.std_mut()
    }

    /// The standard library's command; what this one has beside it, such as
    /// [`kill_on_drop`](Self::kill_on_drop), is lost.
    #[must_use]
    pub fn into_std(self) -> StdCommand {
        self.builder.into_std()
    }

    /// Adds an argument.
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.builder.arg(arg.as_ref());
        self
    }

    /// Adds several arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        args.into_iter().for_each(|arg| self.builder.arg(arg.as_ref()));
        self
    }

    /// Sets an environment variable.
    pub fn env<K, V>(&mut self, key: K, val: V) -> &mut Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.builder.env(key.as_ref(), val.as_ref());
        self
    }

    /// Sets several environment variables.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        vars.into_iter().for_each(|(key, val)| self.builder.env(key.as_ref(), val.as_ref()));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Self {
        self.builder.env_remove(key.as_ref());
        self
    }

    /// Starts from an empty environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.builder.env_clear();
        self
    }

    /// Sets the child's working directory.
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Self {
        self.builder.current_dir(dir.as_ref().as_os_str());
        self
    }

    /// Sets the child's standard input; inherited by default.
    pub fn stdin<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.builder.stdio(0, cfg.into());
        self
    }

    /// Sets the child's standard output; inherited by default, and always piped by
    /// [`output`](Self::output).
    pub fn stdout<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.builder.stdio(1, cfg.into());
        self
    }

    /// Sets the child's standard error; inherited by default, and always piped by
    /// [`output`](Self::output).
    pub fn stderr<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.builder.stdio(2, cfg.into());
        self
    }

    /// Whether the child is killed when its handle is dropped; `false` by default.
    ///
    /// What is killed is what is left of its [scope](Self::kill_scope): a child that has exited
    /// leaves nothing, others of its group may run on. It is reaped in either case. It takes the
    /// place of [`terminate_on_drop`](Self::terminate_on_drop).
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Self {
        self.on_drop = if kill_on_drop { OnDrop::Kill } else { OnDrop::Leave };
        self
    }

    /// What [`kill_on_drop`](Self::kill_on_drop) was set to.
    #[must_use]
    pub fn get_kill_on_drop(&self) -> bool {
        self.on_drop == OnDrop::Kill
    }

    /// Has what is left of the child's [scope](Self::kill_scope) asked to exit (`SIGTERM`) when its
    /// handle is dropped, and killed if it takes longer than `grace`.
    ///
    /// The orphan queue does that: no runtime has to live that long, but this process has. If
    /// there is no descriptor for a timer, or neither a thread nor a runtime that runs, the child is
    /// killed at once. It takes the place of [`kill_on_drop`](Self::kill_on_drop).
    pub fn terminate_on_drop(&mut self, grace: Duration) -> &mut Self {
        self.on_drop = OnDrop::Terminate(grace);
        self
    }

    /// Which processes kill, terminate and drop act on: the child alone, which is the default, or
    /// its group.
    ///
    /// [`KillScope::Group`] makes the child the leader of a group of its own, as
    /// [`process_group(0)`](Self::process_group) does. `kill`, `terminate`, a limit of
    /// [`output_with`](Self::output_with) and the drop then act on what is left of the group at that
    /// time, also after the child has exited and its status was collected; and they act on the child
    /// itself if it has left its group. What else leaves the group (`setsid`, `setpgid`) is not
    /// reached.
    ///
    /// For that, the handle keeps the child's pidfd after its exit. Before Linux 6.9, or without
    /// pidfds, it keeps the child's zombie in its place, until the handle is dropped or
    /// [`kill`](Child::kill), [`terminate`](Child::terminate) or
    /// [`wait_scope`](Child::wait_scope) has seen the group empty.
    ///
    /// A child in a group of its own that reads the terminal is stopped (`SIGTTIN`): it is in the
    /// background.
    pub fn kill_scope(&mut self, scope: KillScope) -> &mut Self {
        self.scope = scope;
        self
    }

    /// Sets the child's `argv[0]`.
    pub fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.builder.arg0(arg.as_ref());
        self
    }

    /// Has `f` run in the child between the fork and the exec.
    ///
    /// # Safety
    ///
    /// As for [`CommandExt::pre_exec`]: the closure runs in a copy of a process with several
    /// threads, where only what is async-signal-safe may be done.
    #[expect(unsafe_code, reason = "it hands the standard library's contract on")]
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: the caller vouches for `f`, by the same contract.
        unsafe { self.builder.std_mut().pre_exec(f) };
        self
    }
}

/// Starting it.
impl<R: Reactor> Command<R> {
    /// Starts the child.
    ///
    /// It needs no runtime: what is awaited later registers itself then. Nothing after the fork can
    /// fail, so an error means that there is no child.
    ///
    /// # Errors
    ///
    /// Those of [`std::process::Command::spawn`]: `NotFound`, `PermissionDenied`, `EAGAIN` at a
    /// limit of processes, `EMFILE` with no descriptors for its pipes.
    pub fn spawn(&mut self) -> io::Result<Child<R>> {
        self.set_group();
        Ok(Child::from_spawned(self.builder.spawn()?, self.scope, self.on_drop))
    }

    /// Whether [`spawn`](Self::spawn) starts the child directly, without the standard library.
    ///
    /// Then it costs the same in a process of any size, whatever is asked for the child, and the
    /// child has its pidfd from birth: no other code can reap it before. The child is the same in
    /// both ways.
    ///
    /// The standard library starts the child if
    ///
    /// - the command was made from one of its own (`From<std::process::Command>`), or
    ///   [`as_std_mut`](Self::as_std_mut), [`pre_exec`](Self::pre_exec) or
    ///   [`spawn_with`](Self::spawn_with) was called: what such a command has cannot all be read;
    /// - one of the three standard descriptors is a [`std::process::Stdio`]: use [`Stdio`];
    /// - the kernel or a filter in front of it refuses such a `clone`. That is known from the first
    ///   spawn on. See [`KernelSupport`](crate::KernelSupport).
    ///
    /// ```
    /// use pidfd_reaper_core::{Command, Reactor, Stdio};
    ///
    /// fn compare<R: Reactor>() {
    ///     let mut command = Command::<R>::new("sort");
    ///     println!("{}", command.stdin(Stdio::piped()).spawns_directly());
    ///     assert!(!command.stdin(std::process::Stdio::piped()).spawns_directly());
    /// }
    /// ```
    #[must_use]
    pub fn spawns_directly(&self) -> bool {
        self.builder.spawns_directly()
    }

    /// Starts the child through `with`, which may do it in a way of its own.
    ///
    /// # Errors
    ///
    /// Those of `with`, and [`StatusLost`](crate::StatusLost) if its child was reaped by something
    /// else meanwhile.
    pub fn spawn_with(
        &mut self,
        with: impl FnOnce(&mut StdCommand) -> io::Result<StdChild>,
    ) -> io::Result<Child<R>> {
        self.set_group();
        self.builder.std_mut();
        let mut child = self.builder.spawn_by_std(with)?;
        let process = Process::from_std(&mut child, self.scope)?;
        Ok(Child::new(Reaper::new(process), child, self.on_drop))
    }

    /// Makes the child the leader of a group of its own if that is its scope, whatever was asked for.
    fn set_group(&mut self) {
        let group = if self.scope == KillScope::Group { Some(0) } else { self.group };
        self.builder.set_process_group(group);
    }

    /// Starts the child now; the future waits for its exit. Pipes, if any were asked for, are
    /// closed.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn) and [`Child::wait`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped drops the child with it.
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + use<R> {
        let child = self.spawn();
        async {
            let mut child = child?;
            drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }

    /// Starts the child now, its output and error piped; the future collects both and waits for its
    /// exit.
    ///
    /// The standard library's [`Output`] has no room for what the child has used:
    /// [`output_with`](Self::output_with), without limits, returns that too.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn) and [`Child::wait_with_output`]: what was read is in the
    /// error.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + use<R> {
        let output = self.output_with(OutputLimits::new());
        async { Ok(output.await?.into()) }
    }

    /// Starts the child now, its output and error piped; the future collects both within `limits`.
    ///
    /// All that the limits need is made before the child is started. A limit acts on the
    /// [scope](Self::kill_scope) of the child.
    ///
    /// # Errors
    ///
    /// Those of [`output`](Self::output); `EMFILE`, `ENOSPC` or the like if no timer can be made or
    /// registered: then no child is started. An error that comes later kills the child if it has a
    /// limit, and has what was read: see [`OutputError`].
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost with the future, and the child is dropped.
    pub fn output_with(
        &mut self,
        limits: OutputLimits,
    ) -> impl Future<Output = Result<BoundedOutput, OutputError>> + use<R> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Prepared::new(&limits).and_then(|prepared| Ok((self.spawn()?, prepared)));
        async move {
            let (child, prepared) = started?;
            child.collect(&limits, prepared).await
        }
    }
}

impl<R: Reactor> From<StdCommand> for Command<R> {
    fn from(std: StdCommand) -> Self {
        Self::from_builder(Builder::from_std(std))
    }
}

impl<R: Reactor> fmt::Debug for Command<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("builder", &self.builder)
            .field("on_drop", &self.on_drop)
            .field("kill_scope", &self.scope)
            .finish_non_exhaustive()
    }
}
