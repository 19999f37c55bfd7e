//! What each child of the fleet does. Its number decides, so that every run is the same.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use pidfd_reaper::Signal;

/// One child, and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) fate: Fate,
    /// How long it lives, once all of the fleet have been started.
    pub(crate) life: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It exits with this code.
    Exits(u8),
    /// It sends this signal to itself.
    Dies(Signal),
    /// It is killed while it is waited for.
    Killed,
    /// Its handle is dropped while it is waited for.
    Abandoned,
    /// Its handle is dropped as soon as it is started.
    DroppedAtOnce,
    /// It is a `cat`, through which so many bytes go.
    Copies(u32),
}

/// They end a process, write no core, and no shell has its background jobs ignore them.
const DEADLY: [Signal; 7] = [
    Signal::KILL,
    Signal::TERM,
    Signal::ALARM,
    Signal::USR1,
    Signal::USR2,
    Signal::VTALARM,
    Signal::PROF,
];

const LARGEST_COPY: u32 = 3 << 20;

impl Job {
    /// The job of the child `number`, whose life is shorter than `longest_life`.
    pub(crate) fn new(number: u32, longest_life: Duration) -> Self {
        let (round, place) = (number / 20, number % 20);
        let fate = match place {
            // By steps prime to 256: the low byte comes round only after all of them.
            0..9 => Fate::Exits(((round * 9 + place) * 37).to_le_bytes()[0]),
            9..12 => Fate::Dies(DEADLY[(round * 3 + place) as usize % DEADLY.len()]),
            12..14 => Fate::Killed,
            14..16 => Fate::Abandoned,
            16..18 => Fate::DroppedAtOnce,
            _ => Fate::Copies(random(number.into()) % LARGEST_COPY),
        };
        // Not at once: all of the fleet wake up when the last was started.
        let life = longest_life * (250 + random(number.into()) % 750) / 1000;
        Self { number, fate, life }
    }

    /// How it is to end, if it is waited for.
    pub(crate) fn status(&self) -> ExitStatus {
        ExitStatus::from_raw(match self.fate {
            Fate::Exits(code) => i32::from(code) << 8,
            Fate::Dies(signal) => signal.as_raw(),
            Fate::Killed => Signal::KILL.as_raw(),
            Fate::Abandoned | Fate::DroppedAtOnce | Fate::Copies(_) => 0,
        })
    }

    /// The bytes that it copies.
    pub(crate) fn data(&self, length: u32) -> Vec<u8> {
        let seed = u64::from(self.number) << 32;
        (0..length).map(|byte| random(seed + u64::from(byte)).to_le_bytes()[0]).collect()
    }
}

/// The better half of `SplitMix64`.
fn random(seed: u64) -> u32 {
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 32) as u32
}
