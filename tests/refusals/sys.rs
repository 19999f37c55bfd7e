//! The seccomp listener, and the other unsafe calls that the sweep needs.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    id: u64,
    /// The calling thread.
    pub(crate) thread: u32,
    pub(crate) call: i64,
    /// Where the call was made.
    pub(crate) address: u64,
}

/// Puts a filter on the calling thread, and on all threads and processes that come from it, which
/// has the listener asked about `call`, or about every call.
///
/// The listener's descriptor goes to `publish` without a system call: the calling thread may be
/// unable to make one before something answers for it.
pub(crate) fn listen(call: Option<i64>, publish: impl FnOnce(i32)) -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // The codes of steps have 16 bits; libc's constants have more.
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let mut program = vec![step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF)];
    if let Some(call) = call {
        let number = u32::try_from(call).unwrap_or(u32::MAX);
        // The number of the call is at the beginning of seccomp_data.
        program = vec![
            step(LOAD, 0, 0, 0),
            step(JUMP, 0, 1, number),
            step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
    }
    let len = u16::try_from(program.len()).expect("it is short");
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the first call takes integers. The second reads the program, which lives through it.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    publish(i32::try_from(listener).expect("a descriptor is an int"));
    Ok(())
}

/// Takes over the descriptor of a listener.
pub(crate) fn own(listener: i32) -> OwnedFd {
    // SAFETY: `listen` has made it, and publishes it once.
    unsafe { OwnedFd::from_raw_fd(listener) }
}

/// Waits for the next call.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: all zeros is a value of this plain data, and what the kernel wants to be given. It
    // writes a struct of this size.
    let (answer, notification) = unsafe {
        let mut notification: libc::seccomp_notif = mem::zeroed();
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        (libc::ioctl(listener.as_raw_fd(), request, &raw mut notification), notification)
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let libc::seccomp_notif { id, pid, data, .. } = notification;
    Ok(Notification { id, thread: pid, call: data.nr.into(), address: data.instruction_pointer })
}

/// Has the call fail with `errno`, or be made. Whether the caller still waits for the answer: a
/// signal may have interrupted it.
pub(crate) fn answer(
    listener: BorrowedFd<'_>,
    notification: Notification,
    errno: Option<i32>,
) -> bool {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default();
    let mut response = libc::seccomp_notif_resp {
        id: notification.id,
        val: 0,
        error: errno.map_or(0, |errno| -errno),
        flags: if errno.is_none() { flags } else { 0 },
    };
    // SAFETY: the kernel reads a struct of this size, which lives through the call.
    unsafe {
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        libc::ioctl(listener.as_raw_fd(), request, &raw mut response) == 0
    }
}

/// Whether it is a thread of this process. It allocates nothing.
pub(crate) fn is_own_thread(thread: u32) -> bool {
    // SAFETY: all are integers, and no signal is sent.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) == 0 }
}

/// Blocks `SIGUSR1`, and nothing else, in the calling thread.
pub(crate) fn block_only_usr1() {
    // SAFETY: `set` is emptied before it is read; only this thread's mask changes.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Whether `SIGUSR1`, and nothing else of the usual signals, is blocked in the calling thread.
pub(crate) fn only_usr1_is_blocked() -> bool {
    // SAFETY: nothing is set; the mask is written to a place that lives through the call.
    unsafe {
        let mut set = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut set);
        (1..=31).all(|signal| {
            (libc::sigismember(&raw const set, signal) == 1) == (signal == libc::SIGUSR1)
        })
    }
}
