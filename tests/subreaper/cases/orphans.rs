//! Strangers are reaped, also in numbers, while the main child runs.

use super::Case;
use crate::processes::{init, state_and_parent, strangers, until_no_strangers};
use crate::strangers::{hold, one_comes_and_goes};
use crate::sys;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_inits("reaps_a_hundred_orphans", reaps_a_hundred_orphans),
        Case::of_inits("reaps_a_storm_of_orphans", reaps_a_storm_of_orphans),
        Case::of_inits("forwards_in_a_storm_of_orphans", forwards_in_a_storm_of_orphans),
    ]
}

fn reaps_a_hundred_orphans() {
    let held = hold(100);
    for pid in &held.pids {
        let parent = state_and_parent(pid.as_raw_nonzero().get()).expect("it is held").1;
        assert_eq!(parent, init(), "{pid:?} is not the init's");
    }
    assert_eq!(strangers().len(), 100);
    drop(held);
    until_no_strangers();
}

fn reaps_a_storm_of_orphans() {
    for _ in 0..100 {
        sys::leave_strangers(30, None);
    }
    until_no_strangers();
    one_comes_and_goes();
}

fn forwards_in_a_storm_of_orphans() {
    sys::block(&[libc::SIGUSR1]);
    for _ in 0..50 {
        sys::leave_strangers(20, None);
        sys::signal_init(libc::SIGUSR1);
        sys::wait_for(libc::SIGUSR1);
    }
    until_no_strangers();
}
