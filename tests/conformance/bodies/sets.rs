//! `ChildSet`: members that are also used one by one, and a set that moves.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_lite::future::poll_once;
use pidfd_reaper::ChildSet;

use super::handles::held_child;
use super::{Body, bodies};
use crate::children::{many, until};
use crate::runtimes::{CommandOn, Runtime};

pub(super) fn all<R: Runtime>() -> Vec<Body> {
    bodies![R:
        member_killed_and_awaited,
        member_awaited_for_a_time,
        member_replaced,
        set_moved_to_another_runtime.if_it(R::HAS_OWN_REACTOR),
        ids_of_two_sets_differ,
        // Of a runtime whose reactor is there as long as the runtime.
        waker_dropped_by_the_next_poll.if_it(R::without_io().is_some()),
    ]
}

type SetOn<R> = ChildSet<<R as Runtime>::Reactor>;

/// Its exit comes out of the set all the same.
fn member_killed_and_awaited<R: Runtime>() -> io::Result<()> {
    let (child, _hold) = held_child::<R>(7)?;
    let (other, other_hold) = held_child::<R>(8)?;
    let mut set = SetOn::<R>::new();
    let (id, other_id) = (set.add(child), set.add(other));
    R::new().block_on(async {
        assert!(poll_once(set.next()).await.is_none());
        set.get_mut(id).expect("it is a member").kill().await?;
        let ended = set.next().await.expect("it has exited");
        assert_eq!((ended.id, ended.result?.code()), (id, None));
        assert!(poll_once(set.next()).await.is_none());
        drop(other_hold);
        let ended = set.next().await.expect("it has exited");
        assert_eq!((ended.id, ended.result?.code()), (other_id, Some(8)));
        Ok(())
    })
}

fn member_awaited_for_a_time<R: Runtime>() -> io::Result<()> {
    let (child, hold) = held_child::<R>(7)?;
    let mut set = SetOn::<R>::new();
    let id = set.add(child);
    R::new().block_on(async {
        for _ in 0..many(20, 5) {
            assert!(poll_once(set.next()).await.is_none());
            let member = set.get_mut(id).expect("it is a member");
            assert_eq!(member.wait_timeout(Duration::from_millis(1)).await?, None);
        }
        drop(hold);
        assert_eq!(set.next().await.expect("it has exited").result?.code(), Some(7));
        Ok(())
    })
}

fn member_replaced<R: Runtime>() -> io::Result<()> {
    let (first, first_hold) = held_child::<R>(7)?;
    let (second, second_hold) = held_child::<R>(8)?;
    let mut set = SetOn::<R>::new();
    let id = set.add(first);
    R::new().block_on(async {
        assert!(poll_once(set.next()).await.is_none());
        let mut first = std::mem::replace(set.get_mut(id).expect("it is a member"), second);
        assert!(poll_once(set.next()).await.is_none());
        drop(second_hold);
        assert_eq!(set.next().await.expect("it has exited").result?.code(), Some(8));
        drop(first_hold);
        assert_eq!(first.wait().await?.code(), Some(7));
        Ok(())
    })
}

fn set_moved_to_another_runtime<R: Runtime>() -> io::Result<()> {
    let mut set = SetOn::<R>::new();
    let mut holds = Vec::new();
    for code in 1..4 {
        let (child, hold) = held_child::<R>(code)?;
        set.add(child);
        holds.push(hold);
    }
    // It is kept, and not driven.
    let first = R::new();
    first.block_on(async { assert!(poll_once(set.next()).await.is_none()) });
    R::new().block_on(async {
        assert!(poll_once(set.next()).await.is_none());
        drop(holds);
        while let Some(ended) = set.next().await {
            ended.result?;
        }
        io::Result::Ok(())
    })?;
    drop(first);
    Ok(())
}

fn ids_of_two_sets_differ<R: Runtime>() -> io::Result<()> {
    let (mut first, mut second) = (SetOn::<R>::new(), SetOn::<R>::new());
    let mut command = CommandOn::<R>::new("true");
    let (one, other) = (first.add(command.spawn()?), second.add(command.spawn()?));
    assert_ne!(one, other);
    assert!(first.get_mut(other).is_none() && second.remove(one).is_none());
    R::new().block_on(async {
        for set in [&mut first, &mut second] {
            assert!(set.next().await.expect("it has exited").result?.success());
        }
        Ok(())
    })
}

/// With it goes a runtime, which wakes the members as it ends.
fn waker_dropped_by_the_next_poll<R: Runtime>() -> io::Result<()> {
    struct Task<R: Runtime>(Mutex<R>);
    impl<R: Runtime> Wake for Task<R> {
        fn wake(self: Arc<Self>) {}
    }
    let (child, hold) = held_child::<R>(7)?;
    let mut set = SetOn::<R>::new();
    set.add(child);
    let runtime = R::new();
    let polled = runtime.block_on(async { poll_once(set.next()).await.is_none() });
    assert!(polled);
    let waker = Waker::from(Arc::new(Task(Mutex::new(runtime))));
    assert!(set.poll_next(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    // The set has the last one.
    assert!(set.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(hold);
    let mut code = None;
    until(
        || "it has not exited".into(),
        || {
            let polled = R::new().block_on(async { poll_once(set.next()).await });
            code = polled.flatten().map(|ended| ended.result.map(|status| status.code()));
            code.is_some()
        },
    );
    assert_eq!(code.transpose()?.flatten(), Some(7));
    assert!(matches!(set.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    Ok(())
}
