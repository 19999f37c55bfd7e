//! Programs that cannot be executed: the errors are those of the standard library, and nothing is
//! left.

use std::env;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use pidfd_reaper::Stdio;
use pidfd_reaper::tokio::Command;
use rustix::process::{Resource, Rlimit, WaitOptions, geteuid, getrlimit, setrlimit, wait};

use crate::inspect::{ARGUMENT, PROGRAM};
use crate::ways::compare;
use crate::{Trial, sys, trials};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        nothing_to_execute,
        strings_with_nul,
        as_another_user if || geteuid().is_root(),
        no_descriptors,
        no_descriptor_for_a_pidfd,
        errno_is_kept,
    ]
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("spawn-failures-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn has_children() -> bool {
    !matches!(wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

fn nothing_to_execute() {
    let scratch = Scratch::new();
    let expect = |seen: crate::ways::Seen, errno: i32| {
        assert_eq!(seen.unwrap_err().raw_os_error(), Some(errno));
        assert!(!has_children());
    };
    for program in ["/nonexistent", "nonexistent/x", "no-such-program-anywhere", ""] {
        expect(compare!(program,), libc::ENOENT);
    }
    let file = scratch.file("file", b"#!/bin/sh\n", 0o644);
    expect(compare!(&file,), libc::EACCES);
    expect(compare!("/",), libc::EACCES);
    expect(compare!(file.join("below"),), libc::ENOTDIR);
    expect(compare!(scratch.file("no-format", &[0; 64], 0o755),), libc::ENOEXEC);
    expect(compare!(scratch.file("no-interpreter", b"#!/nonexistent\n", 0o755),), libc::ENOENT);
    let (a, b) = (scratch.0.join("a"), scratch.0.join("b"));
    symlink(&a, &b).unwrap();
    symlink(&b, &a).unwrap();
    expect(compare!(&a,), libc::ELOOP);
    expect(compare!("x".repeat(300),), libc::ENAMETOOLONG);
    expect(compare!(format!("/{}", "x".repeat(5000)),), libc::ENAMETOOLONG);
    expect(compare!("true", |c| c.arg("x".repeat(4 << 20))), libc::E2BIG);
    expect(compare!("true", |c| c.env("X", "x".repeat(4 << 20))), libc::E2BIG);
    expect(compare!("true", |c| c.current_dir("/nonexistent")), libc::ENOENT);
    expect(compare!("true", |c| c.current_dir(&file)), libc::ENOTDIR);
    // It is open for writing.
    let busy = scratch.0.join("busy");
    let mut open = File::options().create_new(true).write(true).mode(0o755).open(&busy).unwrap();
    open.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    expect(compare!(&busy,), libc::ETXTBSY);
    drop(open);
    assert!(crate::ways::wait(Command::new(&busy).spawn().unwrap()).unwrap().success());
}

fn strings_with_nul() {
    let expect = |seen: crate::ways::Seen| {
        assert_eq!(seen.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    };
    expect(compare!("tr\0ue",));
    expect(compare!("true", |c| c.arg("a\0b")));
    expect(compare!("true", |c| c.args(["a", "a\0b"])));
    expect(compare!("true", |c| c.arg0("a\0b")));
    expect(compare!("true", |c| c.env("a\0b", "c")));
    expect(compare!("true", |c| c.env("a", "b\0c")));
    expect(compare!("true", |c| c.current_dir("/\0")));
    // The text that the standard library puts in its place is an argument like others.
    compare!(PROGRAM, |c| c.arg(ARGUMENT).arg0("<string-with-nul>")).unwrap();
    let mut command = Command::new("true");
    assert!(command.chroot("/\0").spawn().is_err());
    command.as_std_mut();
    assert!(command.spawn().is_err());
}

fn as_another_user() {
    let other = rustix::process::Uid::from_raw(65534);
    let group = rustix::process::Gid::from_raw(65534);
    rustix::thread::set_thread_res_gid(group, group, group).unwrap();
    rustix::thread::set_thread_res_uid(other, other, other).unwrap();
    for (uid, gid) in [(0, None), (65534, Some(0)), (1, None)] {
        let mut command = Command::new("true");
        command.uid(uid);
        gid.map(|gid| command.gid(gid));
        let error = command.spawn().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        let error = pidfd_reaper::SpawnError::get(&error).unwrap();
        assert_eq!(error.raw_os_error(), libc::EPERM);
        assert_eq!(error.attribute(), if gid.is_some() { "gid" } else { "uid" });
    }
    compare!(PROGRAM, |c| c.arg(ARGUMENT).uid(65534)).unwrap();
    compare!("/root/nothing",).unwrap_err();
    assert!(!has_children());
}

/// Opens descriptors until there are no more.
fn exhaust() -> Vec<File> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let mut open = Vec::with_capacity(64);
    while let Ok(file) = File::open("/dev/null") {
        open.push(file);
    }
    open
}

fn no_descriptors() {
    let open = exhaust();
    let mut command = Command::new("true");
    let error = command.stdin(Stdio::piped()).spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    drop(open);
    assert!(!has_children());
    assert!(crate::ways::wait(command.spawn().unwrap()).unwrap().success());
}

/// Then the child is started without one, and waited for by its PID.
fn no_descriptor_for_a_pidfd() {
    let open = exhaust();
    let mut command = Command::new("true");
    let child = command.spawn().unwrap();
    assert!(command.spawns_directly());
    assert!(crate::ways::wait(child).unwrap().success());
    let error = Command::new("/nonexistent").spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    drop(open);
    assert!(!has_children());
}

fn errno_is_kept() {
    sys::set_errno(77);
    let children = [Command::new("true").spawn(), Command::new("/nonexistent").spawn()];
    assert_eq!(sys::errno(), 77);
    let [child, error] = children;
    assert!(crate::ways::wait(child.unwrap()).unwrap().success());
    error.unwrap_err();
}
