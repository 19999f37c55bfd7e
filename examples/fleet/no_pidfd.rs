//! A kernel without pidfds, made by a seccomp filter.

use std::env::consts::ARCH;
use std::error::Error;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// `pidfd_open(2)` has this number on every architecture.
const PIDFD_OPEN: i64 = 434;
const ENOSYS: u32 = 38;

/// Has `pidfd_open(2)` answer `ENOSYS`, in this process and its children, for ever.
pub(crate) fn install() -> Result<(), Box<dyn Error>> {
    let filter = SeccompFilter::new(
        [(PIDFD_OPEN, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        ARCH.try_into()?,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
