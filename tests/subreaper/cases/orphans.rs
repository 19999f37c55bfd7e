//! Orphans are reaped, also in numbers, while the main child runs.

use super::{Case, Only, is_in_state};
use crate::held::{hold, one_comes_and_goes};
use crate::inits::Init;
use crate::processes::{init, orphans_of_init, state_and_parent, until, until_no_orphans};
use crate::sys;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::of_inits("reaps_a_hundred_orphans", reaps_a_hundred_orphans).by(&[
            Init::Example,
            Init::Tini,
            Init::Catatonit,
            Init::Dumb,
        ]),
        Case::of_inits("reaps_a_storm_of_orphans", reaps_a_storm_of_orphans),
        Case::of_inits("reaps_all_for_one_signal", reaps_all_for_one_signal).only(Only::Subreaper),
        Case::of_inits("forwards_in_a_storm_of_orphans", forwards_in_a_storm_of_orphans),
    ]
}

fn reaps_a_hundred_orphans() {
    let held = hold(100);
    for pid in &held.pids {
        let parent = state_and_parent(pid.as_raw_nonzero().get()).expect("it is held").1;
        assert_eq!(parent, init(), "{pid:?} is not the init's");
    }
    assert_eq!(orphans_of_init().len(), 100);
    drop(held);
    until_no_orphans();
}

/// All of them end while the init is stopped, and make one signal. PID 1 cannot be stopped.
fn reaps_all_for_one_signal() {
    let held = hold(600);
    sys::signal_init(libc::SIGSTOP);
    until(|| "the init is not stopped".into(), || is_in_state(init(), 'T'));
    let pids = held.pids.clone();
    drop(held);
    until(
        || "orphans have not ended".into(),
        || pids.iter().all(|pid| is_in_state(pid.as_raw_nonzero().get(), 'Z')),
    );
    sys::signal_init(libc::SIGCONT);
    until_no_orphans();
}

fn reaps_a_storm_of_orphans() {
    for _ in 0..100 {
        sys::leave_orphans(30, None);
    }
    until_no_orphans();
    one_comes_and_goes();
}

fn forwards_in_a_storm_of_orphans() {
    sys::block(&[libc::SIGUSR1]);
    for _ in 0..50 {
        sys::leave_orphans(20, None);
        sys::signal_init(libc::SIGUSR1);
        sys::wait_for(libc::SIGUSR1);
    }
    until_no_orphans();
}
