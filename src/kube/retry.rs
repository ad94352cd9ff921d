//! When to send a request again: after 429, 5xx and broken connections, a few times, each time a
//! little later and never at the same moment as every other node.
//!
//! kube's own policy repeats after 429, 503 and 504 only, and knows no deadline.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// How often a request is sent at most by default.
const ATTEMPTS: u32 = 5;
/// More attempts than fit into any deadline.
const ATTEMPTS_WITHOUT_END: u32 = 1000;
/// The longest wait before the first repetition; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait of all.
const LONGEST_WAIT: Duration = Duration::from_millis(1600);
/// The deadline of what is sent once: no pod waits longer for an event.
const ONCE_LIMIT: Duration = Duration::from_secs(3);

/// How often a request is sent, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RetryPolicy {
    /// Until the deadline: the failure of such a call undoes everything else.
    UntilDeadline,
    /// A few times, until the deadline at the latest.
    Default,
    /// Once, within 3 seconds.
    Once,
    /// Once, within this time: the caller decides what a lost response means.
    OnceWithin(Duration),
}

impl RetryPolicy {
    /// The time for a call with all its repetitions, of `timeout` as configured.
    pub(super) fn limit(self, timeout: Duration) -> Duration {
        match self {
            Self::UntilDeadline | Self::Default => timeout,
            Self::Once => timeout.min(ONCE_LIMIT),
            Self::OnceWithin(limit) => limit,
        }
    }

    /// The waits between the attempts of one call.
    pub(super) fn backoff(self) -> Backoff {
        let allowed = match self {
            Self::UntilDeadline => ATTEMPTS_WITHOUT_END,
            Self::Default => ATTEMPTS,
            Self::Once | Self::OnceWithin(_) => 1,
        };
        Backoff { made: 0, allowed }
    }
}

/// The waits between the attempts of one call.
#[derive(Debug)]
pub(super) struct Backoff {
    made: u32,
    allowed: u32,
}

impl Backoff {
    /// How long to wait before the next attempt; `None` if there is no further one. The server's
    /// Retry-After is added to our wait, which is between half of the full wait and all of it.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.made += 1;
        if self.made >= self.allowed {
            return None;
        }
        let full = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.made - 1)).min(LONGEST_WAIT);
        Some(retry_after.unwrap_or_default() + jittered(full))
    }
}

/// Between half of `full` and all of it.
pub(super) fn jittered(full: Duration) -> Duration {
    // The standard library's hasher is keyed at random; no more than that is needed here.
    let random = RandomState::new().build_hasher().finish() % 1024;
    let share = u32::try_from(random).unwrap_or_default();
    full / 2 + full * share / 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = RetryPolicy::Default.backoff();
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(waits.len(), 4);
        for (wait, full) in waits.iter().zip([100, 200, 400, 800]) {
            let full = Duration::from_millis(full);
            assert!(*wait >= full / 2 && *wait <= full, "{wait:?}");
        }
        assert_eq!(RetryPolicy::Once.backoff().next(None), None);
        let mut until_deadline = RetryPolicy::UntilDeadline.backoff();
        let waits: Vec<_> = std::iter::from_fn(|| until_deadline.next(None)).take(100).collect();
        assert!(waits.len() == 100 && waits.iter().all(|wait| *wait <= LONGEST_WAIT));
    }

    #[test]
    fn what_is_sent_once_has_three_seconds_at_most() {
        let [short, long] = [1, 10].map(Duration::from_secs);
        assert_eq!(RetryPolicy::Once.limit(long), ONCE_LIMIT);
        assert_eq!(RetryPolicy::Once.limit(short), short);
        assert_eq!(RetryPolicy::UntilDeadline.limit(long), long);
    }

    #[test]
    fn retry_after_is_the_shortest_wait() {
        let wait = RetryPolicy::Default.backoff().next(Some(Duration::from_secs(2))).unwrap();
        assert!(
            wait >= Duration::from_millis(2050) && wait <= Duration::from_millis(2100),
            "{wait:?}"
        );
    }

    #[test]
    fn nodes_do_not_retry_in_step() {
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| jittered(FIRST_WAIT)).collect();
        assert!(waits.len() > 10);
    }
}
