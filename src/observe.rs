//! What Braid says of its work beside the protocol: log, audit log, event log and metrics.

pub mod audit;
pub mod event_log;
pub mod logging;
pub mod metrics;
