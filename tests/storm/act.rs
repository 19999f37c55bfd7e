//! An act: one runtime goes through its program, and what it leaves behind is looked after.

use std::convert::Infallible;
use std::iter;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_lite::future::{yield_now, zip};
use pidfd_reaper::Child;
use tokio::sync::{mpsc, oneshot};

use crate::hold::{self, gone, release};
use crate::ledger::{Fault, Ledger};
use crate::life;
use crate::limits::Limits;
use crate::program::{Event, Fate, Plan};
use crate::runtime::{Runtime, Task};
use crate::thief::Thieves;

/// A child that is awaited in the next runtime, and what holds it until then.
pub(crate) type Carried<R> = (Plan, Child<R>, OwnedFd);

/// What the tasks of all children of one runtime have in common.
pub(crate) struct Scene<R: Runtime> {
    /// Weak, since tasks must not keep alive what drops them.
    runtime: Weak<R>,
    limits: Limits,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) thieves: Thieves,
    /// Whether this kernel tells the status of a stolen child that has a pidfd.
    pub(crate) recovers: bool,
    /// What holds the children that the runtime's end is to find alive.
    pub(crate) left: Mutex<Vec<OwnedFd>>,
    pub(crate) carried: Mutex<Vec<Carried<R::Reactor>>>,
}

impl<R: Runtime> Scene<R> {
    pub(crate) fn spawn(&self, task: Task) {
        self.runtime.upgrade().expect("its end waits for its tasks").spawn(task);
    }
}

/// A runtime that has yet to run, and the one after it.
pub(crate) struct Act<R: Runtime> {
    runtime: Arc<R>,
    next: R,
    scene: Arc<Scene<R>>,
}

impl<R: Runtime> Act<R> {
    pub(crate) fn new(
        limits: Limits,
        ledger: &Arc<Ledger>,
        thieves: &Thieves,
        recovers: bool,
    ) -> Self {
        let runtime = Arc::new(R::new());
        let scene = Arc::new(Scene {
            runtime: Arc::downgrade(&runtime),
            limits,
            ledger: Arc::clone(ledger),
            thieves: thieves.clone(),
            recovers,
            left: Mutex::default(),
            carried: Mutex::default(),
        });
        Self { runtime, next: R::new(), scene }
    }

    pub(crate) fn run(self, program: Vec<Event>) {
        let Self { runtime, next, scene } = self;
        runtime.block_on(conduct(&*runtime, &scene, program));
        Arc::into_inner(runtime).expect("the tasks that spawn have ended").end();

        let left = take(&scene.left);
        next.block_on(async {
            for (plan, child, input) in take(&scene.carried) {
                scene.ledger.ends(R::NAME, plan, carry_on(&scene, plan, child, input).await);
            }
            left.iter().for_each(release);
            for input in left {
                gone(&input).await;
            }
        });
        next.end();
    }
}

/// Spawns and gives the cues, and waits for all whose fate is not to be left behind.
async fn conduct<R: Runtime>(runtime: &R, scene: &Arc<Scene<R>>, program: Vec<Event>) {
    let mut cues: Vec<Option<oneshot::Sender<()>>> =
        iter::repeat_with(|| None).take(program.len()).collect();
    // Nothing is sent: it is closed by the last of those who hold it.
    let (holder, mut all_done) = mpsc::channel::<Infallible>(1);
    for event in program {
        match event {
            Event::Cue(number) => {
                // Nobody listens any more for a child that could not be spawned.
                let _ = cues[number].take().map(|cue| cue.send(()));
            }
            Event::Spawn(plan) => {
                scene.limits.vary();
                let (tell, cue) = oneshot::channel();
                cues[plan.number] = Some(tell);
                let holder = (plan.fate != Fate::LeftBehind).then(|| {
                    scene.ledger.begins(R::NAME, plan);
                    holder.clone()
                });
                let scene = Arc::clone(scene);
                runtime.spawn(Box::pin(async move {
                    let end = life::live(&scene, plan, cue).await;
                    // Of one that is carried over, the end is told by the next runtime.
                    if plan.fate != Fate::CarriedOver || end.is_err() {
                        scene.ledger.ends(R::NAME, plan, end);
                    }
                    drop(holder);
                }));
                yield_now().await;
            }
        }
    }
    drop(holder);
    assert_eq!(all_done.recv().await, None);
}

/// The second half of [`Fate::CarriedOver`].
async fn carry_on<R: Runtime>(
    scene: &Scene<R>,
    plan: Plan,
    mut child: Child<R::Reactor>,
    input: OwnedFd,
) -> Result<(), Fault> {
    let wait = hold::wait(&scene.ledger, &mut child);
    let (end, ()) = zip(wait, async { release(&input) }).await;
    hold::check(plan, end)
}

fn take<T>(shared: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner))
}
