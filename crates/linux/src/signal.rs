//! Signals as data: SIGTERM and SIGINT become something a wait can notice, SIGCHLD wakes the wait
//! for a delegate.
//!
//! The signals are blocked before the first thread starts and read from a descriptor, so nothing
//! runs in a handler. Delegates start with an empty mask; the standard library sees to that.

use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{Either, pending, select};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The outcome of `work`; `None` if SIGTERM or SIGINT has come first and `work` was given up. The
/// signal stays for [`Signals::stop_requested`] to be read.
pub async fn unless_stopped<T>(work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(stop())).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// Ends when one of the two signals waits to be read. A descriptor of its own, never read from,
/// shows that and takes nothing away.
#[allow(
    deprecated,
    reason = "sound for a descriptor that AsyncFd owns; its successor needs unsafe code"
)]
async fn stop() {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let descriptor = SignalFd::with_flags(&set, flags).ok();
    let descriptor = descriptor.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
    match descriptor {
        Some(descriptor) if descriptor.readable().await.is_ok() => {}
        // Without it the work goes on to its own limit.
        _ => pending().await,
    }
}

/// Blocks SIGCHLD in this thread and those it starts: one thread alone that does not would lose the
/// signal for the one that waits for a delegate.
///
/// # Errors
/// The system's error.
pub fn keep_children() -> nix::Result<()> {
    SigSet::from_iter([Signal::SIGCHLD]).thread_block()
}

/// The descriptor that signals arrive on, and whether the runtime has asked us to stop.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    stopped: AtomicBool,
    /// While undoing, a request to stop changes nothing: we are stopping.
    ignores_stop: AtomicBool,
}

impl Signals {
    /// Blocks the signals in this thread and those it starts, and opens the descriptor.
    ///
    /// # Errors
    /// The system's error if there is no free descriptor.
    pub fn block() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        let descriptor =
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            descriptor,
            stopped: AtomicBool::new(false),
            ignores_stop: AtomicBool::new(false),
        })
    }

    /// Whether SIGTERM or SIGINT has come, and matters.
    pub fn stop_requested(&self) -> bool {
        while let Ok(Some(signal)) = self.descriptor.read_signal() {
            let terminates = [Signal::SIGTERM, Signal::SIGINT]
                .iter()
                .any(|stop| *stop as u32 == signal.ssi_signo);
            self.stopped.fetch_or(terminates, Ordering::Relaxed);
        }
        self.stopped.load(Ordering::Relaxed) && !self.ignores_stop.load(Ordering::Relaxed)
    }

    /// From now on a request to stop changes nothing.
    pub fn ignore_stop(&self) {
        self.ignores_stop.store(true, Ordering::Relaxed);
    }

    /// Whether a request to stop changes nothing, from now on. Returns what held before.
    pub fn set_ignoring_stop(&self, ignores: bool) -> bool {
        self.ignores_stop.swap(ignores, Ordering::Relaxed)
    }

    /// Runs `work`, during which a request to stop changes nothing.
    pub fn while_ignoring_stop<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.set_ignoring_stop(true);
        let outcome = work();
        self.set_ignoring_stop(before);
        outcome
    }

    /// Readable when a signal has come.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
