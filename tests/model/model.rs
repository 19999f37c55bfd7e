//! The model: what the kernel has of a child, and what the record of it knows.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pidfd_reaper::Signal;

/// What the kernel has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Runs,
    Zombie(ExitStatus),
    /// Reaped by the library, or stolen.
    Gone(ExitStatus),
}

/// How `try_exit` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Runs,
    /// The usage goes to whoever reaps.
    Ended {
        status: ExitStatus,
        with_usage: bool,
    },
    Lost,
}

#[derive(Debug)]
pub(crate) struct Model {
    kernel: Kernel,
    /// Once it is not `Runs`, it stays as it is.
    answer: Answer,
    /// Whether the kernel tells the status of a stolen child.
    recovers: bool,
}

impl Model {
    pub(crate) fn new(recovers: bool) -> Self {
        Self { kernel: Kernel::Runs, answer: Answer::Runs, recovers }
    }

    pub(crate) fn runs(&self) -> bool {
        self.kernel == Kernel::Runs
    }

    pub(crate) fn is_known_to_have_ended(&self) -> bool {
        self.answer != Answer::Runs
    }

    pub(crate) fn exits(&mut self, code: i32) {
        self.kernel = Kernel::Zombie(ExitStatus::from_raw(code << 8));
    }

    /// Whether the signal is sent, rather than an error.
    pub(crate) fn takes_signal(&mut self, signal: Signal) -> bool {
        let deadly = [Signal::KILL, Signal::TERM, Signal::USR1].contains(&signal);
        if self.runs() && deadly {
            self.kernel = Kernel::Zombie(ExitStatus::from_raw(signal.as_raw()));
        }
        !matches!(self.kernel, Kernel::Gone(_))
    }

    pub(crate) fn asked(&mut self) -> Answer {
        if self.answer == Answer::Runs {
            self.answer = match self.kernel {
                Kernel::Runs => Answer::Runs,
                Kernel::Zombie(status) => Answer::Ended { status, with_usage: true },
                Kernel::Gone(status) if self.recovers => {
                    Answer::Ended { status, with_usage: false }
                }
                Kernel::Gone(_) => Answer::Lost,
            };
            self.is_reaped();
        }
        self.answer
    }

    /// What a thief finds: a status, that it runs (`Ok(None)`), or nothing.
    pub(crate) fn stolen(&mut self) -> Result<Option<ExitStatus>, ()> {
        match self.kernel {
            Kernel::Runs => Ok(None),
            Kernel::Zombie(status) => {
                self.is_reaped();
                Ok(Some(status))
            }
            Kernel::Gone(_) => Err(()),
        }
    }

    fn is_reaped(&mut self) {
        if let Kernel::Zombie(status) = self.kernel {
            self.kernel = Kernel::Gone(status);
        }
    }
}
