//! How long a whole call may take, and each step's share of it.

use std::time::{Duration, Instant};

/// A point in time by which work must have ended.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
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
        Self(self.0.min(Instant::now() + limit))
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
}
