//! The supervisor: a thread that answers for each system call under test, and has some of them fail.
//!
//! The filter is on the main thread and on all that comes from it; the supervisor was started
//! before, and is free of it. It takes no lock, allocates nothing and does not block but for the
//! next call: a thread that waits for its answer may be in the midst of the allocator.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::Occurrence;
use crate::sys::{self, Notification};

/// How long `every` lasts. What waits for a call of the runtime cannot end before.
pub(crate) const LONGEST: Duration = Duration::from_secs(3);

/// The highest number of a system call, and one more.
const CALLS: usize = 1024;

static LISTENER: AtomicI32 = AtomicI32::new(-1);
static ARMED: AtomicBool = AtomicBool::new(false);
static ERRNO: AtomicI32 = AtomicI32::new(0);
/// The occurrence that fails; zero if every does.
static WHICH: AtomicU32 = AtomicU32::new(0);
static SEEN: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);
/// When a call has failed first: milliseconds after the start of the supervisor.
static FAILED_AT: AtomicU64 = AtomicU64::new(0);
static TOOK_TOO_LONG: AtomicBool = AtomicBool::new(false);
static COUNTS: [AtomicU32; CALLS] = [const { AtomicU32::new(0) }; CALLS];

/// What became of an injection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected {
    /// How many calls have failed.
    pub(crate) failed: u32,
    /// Whether it was ended since what ran under it did not.
    pub(crate) took_too_long: bool,
}

/// The proof that it was started.
#[derive(Debug)]
pub(crate) struct Supervisor(());

impl Supervisor {
    /// Starts the thread, and puts the filter on the calling thread.
    pub(crate) fn start(call: Option<i64>) -> io::Result<Self> {
        let start = Instant::now();
        let code = own_code()?;
        thread::Builder::new().name("supervisor".into()).spawn(move || supervise(start, &code))?;
        sys::listen(call, |listener| LISTENER.store(listener, SeqCst))?;
        Ok(Self(()))
    }

    /// Has `which` of the calls fail from now on.
    #[allow(clippy::unused_self, reason = "only a supervisor that runs can be armed")]
    pub(crate) fn arm(&self, errno: i32, which: Occurrence) {
        ERRNO.store(errno, SeqCst);
        WHICH.store(which.number(), SeqCst);
        SEEN.store(0, SeqCst);
        FAILED.store(0, SeqCst);
        TOOK_TOO_LONG.store(false, SeqCst);
        ARMED.store(true, SeqCst);
    }

    /// Counts calls from now on, without a failure.
    pub(crate) fn count(&self) {
        self.arm(0, Occurrence::Every);
    }
}

/// Ends the injection: all calls work again.
pub(crate) fn disarm() -> Injected {
    ARMED.store(false, SeqCst);
    Injected { failed: FAILED.load(SeqCst), took_too_long: TOOK_TOO_LONG.load(SeqCst) }
}

/// The calls that were made while it was armed: their numbers, and how often each was.
pub(crate) fn counts() -> impl Iterator<Item = (usize, u32)> {
    COUNTS.iter().map(|count| count.load(SeqCst)).enumerate().filter(|(_, count)| *count > 0)
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn supervise(start: Instant, code: &[Range<u64>]) {
    let listener = loop {
        let listener = LISTENER.load(SeqCst);
        if listener >= 0 {
            break sys::own(listener);
        }
        thread::sleep(Duration::from_micros(100));
    };
    loop {
        // An error: the caller has exited meanwhile.
        let Ok(notification) = sys::receive(listener.as_fd()) else { continue };
        let is_counted = ARMED.load(SeqCst) && is_ours(&notification, code);
        let errno = if is_counted { errno_for(&notification, start) } else { None };
        if !sys::answer(listener.as_fd(), notification, errno) && is_counted {
            // A signal has interrupted the call, which comes again.
            SEEN.fetch_sub(1, SeqCst);
        }
    }
}

/// The error with which the call, which counts, is to fail.
fn errno_for(notification: &Notification, start: Instant) -> Option<i32> {
    let number = usize::try_from(notification.call).unwrap_or(0);
    COUNTS[number.min(CALLS - 1)].fetch_add(1, SeqCst);
    let seen = SEEN.fetch_add(1, SeqCst) + 1;
    let (errno, which) = (ERRNO.load(SeqCst), WHICH.load(SeqCst));
    if errno == 0 || (which != 0 && which != seen) {
        return None;
    }
    if FAILED.load(SeqCst) == 0 {
        FAILED_AT.store(millis(start), SeqCst);
    }
    let lasts = millis(start).saturating_sub(FAILED_AT.load(SeqCst));
    if which == 0 && Duration::from_millis(lasts) > LONGEST {
        TOOK_TOO_LONG.store(true, SeqCst);
        ARMED.store(false, SeqCst);
        return None;
    }
    FAILED.fetch_add(1, SeqCst);
    Some(errno)
}

/// Whether the call is of this process, or of a child that has not executed its program yet: it is
/// the library's or the standard library's business, and not that of the program.
///
/// Such a child has the code of this process at the same addresses. A program has its code at random
/// ones. Procfs would show the same, and its dentries are a bottleneck where processes come and go.
fn is_ours(notification: &Notification, code: &[Range<u64>]) -> bool {
    sys::is_own_thread(notification.thread)
        || code.iter().any(|range| range.contains(&notification.address))
}

/// Where the code of this process is.
fn own_code() -> io::Result<Vec<Range<u64>>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let ranges = maps.lines().filter_map(|line| {
        let (addresses, rest) = line.split_once(' ')?;
        let (start, end) = addresses.split_once('-')?;
        let parse = |address| u64::from_str_radix(address, 16).ok();
        rest.starts_with("r-xp").then_some(parse(start)?..parse(end)?)
    });
    Ok(ranges.collect())
}
