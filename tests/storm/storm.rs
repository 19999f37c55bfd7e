//! A storm: all runtimes go through their programs at the same time, and then nothing may be left.

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pidfd_reaper::KernelSupport;

use crate::act::Act;
use crate::census::Census;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::program::{Event, draw};
use crate::runtime::{AsyncStd, Runtime, Smol, TokioManyThreads, TokioOneThread};
use crate::thief::Thieves;

/// It takes seconds, on a machine that is very busy a minute; after this, something hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Has a storm in this process, which must have no children and no threads; tells how it was.
pub(crate) fn storm(limits: Limits, seed: u64) -> Result<String, String> {
    limits.begin().map_err(|error| format!("{limits:?}: {error}"))?;
    let recovers = KernelSupport::probe().exit_info.is_ok();
    let thieves = Thieves::hire(4);

    let ledger = Arc::new(Ledger::default());
    let (over, is_over) = mpsc::channel::<()>();
    let watched = Arc::clone(&ledger);
    let watchdog = thread::spawn(move || {
        if is_over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            println!("it hangs\n{watched}\n{}", watched.complaints().join("\n"));
            process::exit(1);
        }
    });

    // A breeze, after which every runtime has the threads and descriptors that it keeps.
    blow(stages(limits, &ledger, &thieves, recovers), seed, (20, 10));
    let before = Census::of_the_calm(None, false)?;

    let crowd = limits.crowd();
    let stages = stages(limits, &ledger, &thieves, recovers);
    limits.lower().map_err(|error| format!("lowering a limit: {error}"))?;
    blow(stages, seed, crowd);
    let calm = Census::of_the_calm(Some(&before), limits == Limits::Processes);
    limits.lift().map_err(|error| format!("lifting a limit: {error}"))?;
    drop(over);
    let _ = watchdog.join();

    let mut complaints = ledger.complaints();
    complaints.extend(calm.err());
    if ledger.went_short() != limits.bite() {
        complaints.push(format!("{limits:?} were to run short: {}", limits.bite()));
    }
    if complaints.is_empty() {
        Ok(ledger.to_string())
    } else {
        Err(format!("{ledger}\n{}", complaints.join("\n")))
    }
}

/// A runtime, ready to go through a program.
type Stage = Box<dyn FnOnce(Vec<Event>) + Send>;

fn stages(limits: Limits, ledger: &Arc<Ledger>, thieves: &Thieves, recovers: bool) -> [Stage; 4] {
    fn stage<R: Runtime>(
        limits: Limits,
        ledger: &Arc<Ledger>,
        thieves: &Thieves,
        recovers: bool,
    ) -> Stage {
        let act = Act::<R>::new(limits, ledger, thieves, recovers);
        Box::new(|program| act.run(program))
    }
    [
        stage::<TokioManyThreads>(limits, ledger, thieves, recovers),
        stage::<TokioOneThread>(limits, ledger, thieves, recovers),
        stage::<Smol>(limits, ledger, thieves, recovers),
        stage::<AsyncStd>(limits, ledger, thieves, recovers),
    ]
}

fn blow(stages: [Stage; 4], seed: u64, (children, alive): (usize, usize)) {
    thread::scope(|scope| {
        for (index, stage) in (0..).zip(stages) {
            scope.spawn(move || stage(draw(seed ^ (index << 32), children, alive)));
        }
    });
}
