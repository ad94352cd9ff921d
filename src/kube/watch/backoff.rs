//! The waits between the attempts to watch.

use std::time::Duration;

use tokio::time::sleep;

use super::Seen;
use crate::kube::error::ClusterError;
use crate::kube::retry::jittered;

/// The first wait after a failure; it doubles from there.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Says what has failed, and waits.
pub(super) async fn pause(
    error: ClusterError,
    wait: &mut Duration,
    see: &mut dyn FnMut(Seen) -> bool,
) {
    see(Seen::Failing(error));
    sleep(next(wait)).await;
}

/// The wait after a failure, and a longer one after the next.
pub(super) fn next(wait: &mut Duration) -> Duration {
    let now = jittered(*wait);
    *wait = (*wait * 2).min(LONGEST_WAIT);
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute() {
        let mut wait = FIRST_WAIT;
        let waits: Vec<Duration> = (0..20).map(|_| next(&mut wait)).collect();
        assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT / 2);
        assert!(waits[19] <= LONGEST_WAIT && waits[19] >= LONGEST_WAIT / 2);
    }
}
