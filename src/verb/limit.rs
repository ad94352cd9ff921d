//! How long a call of each verb may take.

use std::time::Duration;

/// ADD without its undoing.
pub(super) const ADD: Duration = Duration::from_secs(150);
/// The undoing of an ADD; with it the call takes 200 s at most.
pub(super) const UNDO: Duration = Duration::from_secs(50);
/// DEL: CRI-O kills it at 60 s and does not come back.
pub(super) const DEL: Duration = Duration::from_secs(50);
/// CHECK, GC.
pub(super) const OTHER: Duration = Duration::from_secs(50);
/// STATUS, which a runtime may wait for in its own status call.
pub(super) const STATUS: Duration = Duration::from_secs(10);
