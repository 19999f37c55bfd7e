//! An adapter by hand: a reactor over `epoll(7)`, and a `block_on` that drives it.
//!
//! It shows that [`Reactor`] and [`Source`] are all that a runtime has to bring.
//!
//! ```text
//! cargo run --example own_reactor
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use pidfd_reaper::{End, Interest, Reactor, SharedFd, Source};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

type Command = pidfd_reaper::Command<OwnReactor>;

fn main() -> io::Result<()> {
    block_on(async {
        let status = Command::new("sh").args(["-c", "exit 7"]).status().await?;
        println!("sh has ended: {status}");

        let output = Command::new("echo").arg("hello").output().await?;
        println!("echo has written: {:?}", String::from_utf8_lossy(&output.stdout));

        drop(Command::new("sleep").arg("0.1").spawn()?);
        io::Result::Ok(())
    })?;
    println!("abandoned, while the reactor is gone: {}", pidfd_reaper::orphans().len());
    while !pidfd_reaper::orphans().is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    println!("reaped all the same");
    Ok(())
}

/// Runs `future` to its end on this thread, with a reactor of its own.
///
/// Nothing of the reactor is left when it returns. Calls may be nested, and made on many threads.
///
/// # Panics
///
/// If there are no descriptors for an epoll and an eventfd.
pub fn block_on<F: Future>(future: F) -> F::Output {
    // Declared first and dropped last: sources leave the reactor while it is there.
    let entered = Entered::new().expect("two descriptors are to be had");
    let driver = &entered.0;
    let waker = Waker::from(Arc::new(FutureWaker(Arc::downgrade(driver))));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    driver.wake();
    loop {
        driver.turn();
        if driver.woken.swap(false, Ordering::Acquire) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
    }
}

thread_local! {
    /// The drivers of this thread's calls of [`block_on`]; the innermost is the last.
    static ENTERED: RefCell<Vec<Arc<Driver>>> = const { RefCell::new(Vec::new()) };
}

/// Puts a driver onto this thread, and takes it off when dropped, also by a panic.
struct Entered(Arc<Driver>);

impl Entered {
    fn new() -> io::Result<Self> {
        let driver = Arc::new(Driver::new()?);
        ENTERED.with_borrow_mut(|entered| entered.push(Arc::clone(&driver)));
        Ok(Self(driver))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(Vec::pop);
    }
}

/// It may be kept for ever, and does not keep the driver.
struct FutureWaker(Weak<Driver>);

impl Wake for FutureWaker {
    fn wake(self: Arc<Self>) {
        if let Some(driver) = self.0.upgrade() {
            driver.wake();
        }
    }
}

/// The reactor of one call of [`block_on`]. It does not keep the driver either.
#[derive(Clone, Debug)]
pub struct OwnReactor(Weak<Driver>);

impl OwnReactor {
    fn driver(&self) -> io::Result<Arc<Driver>> {
        let gone = || io::Error::other("the block_on that this reactor belongs to has returned");
        self.0.upgrade().ok_or_else(gone)
    }
}

impl Reactor for OwnReactor {
    type Source = OwnSource;
    type Pipe<K: End> = pidfd_reaper::Pipe<Self, K>;

    fn current() -> io::Result<Self> {
        // While the thread ends, its locals are gone.
        let innermost = ENTERED.try_with(|entered| entered.borrow().last().map(Arc::downgrade));
        let outside = || io::Error::other("no reactor here: this has to be called in a block_on");
        innermost.ok().flatten().map(Self).ok_or_else(outside)
    }

    /// Where there is none, another executor polls, and is woken by the reactor of the source.
    fn is_current(&self) -> bool {
        Self::current().map_or(true, |current| current.0.ptr_eq(&self.0))
    }

    fn register(&self, fd: SharedFd, interest: Interest) -> io::Result<OwnSource> {
        let key = self.driver()?.add(fd.as_fd(), interest)?;
        Ok(OwnSource { reactor: self.clone(), key, fd })
    }
}

