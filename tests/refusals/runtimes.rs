//! The runtimes and the two kinds of kernel that the sweep goes over.

use std::future::Future;
use std::io;
use std::process;

use futures_lite::future::poll_once;
use pidfd_reaper::smol::AsyncIo;
use pidfd_reaper::tokio::Tokio;
use pidfd_reaper::{Pidfd, Reactor};

use crate::scenarios;

/// A runtime that is made and dropped with each case.
pub(crate) trait Runtime: Sized {
    type Reactor: Reactor;

    fn new() -> Self;

    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

pub(crate) struct TokioCurrent(tokio::runtime::Runtime);

impl Runtime for TokioCurrent {
    type Reactor = Tokio;

    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        Self(runtime.expect("a runtime can be made"))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// The process has one, with a thread that comes with the first registration.
pub(crate) struct Smol;

impl Runtime for Smol {
    type Reactor = AsyncIo;

    fn new() -> Self {
        let (end, _other) = std::os::unix::net::UnixStream::pair().expect("a socket can be made");
        smol::block_on(async { drop(smol::Async::new(end)) });
        // The adapter's epoll comes with the first wait. Without pidfds there is none.
        if let Ok(myself) = Pidfd::open(process::id()) {
            drop(smol::block_on(poll_once(pidfd_reaper::smol::exited(&myself))));
        }
        Self
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }
}

/// A runtime on a kernel with or without pidfds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setting {
    pub(crate) is_tokio: bool,
    pub(crate) has_pidfds: bool,
}

impl Setting {
    pub(crate) const ALL: [Self; 4] = [
        Self { is_tokio: true, has_pidfds: true },
        Self { is_tokio: false, has_pidfds: true },
        Self { is_tokio: true, has_pidfds: false },
        Self { is_tokio: false, has_pidfds: false },
    ];

    pub(crate) fn name(self) -> &'static str {
        match (self.is_tokio, self.has_pidfds) {
            (true, true) => "tokio",
            (true, false) => "tokio_no_pidfd",
            (false, true) => "smol",
            (false, false) => "smol_no_pidfd",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// Makes the runtime, and returns what runs a scenario on it.
    pub(crate) fn prepare(self, scenario: &str) -> Box<dyn FnOnce() -> io::Result<()>> {
        if self.is_tokio { prepare::<TokioCurrent>(scenario) } else { prepare::<Smol>(scenario) }
    }
}

fn prepare<R: Runtime + 'static>(scenario: &str) -> Box<dyn FnOnce() -> io::Result<()>> {
    let all = scenarios::all::<R>();
    let (_, run) = all.into_iter().find(|(name, _)| *name == scenario).expect("there is one");
    let runtime = R::new();
    Box::new(move || run(&runtime))
}
