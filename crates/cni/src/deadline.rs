//! How long a whole call may take, and each step's share of it.

use std::time::{Duration, Instant};

const CENTURY: Duration = Duration::from_hours(24 * 365 * 100);

/// A point in time by which work must have ended.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from now; a century from now for one that the clock cannot reach.
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(limit).or_else(|| now.checked_add(CENTURY)).unwrap_or(now))
    }

    /// The point in time.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left, zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// `limit` from now, or this deadline if that is sooner.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit).map_or(self.0, |at| at.min(self.0)))
    }

    /// An equal share for one of `steps` that are left, so that a step that hangs leaves time for
    /// the rest.
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

    #[test]
    fn a_limit_that_no_clock_reaches_is_no_panic() {
        let deadline = Deadline::after(Duration::MAX);
        assert!(deadline.remaining() > Duration::from_hours(24 * 365));
        let soon = Deadline::after(Duration::from_secs(5)).within(Duration::MAX);
        assert!(soon.remaining() <= Duration::from_secs(5));
    }
}
