//! What a guard does with signals, exit codes and the processes that outlive its main child.

use std::time::Duration;

use crate::reap::scope::KillScope;

/// One more than the highest signal number of Linux. (MIPS has 127: those above are passed on
/// unchanged.)
const SIGNALS: usize = 65;

/// The grace period of a guard that is PID 1. Container runtimes send `SIGKILL` 10 seconds (Docker)
/// or 30 seconds (Kubernetes) after `SIGTERM`: this leaves half of the shorter one to the main child.
pub(super) const GRACE_AS_PID_1: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) forwards_to: KillScope,
    pub(super) signals: SignalMap,
    pub(super) success: ExitCodes,
    pub(super) remaining: Remaining,
}

/// What happens to the processes that run when the main child exits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Remaining {
    /// As PID 1, a grace period of [`GRACE_AS_PID_1`]. As a child subreaper, nothing.
    #[default]
    Default,
    /// `SIGTERM` and `SIGCONT`, the time to exit, `SIGKILL`.
    Terminate(Duration),
    /// No signal from the guard.
    Leave,
}

impl Remaining {
    pub(super) fn grace(self, is_pid_1: bool) -> Option<Duration> {
        match self {
            Self::Default if is_pid_1 => Some(GRACE_AS_PID_1),
            Self::Terminate(grace) => Some(grace),
            Self::Default | Self::Leave => None,
        }
    }
}

/// The signal to send for each one that arrives; 0 for none.
#[derive(Clone, Copy)]
pub(super) struct SignalMap([u8; SIGNALS]);

impl SignalMap {
    /// Does nothing for what is no signal.
    pub(super) fn set(&mut self, from: i32, to: i32) {
        let entry = usize::try_from(from).ok().and_then(|from| self.0.get_mut(from));
        if let (Some(entry), Ok(to)) = (entry, u8::try_from(to)) {
            *entry = to;
        }
    }

    /// What to send for `received`; `None` if it is discarded.
    pub(super) fn get(&self, received: i32) -> Option<i32> {
        let entry = usize::try_from(received).ok().and_then(|index| self.0.get(index));
        Some(entry.map_or(received, |entry| i32::from(*entry))).filter(|signal| *signal != 0)
    }

    fn changes(&self) -> impl Iterator<Item = (u8, u8)> {
        (0..).zip(self.0).filter(|(from, to)| from != to)
    }
}

impl Default for SignalMap {
    fn default() -> Self {
        let mut map = [0; SIGNALS];
        for (number, entry) in (0..).zip(&mut map) {
            *entry = number;
        }
        Self(map)
    }
}

impl std::fmt::Debug for SignalMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.changes()).finish()
    }
}

/// A set of exit codes.
#[derive(Clone, Copy, Default)]
pub(super) struct ExitCodes([u64; 4]);

impl ExitCodes {
    pub(super) fn insert(&mut self, code: u8) {
        self.0[usize::from(code / 64)] |= 1 << (code % 64);
    }

    pub(super) fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code / 64)] >> (code % 64) & 1 == 1
    }
}

impl std::fmt::Debug for ExitCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..=u8::MAX).filter(|code| self.contains(*code))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitCodes, SignalMap};

    #[test]
    fn maps_one_signal_to_another_and_not_further() {
        let mut map = SignalMap::default();
        map.set(15, 2);
        map.set(2, 15);
        map.set(10, 0);
        map.set(64, 1);
        map.set(-1, 9);
        map.set(12, -1);
        map.set(4711, 9);
        let got = [15, 2, 10, 64, 12, 1, 4711].map(|signal| map.get(signal));
        assert_eq!(got, [Some(2), Some(15), None, Some(1), Some(12), Some(1), Some(4711)]);
        assert_eq!(format!("{map:?}"), "{2: 15, 10: 0, 15: 2, 64: 1}");
    }

    #[test]
    fn holds_the_codes_that_were_inserted() {
        let mut codes = ExitCodes::default();
        let some = [0, 63, 64, 143, 255];
        for code in some {
            codes.insert(code);
        }
        let held: Vec<u8> = (0..=u8::MAX).filter(|code| codes.contains(*code)).collect();
        assert_eq!(held, some);
        assert_eq!(format!("{codes:?}"), "{0, 63, 64, 143, 255}");
    }
}
