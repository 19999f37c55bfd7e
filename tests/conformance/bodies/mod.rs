//! The behaviours. Each body is written once, for any runtime, and runs under every profile.

mod commands;
mod drops;
mod endings;
mod failures;
mod fairness;
mod forks;
mod handles;
mod limits;
mod outputs;
mod pipes;
mod queue;
mod quotas;
mod recycled;
mod runtimes;
mod scopes;
mod sets;
mod signals;
mod stops;
mod strangers;
mod thefts;
mod torture;
mod usage;
mod waits;
mod watched;

use std::io;

use crate::profiles::Profile;
use crate::runtimes::Runtime;

/// A behaviour, bound to a runtime.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    pub(crate) name: &'static str,
    pub(crate) warm_up: fn(),
    /// Done before the warm-up: what all threads are to inherit.
    pub(crate) before: fn(),
    pub(crate) run: fn() -> io::Result<()>,
    pub(crate) is_long: bool,
    pub(crate) needs_filters: bool,
    /// Whether the kernel can show it; asked in the harness.
    pub(crate) can_be_shown: fn() -> bool,
    exists: bool,
    place: Place,
}

/// Under which profiles a body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Everywhere,
    WithPidfd,
    WithoutPidfd,
}

pub(crate) fn all<R: Runtime>() -> Vec<Body> {
    [
        waits::all::<R>(),
        drops::all::<R>(),
        endings::all::<R>(),
        handles::all::<R>(),
        scopes::all::<R>(),
        sets::all::<R>(),
        strangers::all::<R>(),
        usage::all::<R>(),
        recycled::all::<R>(),
        runtimes::all::<R>(),
        commands::all::<R>(),
        pipes::all::<R>(),
        thefts::all::<R>(),
        limits::all::<R>(),
        outputs::all::<R>(),
        queue::all::<R>(),
        quotas::all::<R>(),
        failures::all::<R>(),
        signals::all::<R>(),
        forks::all::<R>(),
        stops::all::<R>(),
        watched::all::<R>(),
        torture::all::<R>(),
        fairness::all::<R>(),
    ]
    .concat()
}

impl Body {
    fn new<R: Runtime>(name: &'static str, run: fn() -> io::Result<()>) -> Self {
        Self {
            name,
            warm_up: R::warm_up,
            before: || (),
            run,
            is_long: false,
            needs_filters: false,
            can_be_shown: || true,
            exists: true,
            place: Place::Everywhere,
        }
    }

    fn only(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// It is no behaviour of a runtime of which this does not hold.
    fn if_it(self, holds: bool) -> Self {
        Self { exists: holds, ..self }
    }

    fn before(self, before: fn()) -> Self {
        Self { before, ..self }
    }

    fn long(self) -> Self {
        Self { is_long: true, ..self }
    }

    fn needs_filters(self) -> Self {
        Self { needs_filters: true, ..self }
    }

    fn if_shown(self, can_be_shown: fn() -> bool) -> Self {
        Self { can_be_shown, ..self }
    }

    pub(crate) fn runs_on(&self, profile: Profile) -> bool {
        self.exists
            && match self.place {
                Place::Everywhere => true,
                Place::WithPidfd => profile.has_pidfds(),
                Place::WithoutPidfd => !profile.has_pidfds(),
            }
    }

    pub(crate) fn needs_pidfds(&self) -> bool {
        self.place == Place::WithPidfd
    }
}

/// The bodies of a room, on a runtime; each may be followed by calls of [`Body`]'s methods.
macro_rules! bodies {
    ($runtime:ident: $($body:ident $(.$method:ident($($argument:expr)?))*),* $(,)?) => {
        vec![$(
            crate::bodies::Body::new::<$runtime>(stringify!($body), $body::<$runtime>)
                $(.$method($($argument)?))*
        ),*]
    };
}
use bodies;
