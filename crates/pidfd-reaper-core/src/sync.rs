//! What threads share, from the standard library; or from loom, which tries every order of it.
//!
//! `RUSTFLAGS='--cfg loom' cargo test -p pidfd-reaper-core --lib --release` runs the models.

cfg_if::cfg_if! {
    if #[cfg(all(test, loom))] {
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
        pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
        pub(crate) use loom::thread;
    } else {
        pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
        pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
        pub(crate) use std::thread;
    }
}
