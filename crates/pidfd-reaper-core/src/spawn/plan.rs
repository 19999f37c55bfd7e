//! `Plan`: all that a cloned child needs, laid out before the clone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString, c_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::builder::{Builder, Slot};
use super::stdio::Kind;
use crate::kernel::sys::child::{Move, Pointers, Program, Signals, Source, Step};

/// What the child is to be. It borrows nothing of the command but its descriptors.
#[derive(Debug)]
pub(super) struct Plan {
    argv: Pointers,
    envp: Pointers,
    candidates: Pointers,
    no_candidate: c_int,
    directory: Option<CString>,
    moves: Vec<Move>,
    /// The child's ends of its pipes, open until it has copies of its own.
    theirs: Vec<OwnedFd>,
    /// The parent's ends.
    pub(super) ours: [Option<OwnedFd>; 3],
    process_group: Option<i32>,
    gid: Option<u32>,
    uid: Option<u32>,
}

impl Plan {
    /// # Errors
    ///
    /// `InvalidInput` if a string has a NUL; `EMFILE` if no pipe can be made.
    pub(super) fn new(builder: &Builder) -> io::Result<Self> {
        let environment = Environment::of(builder);
        let envp = environment.to_strings();
        if builder.has_nul || envp.has_nul {
            let text = "nul byte found in provided data";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let std = &builder.std;
        let program = std.get_program();
        let mut argv = Strings::default();
        argv.push(&[builder.arg0.as_deref().unwrap_or(program)]);
        for arg in std.get_args() {
            argv.push(&[arg]);
        }
        let (candidates, no_candidate) = candidates(program, environment.path());
        let mut this = Self {
            argv: argv.finish(),
            envp: envp.finish(),
            candidates: candidates.finish(),
            no_candidate,
            directory: std
                .get_current_dir()
                .map(|directory| CString::new(directory.as_os_str().as_bytes()))
                .transpose()?,
            moves: Vec::new(),
            theirs: Vec::new(),
            ours: [None, None, None],
            process_group: builder.attributes.process_group,
            gid: builder.attributes.gid,
            uid: builder.attributes.uid,
        };
        for (target, slot) in (0..).zip(&builder.stdio) {
            this.add_stdio(target, slot)?;
        }
        Ok(this)
    }

    fn add_stdio(&mut self, target: c_int, slot: &Slot) -> io::Result<()> {
        let source = match slot {
            Slot::Unset | Slot::InStd | Slot::Set(Kind::Inherit | Kind::Std(_)) => return Ok(()),
            Slot::Set(Kind::Null) => Source::Null,
            Slot::Set(Kind::Fd(fd)) => Source::Fd(Cell::new(fd.as_raw_fd())),
            Slot::Set(Kind::Parents(fd)) => Source::Fd(Cell::new(*fd)),
            Slot::Set(Kind::Piped) => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                let (ours, theirs) = if target == 0 { (write, read) } else { (read, write) };
                let source = Source::Fd(Cell::new(theirs.as_raw_fd()));
                let index = usize::try_from(target).unwrap_or_default();
                self.ours[index] = Some(ours);
                self.theirs.push(theirs);
                source
            }
        };
        self.moves.push(Move { target, source });
        Ok(())
    }

    /// The child's steps, in their order.
    pub(super) fn steps(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        if !self.moves.is_empty() {
            steps.push(Step::Descriptors(&self.moves));
        }
        steps.extend(self.gid.map(Step::Gid));
        if let Some(uid) = self.uid {
            steps.push(Step::DropGroups);
            steps.push(Step::Uid(uid));
        }
        steps.extend(self.directory.as_deref().map(Step::ChangeDirectory));
        steps.extend(self.process_group.map(Step::ProcessGroup));
        steps
    }

    pub(super) fn program<'a>(&'a self, steps: &'a [Step<'a>]) -> Program<'a> {
        Program {
            steps,
            signals: Signals::default(),
            candidates: &self.candidates,
            argv: &self.argv,
            envp: &self.envp,
            no_candidate: self.no_candidate,
        }
    }
}

/// The child's environment, copied through the standard library, which holds its lock meanwhile.
enum Environment {
    /// That of this process, in its order.
    Inherited(Vec<(OsString, OsString)>),
    /// With changes: sorted, and each variable once.
    Changed(BTreeMap<OsString, OsString>),
}

impl Environment {
    fn of(builder: &Builder) -> Self {
        let changes = builder.std.get_envs();
        if changes.len() == 0 && !builder.env_is_cleared {
            return Self::Inherited(env::vars_os().collect());
        }
        let mut variables = BTreeMap::new();
        if !builder.env_is_cleared {
            variables.extend(env::vars_os());
        }
        for (key, value) in changes {
            match value {
                Some(value) => variables.insert(key.into(), value.into()),
                None => variables.remove(key),
            };
        }
        Self::Changed(variables)
    }

    /// The `PATH` in which the program is looked up.
    fn path(&self) -> Option<&OsStr> {
        match self {
            Self::Inherited(variables) => {
                let path = variables.iter().find(|(key, _)| key == "PATH");
                path.map(|(_, value)| value.as_os_str())
            }
            Self::Changed(variables) => variables.get(OsStr::new("PATH")).map(OsString::as_os_str),
        }
    }

    fn to_strings(&self) -> Strings {
        match self {
            Self::Inherited(variables) => {
                Strings::of_variables(variables.iter().map(|(key, value)| (key, value)))
            }
            Self::Changed(variables) => Strings::of_variables(variables.iter()),
        }
    }
}

/// Strings one after the other, each with a NUL at its end.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    count: usize,
    has_nul: bool,
}

impl Strings {
    fn of_variables<'a>(variables: impl Iterator<Item = (&'a OsString, &'a OsString)>) -> Self {
        let mut strings = Self::default();
        for (key, value) in variables {
            strings.push(&[key, OsStr::new("="), value]);
        }
        strings
    }

    /// Adds one string, made of parts.
    fn push(&mut self, parts: &[&OsStr]) {
        for part in parts {
            self.has_nul |= part.as_bytes().contains(&0);
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(0);
        self.count += 1;
    }

    fn finish(self) -> Pointers {
        Pointers::new(self.bytes, self.count)
    }
}

/// What `PATH` is where the environment has none, as the C library has it.
const DEFAULT_PATH: &str =
    if cfg!(target_env = "musl") { "/usr/local/bin:/bin:/usr/bin" } else { "/bin:/usr/bin" };

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// The paths at which the program may be, and the error if there are none.
///
/// A program with a slash is the only candidate; it is resolved in the child's directory. Else
/// there is one for each element of `PATH`, where an empty element is the current directory. The C
/// libraries limit both lengths in this way.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> (Strings, c_int) {
    let mut candidates = Strings::default();
    let none = |errno: Errno| (Strings::default(), errno.raw_os_error());
    if program.is_empty() {
        return none(Errno::NOENT);
    }
    if program.as_bytes().contains(&b'/') {
        candidates.push(&[program]);
        return (candidates, 0);
    }
    if program.len() > NAME_MAX {
        return none(Errno::NAMETOOLONG);
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    for element in path.as_bytes().split(|byte| *byte == b':') {
        if element.len() >= PATH_MAX {
            continue;
        }
        let slash = OsStr::new(if element.is_empty() { "" } else { "/" });
        candidates.push(&[OsStr::from_bytes(element), slash, program]);
    }
    (candidates, Errno::NOENT.raw_os_error())
}
