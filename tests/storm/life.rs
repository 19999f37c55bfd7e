//! The life of a child, from its spawn to its end. Here those of a `Child`, which has one owner.

use std::io;
use std::os::fd::OwnedFd;

use futures_lite::future::{or, poll_once, zip};
use pidfd_reaper::{Child, Command, Reactor};
use tokio::sync::oneshot;

use crate::act::Scene;
use crate::hold::{check, command, gone, pause, release, runs, wait};
use crate::ledger::Fault;
use crate::program::{Fate, Plan};
use crate::runtime::Runtime;
use crate::shared;

/// Comes when it is time for the child's fate; an error means that all is over, and is the same.
pub(crate) type Cue = oneshot::Receiver<()>;

/// A spawn that is refused is tried again until there is room: of the failed one nothing is left.
pub(crate) async fn live<R: Runtime>(
    scene: &Scene<R>,
    plan: Plan,
    mut cue: Cue,
) -> Result<(), Fault> {
    loop {
        let end = match plan.fate {
            Fate::KilledByClone
            | Fate::Stopped
            | Fate::StolenFirst
            | Fate::StolenAwaited
            | Fate::TwoWait
            | Fate::OneOfTwoDrops
            | Fate::BothDrop => shared::live(scene, plan, &mut cue).await,
            _ => owned(scene, plan, &mut cue).await,
        };
        match end {
            Err(Fault::Refused(error)) if is_shortage(&error) => scene.ledger.refused(),
            end => return end,
        }
        pause().await;
    }
}

fn is_shortage(error: &io::Error) -> bool {
    [libc::EMFILE, libc::EAGAIN].map(Some).contains(&error.raw_os_error())
}

async fn owned<R: Runtime>(scene: &Scene<R>, plan: Plan, cue: &mut Cue) -> Result<(), Fault> {
    let (command, input) = command(plan)?;
    let mut child = Command::<R::Reactor>::from(command)
        .kill_on_drop(plan.fate == Fate::KillOnDrop)
        .spawn()
        .map_err(Fault::Refused)?;
    scene.ledger.spawned();
    match plan.fate {
        Fate::AtOnce => {}
        Fate::AskedLate => {
            let _ = cue.await;
            release(&input);
        }
        Fate::Cancelled => {
            let until_cue = async {
                let _ = cue.await;
                None
            };
            runs(or(async { Some(child.wait().await) }, until_cue).await)?;
            runs(child.try_wait().transpose())?;
            release(&input);
        }
        Fate::Killed => {
            let _ = cue.await;
            child.start_kill()?;
        }
        Fate::DroppedUnpolled | Fate::DroppedPolled | Fate::KillOnDrop => {
            return drop_it(plan, child, input, cue).await;
        }
        Fate::LeftBehind => {
            scene.left.lock().expect("no task panics").push(input);
            let end = wait(&scene.ledger, &mut child).await;
            return Err(Fault::Broken(format!("it was left behind, and ended with {end:?}")));
        }
        Fate::CarriedOver => {
            runs(poll_once(child.wait()).await)?;
            let _ = cue.await;
            scene.carried.lock().expect("no task panics").push((plan, child, input));
            return Ok(());
        }
        _ => {
            let let_go = let_go(cue, &input);
            let (end, ()) = zip(wait(&scene.ledger, &mut child), let_go).await;
            check(plan, end)?;
        }
    }
    check(plan, wait(&scene.ledger, &mut child).await)?;
    check(plan, child.wait().await)?;
    match child.id() {
        None => Ok(()),
        Some(pid) => Err(Fault::Broken(format!("it was reaped, and has the number {pid}"))),
    }
}

/// The orphan queue reaps it. That is seen at the end of the storm, when no child may be left.
async fn drop_it<R: Reactor>(
    plan: Plan,
    mut child: Child<R>,
    input: OwnedFd,
    cue: &mut Cue,
) -> Result<(), Fault> {
    if plan.fate != Fate::DroppedUnpolled {
        runs(poll_once(child.wait()).await)?;
    }
    if plan.fate == Fate::KillOnDrop {
        let _ = cue.await;
        drop(child);
    } else {
        drop(child);
        let _ = cue.await;
        release(&input);
    }
    gone(&input).await;
    Ok(())
}

/// What goes on beside a wait: the child may exit when its time has come.
pub(crate) async fn let_go(cue: &mut Cue, input: &OwnedFd) {
    let _ = cue.await;
    release(input);
}
