//! Signals as data: SIGTERM and SIGINT become something a wait can notice, SIGCHLD wakes the wait
//! for a delegate.
//!
//! The signals are blocked before the first thread starts and read from a descriptor, so nothing
//! runs in a handler. Delegates start with an empty mask; the standard library sees to that.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The descriptor that signals arrive on, and whether the runtime has asked us to stop.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    stopped: bool,
    /// While undoing, a request to stop changes nothing: we are stopping.
    ignores_stop: bool,
}

impl Signals {
    /// Blocks the signals in this thread and those it starts, and opens the descriptor.
    ///
    /// # Errors
    /// The system's error where no descriptor is to be had.
    pub fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor, stopped: false, ignores_stop: false })
    }

    /// Whether SIGTERM or SIGINT has come, and matters.
    pub fn stop_requested(&mut self) -> bool {
        while let Ok(Some(signal)) = self.descriptor.read_signal() {
            let terminates =
                [Signal::SIGTERM, Signal::SIGINT].iter().any(|stop| *stop as u32 == signal.ssi_signo);
            self.stopped |= terminates;
        }
        self.stopped && !self.ignores_stop
    }

    /// From now on a request to stop changes nothing.
    pub fn ignore_stop(&mut self) {
        self.ignores_stop = true;
    }

    /// Readable when a signal has come.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
