//! One program, written against `tokio::process`, compiled twice: with Tokio's `use` line, and with ours.

#![expect(clippy::duplicate_mod, reason = "the same program twice is the point")]

#[path = "."]
mod theirs {
    use tokio::process;

    #[path = "surface.rs"]
    mod surface;
}

#[path = "."]
mod ours {
    use pidfd_reaper::tokio as process;

    #[path = "surface.rs"]
    mod surface;
}
