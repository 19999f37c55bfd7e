//! What is just being done, on one line, if a person looks on.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};

/// Writes over what was told before.
pub(super) fn tell(what: Arguments<'_>) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // It may not show, which is no reason to stop.
        let _ = write!(stderr, "\r\x1b[K{what}").and_then(|()| stderr.flush());
    }
}
