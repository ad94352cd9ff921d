//! The plugins that make an interface in the container.
//!
//! Each is a type that implements [`cni::plugin::Plugin`]. What they share is a step of ADD, DEL or
//! CHECK: reading the configuration (`config`), the two namespaces (`site`), addresses from IPAM
//! (`lease`), configuring the container's interface (`container`), tearing down (`teardown`) and
//! comparing (`check`). The calling thread's network namespace is the host's.

mod bridge;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod container;
mod dummy;
mod host_device;
mod ipvlan;
mod lease;
mod loopback;
mod macvlan;
pub(crate) mod masquerade;
mod ptp;
pub(crate) mod site;
pub(crate) mod spoof_check;
mod stacked;
pub(crate) mod status;
mod tap;
mod teardown;
mod veth;
mod vlan;

pub(crate) use bridge::Bridge;
pub(crate) use dummy::Dummy;
pub(crate) use host_device::HostDevice;
pub(crate) use ipvlan::IpVlan;
pub(crate) use loopback::Loopback;
pub(crate) use macvlan::MacVlan;
pub(crate) use ptp::Ptp;
pub(crate) use tap::Tap;
pub(crate) use vlan::Vlan;

#[cfg(test)]
mod tests;
