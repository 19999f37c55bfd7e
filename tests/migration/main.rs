//! One program, written against `tokio::process`, compiled with Tokio's `use` line, with ours,
//! and with our `Stdio` as well.

#![expect(clippy::duplicate_mod, reason = "the same program again is the point")]

#[path = "."]
mod theirs {
    use std::process::Stdio;
    use tokio::process;

    #[path = "surface.rs"]
    mod surface;
}

#[path = "."]
mod ours {
    use pidfd_reaper::tokio as process;
    use std::process::Stdio;

    #[path = "surface.rs"]
    mod surface;
}

#[path = "."]
mod ours_directly {
    use pidfd_reaper::{Stdio, tokio as process};

    #[path = "surface.rs"]
    mod surface;
}

/// Which `tokio::process`'s child may not.
#[test]
fn ours_may_cross_a_caught_panic() {
    fn is_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    is_safe::<pidfd_reaper::tokio::Child>();
    is_safe::<pidfd_reaper::tokio::ChildHandle>();
    is_safe::<pidfd_reaper::smol::Child>();
}
