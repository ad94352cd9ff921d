//! What Braid says of its work beside the protocol: log, audit log, event log and metrics.

pub(crate) mod audit;
pub(crate) mod event_log;
pub(crate) mod logging;
pub(crate) mod metrics;
