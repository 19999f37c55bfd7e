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

use super::attributes::Attributes;
use super::builder::{Builder, Slot};
use super::stdio::Kind;
use crate::kernel::sys::child::Program;
use crate::kernel::sys::steps::{Move, Source, Step};
use crate::kernel::sys::strings::{List, Lists, Strings};

/// What the child is to be.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    strings: Lists,
    argv: List,
    envp: List,
    candidates: List,
    no_candidate: c_int,
    directory: Option<CString>,
    attributes: &'a Attributes,
    moves: Vec<Move>,
    /// The child's ends of its pipes, open until it has copies of its own.
    theirs: Vec<OwnedFd>,
    /// The parent's ends.
    pub(super) ours: [Option<OwnedFd>; 3],
}

impl<'a> Plan<'a> {
    /// # Errors
    ///
    /// `InvalidInput` if a string has a NUL; `EMFILE` if no pipe can be made.
    pub(super) fn new(builder: &'a Builder) -> io::Result<Self> {
        let mut strings = Strings::new();
        let path = push_environment(builder, &mut strings);
        let envp = strings.end_list();
        let std = &builder.std;
        let program = std.get_program();
        strings.push(&[builder.arg0.as_deref().unwrap_or(program).as_bytes()]);
        for arg in std.get_args() {
            strings.push(&[arg.as_bytes()]);
        }
        let argv = strings.end_list();
        let no_candidate = push_candidates(program, path.as_deref(), &mut strings).raw_os_error();
        let candidates = strings.end_list();
        if builder.has_nul || strings.has_nul() {
            return Err(has_nul());
        }
        let directory = std.get_current_dir();
        let attributes = &builder.attributes;
        let mut this = Self {
            strings: strings.finish(),
            argv,
            envp,
            candidates,
            no_candidate,
            directory: directory
                .map(|path| CString::new(path.as_os_str().as_bytes()))
                .transpose()?,
            attributes,
            moves: Vec::new(),
            theirs: Vec::new(),
            ours: [None, None, None],
        };
        for (target, slot) in (0..).zip(&builder.stdio) {
            if target != 2 || !attributes.stderr_to_stdout {
                this.add_stdio(target, slot)?;
            }
        }
        this.moves.extend(attributes.further_moves());
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
        self.attributes.steps(&self.moves, self.directory.as_deref())
    }

    pub(super) fn program<'b>(&'b self, steps: &'b [Step<'b>]) -> Program<'b> {
        Program {
            steps,
            signals: self.attributes.signals,
            strings: &self.strings,
            argv: self.argv,
            envp: self.envp,
            candidates: self.candidates,
            no_candidate: self.no_candidate,
        }
    }
}

/// The error for a string with a NUL in it, where it would end for the kernel.
pub(super) fn has_nul() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "nul byte found in provided data")
}

/// Copies the child's environment, and returns its `PATH`, in which the program is looked up.
///
/// It is read through the standard library, whose lock keeps the program's other threads from
/// changing it meanwhile. As there, without changes it has the order that it has in this process;
/// with changes it is sorted, and each variable is there once.
fn push_environment(builder: &Builder, strings: &mut Strings) -> Option<OsString> {
    let mut path = None;
    let changes = builder.std.get_envs();
    if changes.len() == 0 && !builder.env_is_cleared {
        for (key, value) in env::vars_os() {
            strings.push_without_nul(&[key.as_bytes(), b"=", value.as_bytes()]);
            if path.is_none() && key == "PATH" {
                path = Some(value);
            }
        }
        return path;
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
    for (key, value) in &variables {
        strings.push(&[key.as_bytes(), b"=", value.as_bytes()]);
    }
    variables.remove(OsStr::new("PATH"))
}

/// What `PATH` is where the environment has none, as the C library has it.
const DEFAULT_PATH: &str =
    if cfg!(target_env = "musl") { "/usr/local/bin:/bin:/usr/bin" } else { "/bin:/usr/bin" };

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// The paths at which the program may be; returns the error if there are none.
///
/// A program with a slash is the only candidate; it is resolved in the child's directory. Else
/// there is one for each element of `PATH`, where an empty element is the current directory. The C
/// libraries limit both lengths in this way.
fn push_candidates(program: &OsStr, path: Option<&OsStr>, strings: &mut Strings) -> Errno {
    let program = program.as_bytes();
    if program.contains(&b'/') {
        strings.push(&[program]);
    } else if program.len() > NAME_MAX {
        return Errno::NAMETOOLONG;
    } else if !program.is_empty() {
        let path = path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes();
        for element in path.split(|byte| *byte == b':').filter(|element| element.len() < PATH_MAX) {
            let slash: &[u8] = if element.is_empty() { b"" } else { b"/" };
            strings.push(&[element, slash, program]);
        }
    }
    Errno::NOENT
}
