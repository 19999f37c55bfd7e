//! What is done to a process, and to its model: after each step they must agree.

use std::io;

use pidfd_reaper::{Process, Signal, StatusLost};
use proptest::prelude::{Strategy, any};
use proptest::sample::{Index, select};

use crate::child::{CODE, TestChild};
use crate::model::{Answer, Model};

#[derive(Clone, Copy, Debug)]
enum Deed {
    LetExit,
    Signal(Signal),
    StopAndContinue,
    TryExit,
    Steal,
    Clone,
    Drop,
}

const DEEDS: &[Deed] = &[
    Deed::LetExit,
    Deed::Signal(Signal::KILL),
    Deed::Signal(Signal::TERM),
    Deed::Signal(Signal::USR1),
    // Nobody minds this one.
    Deed::Signal(Signal::WINCH),
    Deed::StopAndContinue,
    Deed::TryExit,
    Deed::TryExit,
    Deed::Steal,
    Deed::Steal,
    Deed::Clone,
    Deed::Clone,
    Deed::Drop,
];

/// A deed, done through one of the clones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    deed: Deed,
    clone: Index,
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    (select(DEEDS), any::<Index>()).prop_map(|(deed, clone)| Step { deed, clone })
}

/// A child goes through `steps`, and answers as its model.
pub(crate) fn follow(steps: &[Step], recovers: bool) {
    let (mut child, process) = TestChild::spawn();
    let mut clones = vec![process];
    let mut model = Model::new(recovers);
    for step in steps {
        // After the last clone was dropped, the child is still there, for others.
        if let Some(at) = (!clones.is_empty()).then(|| step.clone.index(clones.len())) {
            match step.deed {
                Deed::Signal(signal) => send(&child, &mut model, &clones[at], signal),
                Deed::StopAndContinue => stop_and_continue(&child, &mut model, &clones[at]),
                Deed::TryExit => assert_eq!(ask(&clones[at]), model.asked()),
                Deed::Clone => clones.push(clones[at].clone()),
                Deed::Drop => drop(clones.swap_remove(at)),
                Deed::LetExit | Deed::Steal => {}
            }
        }
        match step.deed {
            Deed::LetExit if model.runs() => {
                child.let_exit();
                model.exits(CODE);
            }
            Deed::Steal => assert_eq!(child.steal().map_err(drop), model.stolen()),
            _ => {}
        }
        for clone in &clones {
            assert_eq!(clone.id(), child.id());
            assert_eq!(clone.is_reaped(), model.is_known_to_have_ended());
        }
    }
    for clone in &clones {
        assert_eq!(ask(clone), model.asked());
    }
}

fn ask(process: &Process) -> Answer {
    match process.try_exit() {
        Ok(None) => Answer::Runs,
        Ok(Some(exit)) => Answer::Ended { status: exit.status, with_usage: exit.usage.is_some() },
        Err(error) if StatusLost::is(&error) => Answer::Lost,
        Err(error) => panic!("{error}"),
    }
}

fn send(child: &TestChild, model: &mut Model, process: &Process, signal: Signal) {
    let ran = model.runs();
    let sent = process.signal(signal).map_err(|error| error.kind());
    let expected = model.takes_signal(signal).then_some(()).ok_or(io::ErrorKind::InvalidInput);
    assert_eq!(sent, expected);
    if ran && !model.runs() {
        child.until_it_ends();
    }
}

fn stop_and_continue(child: &TestChild, model: &mut Model, process: &Process) {
    send(child, model, process, Signal::STOP);
    if model.runs() {
        child.until_it_stops();
    }
    send(child, model, process, Signal::CONT);
}
