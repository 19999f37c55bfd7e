//! What happens to which child, all drawn from the seed before the first child is there.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use fastrand::Rng;
use pidfd_reaper::Signal;

/// What becomes of a child, and of those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Exits at once, which may be before the first poll.
    AtOnce,
    /// Exits when it is told to, while it is awaited. So do all below unless they say else.
    Awaited,
    /// Is awaited only after it was told to exit.
    AskedLate,
    /// The wait is given up and taken up again before it exits.
    Cancelled,
    /// We kill it.
    Killed,
    /// It is killed through a clone while another task waits for it.
    KilledByClone,
    KilledByItself,
    /// Is stopped and continued.
    Stopped,
    /// A foreign `waitid` reaps it before we look.
    StolenFirst,
    /// A foreign `waitid` and we are after it together.
    StolenAwaited,
    /// Two tasks wait for it.
    TwoWait,
    /// Two tasks wait for it, and one drops its handle: so it is an orphan that is awaited.
    OneOfTwoDrops,
    /// Two handles are dropped: it is an orphan twice.
    BothDrop,
    DroppedUnpolled,
    DroppedPolled,
    KillOnDrop,
    /// The runtime ends while it is awaited.
    LeftBehind,
    /// It is polled in one runtime, and awaited in the next after that one's end.
    CarriedOver,
}

impl Fate {
    const ALL: [Self; 18] = [
        Self::AtOnce,
        Self::Awaited,
        Self::AskedLate,
        Self::Cancelled,
        Self::Killed,
        Self::KilledByClone,
        Self::KilledByItself,
        Self::Stopped,
        Self::StolenFirst,
        Self::StolenAwaited,
        Self::TwoWait,
        Self::OneOfTwoDrops,
        Self::BothDrop,
        Self::DroppedUnpolled,
        Self::DroppedPolled,
        Self::KillOnDrop,
        Self::LeftBehind,
        Self::CarriedOver,
    ];
}

/// One child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) number: usize,
    pub(crate) fate: Fate,
    code: u8,
}

impl Plan {
    /// What the child does, for `sh -c`. It ends too when its standard input is closed, so that
    /// none is left of a storm that fails.
    pub(crate) fn script(&self) -> String {
        match self.fate {
            Fate::AtOnce => format!("exit {}", self.code),
            Fate::KilledByItself => "read line; kill -s USR1 $$".to_owned(),
            _ => format!("read line; exit {}", self.code),
        }
    }

    /// The status that whoever waits for it must get.
    pub(crate) fn status(&self) -> ExitStatus {
        ExitStatus::from_raw(match self.fate {
            Fate::Killed | Fate::KilledByClone | Fate::KillOnDrop => Signal::KILL.as_raw(),
            Fate::KilledByItself => Signal::USR1.as_raw(),
            _ => i32::from(self.code) << 8,
        })
    }
}

/// What the conductor does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Spawn(Plan),
    /// The child of this number is told to end, or whatever its fate is comes to pass.
    Cue(usize),
}

/// The program of one runtime: `children` of them, about `alive` at a time.
///
/// Its clock counts the spawns, so that it is the same on a fast machine and on a slow one. What is
/// still alive at the last spawn ends in one burst.
pub(crate) fn draw(seed: u64, children: usize, alive: usize) -> Vec<Event> {
    let mut rng = Rng::with_seed(seed);
    let mut events = Vec::with_capacity(2 * children);
    for number in 0..children {
        // Every fate comes to pass, and the rest is chance.
        let fate = *Fate::ALL.get(number).unwrap_or(&Fate::ALL[rng.usize(..Fate::ALL.len())]);
        events.push((number, Event::Spawn(Plan { number, fate, code: rng.u8(..) })));
        // Most live for about as long as the crowd is large, some for much less.
        let stays = if rng.u8(..4) == 0 { rng.usize(..alive) } else { alive };
        events.push((number + stays, Event::Cue(number)));
    }
    // Stable: a child is spawned before its cue.
    events.sort_by_key(|(stamp, _)| *stamp);
    events.into_iter().map(|(_, event)| event).collect()
}
