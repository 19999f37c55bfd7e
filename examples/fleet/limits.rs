//! The limits of a process, and which of them is in the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process as many descriptors as it may allow itself.
pub(crate) fn raise_descriptors() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// `error`, and the limit that it speaks of.
#[expect(clippy::needless_pass_by_value, reason = "it is made for map_err")]
pub(crate) fn explain(error: io::Error) -> String {
    let limit = match Errno::from_io_error(&error) {
        Some(Errno::MFILE) => resource("RLIMIT_NOFILE", Resource::Nofile),
        Some(Errno::NFILE) => sysctl("fs/file-max"),
        _ if error.kind() == io::ErrorKind::WouldBlock => processes(),
        _ => return error.to_string(),
    };
    format!("{error}: {limit}")
}

/// Which limit of processes and threads is reached: that of the user, if no other is, since nobody
/// tells how many a user has.
fn processes() -> String {
    if let Some((cgroup, max)) = cgroups().into_iter().find_map(full) {
        return format!("pids.max is {max} in the cgroup {}", cgroup.display());
    }
    // "running/all" is the fourth word.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = load.split(['/', ' ']).nth(4).and_then(|all| all.parse().ok()).unwrap_or(0);
    // The kernel keeps the numbers below 300 for itself once they have come round.
    let reached = |name: &&str| number(&sysctl_path(name)).is_some_and(|max| all + 300 >= max);
    match ["kernel/pid_max", "kernel/threads-max"].into_iter().find(reached) {
        Some(name) => sysctl(name),
        None => resource("RLIMIT_NPROC", Resource::Nproc),
    }
}

/// The cgroups that count the processes of this one, innermost first.
fn cgroups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let hierarchies = fields.filter_map(|(controllers, path)| match controllers {
        "" => Some(("/sys/fs/cgroup", path)),
        "pids" => Some(("/sys/fs/cgroup/pids", path)),
        _ => None,
    });
    let with_parents = |(root, path)| {
        let parents = Path::new(path).ancestors();
        parents.map(move |path| Path::new(root).join(path.strip_prefix("/").unwrap_or(path)))
    };
    hierarchies.flat_map(with_parents).collect()
}

/// The cgroup with its limit, if that is reached.
fn full(cgroup: PathBuf) -> Option<(PathBuf, u64)> {
    let max = number(&cgroup.join("pids.max"))?;
    (number(&cgroup.join("pids.current"))? >= max).then_some((cgroup, max))
}

fn resource(name: &str, resource: Resource) -> String {
    match getrlimit(resource).current {
        Some(limit) => format!("{name} is {limit}"),
        None => format!("{name} is unlimited"),
    }
}

fn sysctl(name: &str) -> String {
    let value = number(&sysctl_path(name)).map_or("unknown".into(), |value| value.to_string());
    format!("{} is {value}", name.replace('/', "."))
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
