//! The floor: the least that the kernel asks for, without a runtime.
//!
//! The standard library's spawn, `pidfd_open`, one epoll, `waitid(P_PIDFD)`, `close`.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::Contender;
use super::blocking::outputs;
use super::peers::{reap, spawn_with_pidfd};
use crate::child::Order;

pub(super) struct Floor {
    epoll: OwnedFd,
    abandoned: RefCell<Vec<Option<Child>>>,
}

pub(super) struct Child {
    pid: u32,
    pidfd: OwnedFd,
    kill_on_drop: bool,
}

impl Floor {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, abandoned: RefCell::default() })
    }

    fn watch(&self, child: &Child, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, &child.pidfd, EventData::new_u64(key), EventFlags::IN)?)
    }

    /// Sleeps until some have ended, and reaps those: how many.
    fn reap_some(&self, children: &mut [Option<Child>]) -> io::Result<usize> {
        let mut events = [MaybeUninit::uninit(); 64];
        let ended = match epoll::wait(&self.epoll, &mut events, None) {
            Ok((ended, _)) => ended,
            // It was stopped and goes on.
            Err(Errno::INTR) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        let mut reaped = 0;
        for event in &*ended {
            let key = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            // Whoever looks at our descriptors in procfs keeps one open for a moment longer.
            if let Some(child) = children[key].take() {
                reap(&child.pidfd)?;
                reaped += 1;
            }
        }
        Ok(reaped)
    }
}

impl Contender for Floor {
    type Child = Child;

    fn spawn(&self, order: Order, kill_on_drop: bool) -> io::Result<Child> {
        let (pid, pidfd) = spawn_with_pidfd(order)?;
        Ok(Child { pid, pidfd, kill_on_drop })
    }

    fn id(child: &Child) -> u32 {
        child.pid
    }

    fn one_after_another(
        &self,
        orders: impl Iterator<Item = Order>,
        mut after_each: impl FnMut(),
    ) -> io::Result<()> {
        for order in orders {
            let child = self.spawn(order, false)?;
            self.watch(&child, 0)?;
            let mut child = [Some(child)];
            while self.reap_some(&mut child)? == 0 {}
            after_each();
        }
        Ok(())
    }

    /// In one loop. In a thread each, a child that is being started would hold copies of the others'
    /// pidfds until it execs, and with them their registrations: epoll would report those again.
    fn in_tasks(&self, tasks: u64, each: u64, order: Order) -> io::Result<()> {
        let mut left = tasks * each;
        let mut running: Vec<Option<Child>> = (0..tasks).map(|_| None).collect();
        loop {
            for (child, key) in running.iter_mut().zip(0..) {
                if child.is_none() && left > 0 {
                    let started = self.spawn(order, false)?;
                    self.watch(&started, key)?;
                    *child = Some(started);
                    left -= 1;
                }
            }
            if running.iter().all(Option::is_none) {
                return Ok(());
            }
            self.reap_some(&mut running)?;
        }
    }

    fn wait_in_turn(&self, children: Vec<Child>) -> io::Result<()> {
        self.wait_for_all(children, || Ok(()))
    }

    fn wait_for_all(
        &self,
        children: Vec<Child>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        for (child, key) in children.iter().zip(0..) {
            self.watch(child, key)?;
        }
        let mut left = children.len();
        let mut children: Vec<_> = children.into_iter().map(Some).collect();
        ready()?;
        while left > 0 {
            left -= self.reap_some(&mut children)?;
        }
        Ok(())
    }

    fn abandon(&self, children: Vec<Child>) {
        let mut abandoned = self.abandoned.borrow_mut();
        for child in children {
            if child.kill_on_drop {
                pidfd_send_signal(child.pidfd.as_fd(), Signal::KILL).expect("it was not reaped");
            }
            self.watch(&child, abandoned.len() as u64).expect("an epoll takes it");
            abandoned.push(Some(child));
        }
    }

    fn idle(&self, _: bool) -> io::Result<()> {
        loop {
            self.reap_some(&mut self.abandoned.borrow_mut())?;
        }
    }

    fn outputs(&self, orders: impl Iterator<Item = Order>) -> io::Result<usize> {
        outputs(orders)
    }
}
