//! Fairness.
use super::{Body, bodies};
use crate::runtimes::Runtime;

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:]
}