/// A descriptor in the epoll of an [`OwnReactor`].
#[derive(Debug)]
pub struct OwnSource {
    reactor: OwnReactor,
    key: u64,
    fd: SharedFd,
}

impl Source for OwnSource {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let driver = self.reactor.driver()?;
        while driver.take_ready(self.key, cx.waker()) {
            match op(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    driver.set_ready(self.key);
                    return Poll::Ready(done);
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for OwnSource {
    fn drop(&mut self) {
        // A driver that is gone took its epoll with it, and all that was in there.
        if let Ok(driver) = self.reactor.driver() {
            driver.remove(self.key, self.fd.as_fd());
        }
    }
}

/// An epoll, and who waits for its events.
struct Driver {
    epoll: OwnedFd,
    /// Ends the sleep in the epoll, from any thread.
    notifier: OwnedFd,
    /// Whether the future of [`block_on`] is to be polled.
    woken: AtomicBool,
    /// A key is used once: an event that comes late finds nothing.
    next_key: AtomicU64,
    /// No waker is woken or dropped under this lock: a task may go with it, and its sources.
    slots: Mutex<BTreeMap<u64, Slot>>,
}

/// What is known of a source.
#[derive(Default)]
struct Slot {
    ready: bool,
    waker: Option<Waker>,
}

impl Driver {
    const NOTIFIER: u64 = 0;

    fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let notifier = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &notifier, EventData::new_u64(Self::NOTIFIER), EventFlags::IN)?;
        let (woken, next_key) = (AtomicBool::new(false), AtomicU64::new(Self::NOTIFIER + 1));
        Ok(Self { epoll, notifier, woken, next_key, slots: Mutex::default() })
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::Release) {
            // A notifier that is full already wakes.
            let _ = write(&self.notifier, &1_u64.to_ne_bytes());
        }
    }

    /// Sleeps until there are events, and wakes whoever waits for them.
    fn turn(&self) {
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => panic!("epoll_wait(2): {errno}"),
        }
        for event in events {
            if event.data.u64() == Self::NOTIFIER {
                let _ = read(&self.notifier, &mut [0; 8]);
            } else if let Some(waker) = self.set_ready(event.data.u64()) {
                wake(waker);
            }
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<u64> {
        let direction = match interest {
            Interest::Writable => EventFlags::OUT,
            _ => EventFlags::IN,
        };
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        // Under the lock, so that the first event finds the slot.
        let mut slots = self.slots();
        // By edges: a zombie that a tracer holds is readable for hours.
        epoll::add(&self.epoll, fd, EventData::new_u64(key), direction | EventFlags::ET)?;
        slots.insert(key, Slot::default());
        Ok(key)
    }

    fn remove(&self, key: u64, fd: BorrowedFd<'_>) {
        // It cannot fail: `fd` is open, and in there.
        let _ = epoll::delete(&self.epoll, fd);
        let slot = self.slots().remove(&key);
        drop(slot);
    }

    /// Returns the waker that waited for it.
    fn set_ready(&self, key: u64) -> Option<Waker> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&key)?;
        slot.ready = true;
        slot.waker.take()
    }

    /// Whether the source was ready, which ends by this; if it was not, `waker` waits.
    fn take_ready(&self, key: u64, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        let mut slots = self.slots();
        let slot = slots.get_mut(&key).expect("a source has a slot until it is dropped");
        if !slot.ready {
            mem::swap(&mut slot.waker, &mut waker);
        }
        mem::take(&mut slot.ready)
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Driver {
    /// Whoever still waits finds the driver gone, and goes on with another.
    fn drop(&mut self) {
        let slots = mem::take(&mut *self.slots());
        slots.into_values().filter_map(|slot| slot.waker).for_each(wake);
    }
}

/// A waker is foreign code: one that panics keeps no other from being woken.
fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake())).map_err(mem::forget);
}
