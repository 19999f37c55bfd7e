//! The lives of children that several hold: clones of a `Process`, and thieves.

use std::io;
use std::process::ExitStatus;

use futures_lite::future::{poll_once, yield_now, zip};
use pidfd_reaper::{Process, Reaper, Signal, StatusLost, Wait};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::oneshot;

use crate::act::Scene;
use crate::hold::{check, command, pause, release, wait_shared};
use crate::ledger::Fault;
use crate::life::{Cue, let_go};
use crate::program::{Fate, Plan};
use crate::runtime::Runtime;
use crate::thief::steal;

pub(crate) async fn live<R: Runtime>(
    scene: &Scene<R>,
    plan: Plan,
    cue: &mut Cue,
) -> Result<(), Fault> {
    let (mut command, input) = command(plan)?;
    let process: Process = command.spawn().and_then(TryInto::try_into).map_err(Fault::Refused)?;
    drop(command);
    scene.ledger.spawned();
    let has_pidfd = process.pidfd().is_ok();
    if !has_pidfd {
        scene.ledger.without_pidfd();
    }
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a child's number");
    let mut reaper = Reaper::<R::Reactor, _>::new(process.clone());
    let wait = wait_shared(&scene.ledger, &mut reaper);

    // Whether a thief was first, on whom it then depends whether there is a status.
    let mut stolen = false;
    let end = match plan.fate {
        Fate::KilledByClone => {
            let kill = async {
                let _ = cue.await;
                process.signal(Signal::KILL)
            };
            let (end, killed) = zip(wait, kill).await;
            killed?;
            end
        }
        Fate::Stopped => {
            let stop = async {
                let _ = cue.await;
                stop_and_go(&process, pid).await?;
                release(&input);
                io::Result::Ok(())
            };
            let (end, stopped) = zip(wait, stop).await;
            stopped?;
            end
        }
        Fate::StolenFirst => {
            let _ = cue.await;
            let loot = steal(&scene.thieves, pid).await;
            release(&input);
            stolen = true;
            check(plan, loot.await.expect("a thief tells").map_err(Into::into))?;
            wait.await
        }
        Fate::StolenAwaited => {
            let theft = async {
                let _ = cue.await;
                let loot = steal(&scene.thieves, pid).await;
                release(&input);
                loot.await.expect("a thief tells")
            };
            let (end, loot) = zip(wait, theft).await;
            stolen = loot.is_ok();
            end
        }
        Fate::TwoWait => {
            let (told, twins_end) = oneshot::channel();
            let mut twin = Reaper::<R::Reactor, _>::new(process.clone());
            let ledger = scene.ledger.clone();
            scene.spawn(Box::pin(async move {
                let _ = told.send(wait_shared(&ledger, &mut twin).await);
            }));
            let let_go = let_go(cue, &input);
            let (end, (twins_end, ())) = zip(wait, zip(twins_end, let_go)).await;
            check(plan, twins_end.expect("the twin tells"))?;
            end
        }
        Fate::OneOfTwoDrops => {
            let mut twin = Reaper::<R::Reactor, _>::new(process.clone());
            scene.spawn(Box::pin(async move {
                let _ = poll_once(&mut twin).await;
            }));
            let let_go = let_go(cue, &input);
            zip(wait, let_go).await.0
        }
        Fate::BothDrop => {
            drop(wait);
            drop(reaper);
            drop(Reaper::<R::Reactor, _>::new(process.clone()));
            let_go(cue, &input).await;
            loop {
                if let Some(exit) = process.try_exit().transpose() {
                    break exit.map(|exit| exit.status);
                }
                pause().await;
            }
        }
        _ => unreachable!("of one owner"),
    };

    over(plan, &process, stolen && !(has_pidfd && scene.recovers), end)
}

/// The end must be the planned one, every clone must say the same, and none has whom to signal.
fn over(
    plan: Plan,
    process: &Process,
    may_be_lost: bool,
    end: io::Result<ExitStatus>,
) -> Result<(), Fault> {
    let told = |end| match end {
        Err(error) if may_be_lost && StatusLost::is(&error) => Ok(()),
        end => check(plan, end),
    };
    told(end)?;
    let Some(again) = process.try_exit().transpose() else {
        return Err(Fault::Broken("it ended, and then it ran".to_owned()));
    };
    told(again.map(|exit| exit.status))?;
    match process.signal(Signal::KILL) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        sent => Err(Fault::Broken(format!("it was reaped, and a signal to it gave {sent:?}"))),
    }
}

/// Stops the child, waits until it is stopped, and continues it.
async fn stop_and_go(process: &Process, pid: Pid) -> io::Result<()> {
    process.signal(Signal::STOP)?;
    while waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?.is_none() {
        yield_now().await;
    }
    process.signal(Signal::CONT)
}
