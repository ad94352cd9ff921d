//! How long a whole call may take, and each step's share of it (design decision 13).

use std::time::{Duration, Instant};

/// A point in time by which work must have ended.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// ADD without its undoing.
    pub const ADD: Duration = Duration::from_secs(150);
    /// The undoing of an ADD; with it the call takes 200 s at most.
    pub const UNDO: Duration = Duration::from_secs(50);
    /// DEL: CRI-O kills it at 60 s and does not come back.
    pub const DEL: Duration = Duration::from_secs(50);
    /// CHECK, GC.
    pub const OTHER: Duration = Duration::from_secs(50);
    /// STATUS, which a runtime may wait for in its own status call.
    pub const STATUS: Duration = Duration::from_secs(10);

    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// What is left, zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// `limit` from now, or this deadline where that is sooner.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    /// An equal share for one of `steps` that are left, so that a step that hangs leaves time for the rest.
    #[must_use]
    pub fn share(self, steps: usize) -> Self {
        self.within(self.remaining() / u32::try_from(steps.max(1)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leaves_time_for_the_rest() {
        let deadline = Deadline::after(Duration::from_secs(40));
        let share = deadline.share(4).remaining();
        assert!(share <= Duration::from_secs(10) && share > Duration::from_secs(9), "{share:?}");
        assert!(deadline.within(Duration::from_secs(100)).remaining() <= Duration::from_secs(40));
        assert_eq!(Deadline::after(Duration::ZERO).share(0).remaining(), Duration::ZERO);
    }
}
