//! When to ask again: after 429, 5xx and broken connections, a few times, each time a little later and
//! never at the same moment as everybody else.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// How often a question is put at most.
const ATTEMPTS: u32 = 5;
/// How often one is put that must not fail: more often than fits into any limit.
const ATTEMPTS_WITHOUT_END: u32 = 1000;
/// The longest wait before the first repetition; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait of all.
const LONGEST_WAIT: Duration = Duration::from_millis(1600);

/// The waits between the attempts at one question.
#[derive(Debug)]
pub(super) struct Retries {
    made: u32,
    allowed: u32,
}

impl Retries {
    /// The usual number of attempts.
    pub(super) fn usual() -> Self {
        Self { made: 0, allowed: ATTEMPTS }
    }

    /// As many as the limit has room for, for what would undo everything else.
    pub(super) fn until_the_limit() -> Self {
        Self { made: 0, allowed: ATTEMPTS_WITHOUT_END }
    }

    /// One attempt, for what is not worth a second one.
    pub(super) fn none() -> Self {
        Self { made: 0, allowed: 1 }
    }

    /// How long to wait before the next attempt; `None` if there is none. What the server asks for
    /// is the least, ours is between half of the full wait and all of it.
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
fn jittered(full: Duration) -> Duration {
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
        let mut retries = Retries::usual();
        let waits: Vec<_> = std::iter::from_fn(|| retries.next(None)).collect();
        assert_eq!(waits.len(), 4);
        for (wait, full) in waits.iter().zip([100, 200, 400, 800]) {
            let full = Duration::from_millis(full);
            assert!(*wait >= full / 2 && *wait <= full, "{wait:?}");
        }
        assert_eq!(Retries::none().next(None), None);
        let mut stubborn = Retries::until_the_limit();
        let waits: Vec<_> = std::iter::from_fn(|| stubborn.next(None)).take(100).collect();
        assert!(waits.len() == 100 && waits.iter().all(|wait| *wait <= LONGEST_WAIT));
    }

    #[test]
    fn the_servers_wish_is_the_least() {
        let wait = Retries::usual().next(Some(Duration::from_secs(2))).unwrap();
        assert!(wait >= Duration::from_millis(2050) && wait <= Duration::from_millis(2100), "{wait:?}");
    }

    #[test]
    fn nodes_do_not_ask_in_step() {
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| jittered(FIRST_WAIT)).collect();
        assert!(waits.len() > 10);
    }
}
