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

pub use bandwidth::{Bandwidth, device_name};
pub use firewall::Firewall;
pub use portmap::PortMap;
pub use sbr::Sbr;
pub use tuning::Tuning;
pub use vrf::Vrf;

#[cfg(test)]
mod tests;
