//! Plugins that start others.

use crate::facts::{Facts, GatewayFact, Property};

/// Plugins of Braid's own kind. `genie` is what a migration from CNI-Genie may have left,
/// `cni-genie` the same program under the name that its releases have.
const META: &[Property] =
    &[Property::MetaPlugin, Property::StartsPlugins, Property::StateOutsideNode];

/// Plugins that are a network of their own, and start another for a part of it.
const DELEGATING: &[Property] = &[Property::StartsPlugins, Property::StateOutsideNode];

pub(super) const FACTS: &[Facts] = &[
    Facts { properties: META, ..Facts::chain("braid") },
    Facts { properties: META, ..Facts::chain("multus") },
    Facts { properties: META, ..Facts::chain("multus-shim") },
    Facts { properties: META, ..Facts::chain("genie") },
    Facts { properties: META, ..Facts::chain("cni-genie") },
    Facts {
        properties: DELEGATING,
        // Its delegate is a bridge with a gateway unless it says otherwise.
        gateway: GatewayFact::OnDelegatesBridge { delegate: "delegate", default: "cni0" },
        ..Facts::chain("flannel")
    },
    Facts { properties: DELEGATING, ..Facts::chain("danm") },
    Facts { properties: DELEGATING, ..Facts::chain("canal") },
    Facts { properties: DELEGATING, ..Facts::chain("knitter") },
    Facts { properties: DELEGATING, ..Facts::chain("contiv-vpp") },
];
