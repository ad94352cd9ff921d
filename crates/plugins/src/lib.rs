//! The built-in plugins, and facts about plugin types.
#![forbid(unsafe_code)]

pub mod caller;
pub mod facts;
pub mod ipam;
pub mod kernel;
mod known;
mod link;
mod mark;
mod meta;
pub mod rules;
#[cfg(test)]
mod testing;

use cni::plugin::Plugin;

pub use facts::facts;

use self::facts::{Facts, Position};

/// Decoders of foreign bytes, for the fuzz targets. It is no interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::rules::{read_bus_message, read_nft_listing};
}

/// A plugin that is built in: what it does, and what the rest of the program has to know of it.
pub trait BuiltIn: Plugin {
    /// What is known of it; [`Facts::kind`] is the `type` that a configuration names it by.
    fn facts(&self) -> &'static Facts;
}

/// The built-in plugins, ordered by their types.
const BUILT_IN: &[&dyn BuiltIn] = &[
    &meta::Bandwidth,
    &link::Bridge,
    &link::Dummy,
    &meta::Firewall,
    &link::HostDevice,
    &ipam::host_local::HostLocal,
    &link::IpVlan,
    &link::Loopback,
    &link::MacVlan,
    &meta::PortMap,
    &link::Ptp,
    &meta::Sbr,
    &ipam::static_::Static,
    &link::Tap,
    &meta::Tuning,
    &link::Vlan,
    &meta::Vrf,
    &ipam::cluster::Whereabouts,
];

/// The built-in plugins, ordered by their types.
pub fn built_ins() -> impl Iterator<Item = &'static dyn BuiltIn> {
    BUILT_IN.iter().copied()
}

/// The built-in plugin of this `type`.
pub fn find(kind: &str) -> Option<&'static dyn Plugin> {
    built_ins().find(|plugin| plugin.facts().kind == kind).map(|plugin| plugin as _)
}

/// Whether a plugin is one that another may name in `ipam`.
pub fn is_ipam(kind: &str) -> bool {
    facts(kind).is_some_and(|facts| facts.position == Position::Ipam)
}

/// The `type` of every built-in plugin.
pub fn names() -> impl Iterator<Item = &'static str> {
    built_ins().map(|plugin| plugin.facts().kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_is_found_by_its_type() {
        assert!(names().all(|name| find(name).is_some()));
        assert!(find("bridge2").is_none() && find("").is_none());
        assert!(names().is_sorted());
        assert_eq!(names().collect::<std::collections::BTreeSet<_>>().len(), BUILT_IN.len());
    }
}
