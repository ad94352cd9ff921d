//! The plugins that change what an earlier one of their chain has made.
//!
//! Each passes on the result of that one. The calling thread's network namespace is the host's.

mod bandwidth;
mod chain;
pub(crate) mod firewall;
pub(crate) mod portmap;
mod sbr;
mod tuning;
mod vrf;

pub(crate) use bandwidth::{Bandwidth, device_name};
pub(crate) use firewall::Firewall;
pub(crate) use portmap::PortMap;
pub(crate) use sbr::Sbr;
pub(crate) use tuning::Tuning;
pub(crate) use vrf::Vrf;

#[cfg(test)]
mod tests;
