//! The built-in plugins, and facts about plugin types.
#![forbid(unsafe_code)]

pub mod ipam;
pub mod known;
pub mod link;
mod mark;
pub mod meta;
pub mod rules;
#[cfg(test)]
mod testing;

use cni::plugin::Plugin;

/// The built-in plugins, each under the `type` that a configuration names it by.
const BUILT_IN: &[(&str, &dyn Plugin)] = &[
    ("bandwidth", &meta::Bandwidth),
    ("bridge", &link::Bridge),
    ("dummy", &link::Dummy),
    ("firewall", &meta::Firewall),
    ("host-device", &link::HostDevice),
    ("host-local", &ipam::host_local::HostLocal),
    ("ipvlan", &link::IpVlan),
    ("loopback", &link::Loopback),
    ("macvlan", &link::MacVlan),
    ("portmap", &meta::PortMap),
    ("ptp", &link::Ptp),
    ("sbr", &meta::Sbr),
    ("static", &ipam::static_::Static),
    ("tap", &link::Tap),
    ("tuning", &meta::Tuning),
    ("vlan", &link::Vlan),
    ("vrf", &meta::Vrf),
];

/// The built-in plugin of this `type`.
pub fn find(kind: &str) -> Option<&'static dyn Plugin> {
    BUILT_IN.iter().find(|(name, _)| *name == kind).map(|(_, plugin)| *plugin)
}

/// Whether a built-in plugin is one that another may name in `ipam`.
pub fn is_ipam(kind: &str) -> bool {
    matches!(kind, "host-local" | "static")
}

/// The `type` of every built-in plugin.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_is_found_by_its_type() {
        assert!(names().all(|name| find(name).is_some()));
        assert!(find("bridge2").is_none() && find("").is_none());
        assert_eq!(names().collect::<std::collections::BTreeSet<_>>().len(), BUILT_IN.len());
    }
}
