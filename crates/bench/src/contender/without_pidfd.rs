//! A kernel without pidfds, made by a seccomp filter.

use std::env::consts::ARCH;
use std::error::Error;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Has `pidfd_open(2)` answer `ENOSYS`, in this process and its children, for ever.
pub(super) fn install() -> Result<(), Box<dyn Error>> {
    let filter = SeccompFilter::new(
        [(libc::SYS_pidfd_open, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        ARCH.try_into()?,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
