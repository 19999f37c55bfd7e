//! `Waits`: who waits for which pidfd, and who has been told that its process may have ended.

use std::mem;
use std::task::Waker;

use slab::Slab;

/// A slot for each pidfd that is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    slots: Slab<Slot>,
    generation: u32,
    /// Nothing is told any more.
    deaf: bool,
}

#[derive(Debug)]
struct Slot {
    waker: Option<Waker>,
    generation: u32,
    told: bool,
}

/// A slot and its generation: a late edge does not find who has the slot next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// What is to be done by who waits.
pub(crate) enum Answer {
    Ask,
    Wait,
    /// Clone the waker, and poll again with the clone.
    Clone,
    Deaf,
}

impl Waits {
    pub(crate) fn enter(&mut self) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.slots.insert(Slot { waker: None, generation, told: false });
        Key { slot: u32::try_from(slot).expect("there are fewer descriptors"), generation }
    }

    /// Whether an edge has come since it was last asked; if not, `waker` is woken by the next.
    ///
    /// A waker's `clone` and `drop` are foreign code, which may come here again, and this is called
    /// under a lock. So the caller clones it, after the lock is released, if that is needed, and
    /// gets the waker that was there before in `clone`.
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker, clone: &mut Option<Waker>) -> Answer {
        let slot = &mut self.slots[key.slot as usize];
        if mem::take(&mut slot.told) {
            Answer::Ask
        } else if self.deaf {
            Answer::Deaf
        } else if slot.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            Answer::Wait
        } else if clone.is_some() {
            mem::swap(&mut slot.waker, clone);
            Answer::Wait
        } else {
            Answer::Clone
        }
    }

    /// Notes an edge. The waker that it gives is woken outside the lock.
    pub(crate) fn tell(&mut self, key: Key) -> Option<Waker> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.told = true;
        slot.waker.take()
    }

    /// Nothing will be told from now on. Who waits is woken, and told that.
    pub(crate) fn fall_deaf(&mut self) -> Vec<Waker> {
        self.deaf = true;
        self.slots.iter_mut().filter_map(|(_, slot)| slot.waker.take()).collect()
    }

    /// The waker that it gives is dropped outside the lock: a task may go with it.
    pub(crate) fn leave(&mut self, key: Key) -> Option<Waker> {
        self.slots.remove(key.slot as usize).waker
    }
}

impl From<Key> for u64 {
    fn from(key: Key) -> u64 {
        u64::from(key.generation) << 32 | u64::from(key.slot)
    }
}

impl From<u64> for Key {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
    fn from(key: u64) -> Self {
        Self { slot: key as u32, generation: (key >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(waits: &mut Waits, key: Key) -> Answer {
        waits.poll(key, Waker::noop(), &mut Some(Waker::noop().clone()))
    }

    #[test]
    fn a_late_edge_tells_nobody_else() {
        let mut waits = Waits::default();
        let first = waits.enter();
        assert!(waits.leave(first).is_none());
        let second = waits.enter();
        assert_eq!(first.slot, second.slot);
        assert!(matches!(poll(&mut waits, second), Answer::Wait));
        assert!(waits.tell(u64::from(first).into()).is_none());
        assert!(matches!(poll(&mut waits, second), Answer::Wait));
        assert!(waits.tell(u64::from(second).into()).is_some());
        assert!(matches!(poll(&mut waits, second), Answer::Ask));
    }

    #[test]
    fn an_edge_before_the_first_poll_is_kept_and_tells_once() {
        let mut waits = Waits::default();
        let key = waits.enter();
        assert!(waits.tell(key).is_none());
        assert!(matches!(poll(&mut waits, key), Answer::Ask));
        assert!(matches!(poll(&mut waits, key), Answer::Wait));
    }

    #[test]
    fn once_deaf_all_are_woken_and_told_so() {
        let mut waits = Waits::default();
        let (waiting, told) = (waits.enter(), waits.enter());
        assert!(matches!(poll(&mut waits, waiting), Answer::Wait));
        waits.tell(told);
        assert_eq!(waits.fall_deaf().len(), 1);
        assert!(matches!(poll(&mut waits, waiting), Answer::Deaf));
        // What was heard before is not lost.
        assert!(matches!(poll(&mut waits, told), Answer::Ask));
    }

    #[test]
    fn a_waker_is_cloned_only_if_it_is_another() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let waker = Waker::from(std::sync::Arc::new(Nothing));
        let mut waits = Waits::default();
        let key = waits.enter();
        let mut clone = None;
        assert!(matches!(waits.poll(key, &waker, &mut clone), Answer::Clone));
        clone = Some(waker.clone());
        assert!(matches!(waits.poll(key, &waker, &mut clone), Answer::Wait));
        // There was none before.
        assert!(clone.is_none());
        assert!(matches!(waits.poll(key, &waker, &mut clone), Answer::Wait));
    }
}
