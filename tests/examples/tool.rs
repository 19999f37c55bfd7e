//! A program under test: how it is built, started and read.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::helper::end_of;

/// How long a program may run; commands that are to be ended sleep for longer.
const LIMIT: Duration = Duration::from_secs(50);
/// A time that no test waits for.
pub(crate) const LONG: &str = "60";

const TOOLS: [&str; 4] = ["parallel", "pipeline", "timeout", "waitpid"];

/// The program of that name.
pub(crate) fn path(name: &str) -> PathBuf {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = || env::var_os("EXAMPLES").map_or_else(build, |folder| Some(folder.into()));
    FOLDER.get_or_init(built).as_ref().expect("the examples have to be built").join(name)
}

/// Builds them, once also if that fails.
fn build() -> Option<PathBuf> {
    // TARGET/PROFILE/deps/examples-HASH
    let this = env::current_exe().unwrap();
    let [profile, target] = [2, 3].map(|level| this.ancestors().nth(level).unwrap());
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        name => name,
    };
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // The whole workspace, whose features `cargo test` has too.
    build.args(["build", "--quiet", "--locked", "--workspace", "--profile", name, "--target-dir"]);
    build.arg(target).args(TOOLS.iter().flat_map(|tool| ["--example", tool]));
    build.status().unwrap().success().then(|| profile.join("examples"))
}

/// A program that has exited, and closed its output with all that it has started.
pub(crate) struct Exited {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Exited {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs the program without input.
pub(crate) fn run<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Exited {
    run_with(name, args, b"")
}

/// Runs the program with that input.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    name: &str,
    args: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Exited {
    let mut command = Command::new(path(name));
    command.args(args);
    let mut running = Running::start(command);
    running.feed(input);
    running.wait()
}

/// Runs a script of the shell, to which the program is `$0`.
pub(crate) fn script(name: &str, script: &str) -> Exited {
    start_script(name, script).wait()
}

pub(crate) fn start_script(name: &str, script: &str) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(path(name));
    Running::start(command)
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
}

impl Running {
    /// Starts it as the leader of a group, so that it can be killed with what it has started.
    pub(crate) fn start(mut command: Command) -> Self {
        use std::os::unix::process::CommandExt;

        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, stdout, stderr }
    }

    /// Writes its input, and closes it. It may exit without reading that.
    pub(crate) fn feed(&mut self, input: &[u8]) {
        let _ = self.child.stdin.take().unwrap().write_all(input);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output, without the newline; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a signal by kill(1): `-TERM`.
    pub(crate) fn kill(&self, signal: &str) {
        kill(signal, &self.pid().to_string());
    }

    /// Its status alone, while what it has started may run on.
    pub(crate) fn status(&mut self) -> ExitStatus {
        end_of(&mut self.child, LIMIT).unwrap().expect("it has to exit in time")
    }

    /// Waits for its exit, and until all that it has started has closed its output.
    pub(crate) fn wait(mut self) -> Exited {
        drop(self.child.stdin.take());
        // Read beside the wait: it may write more than a pipe holds.
        let mut pipe = self.stdout;
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let status = end_of(&mut self.child, LIMIT).unwrap();
        let (stdout, stderr) = (stdout.join().unwrap(), self.stderr.join().unwrap());
        let status = status.unwrap_or_else(|| panic!("it did not exit in time: {stderr}"));
        Exited { status, stdout, stderr }
    }
}

/// Sends a signal by kill(1), to a PID or, with a minus, to a group.
pub(crate) fn kill(signal: &str, target: &str) {
    let killed = Command::new("kill").args([signal, "--", target]).status().unwrap();
    assert!(killed.success(), "kill {signal} {target}");
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

/// A device that no byte can be written to.
pub(crate) fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A folder of the test's own, removed with its value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("examples-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
