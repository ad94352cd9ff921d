//! How plugins know the network of a tenant's definition.
//!
//! Plugins keep state under the network's name, for all namespaces together:
//! `/var/lib/cni/networks/<name>`, say. A namespace has no period in its name, so that what begins
//! with it and a period is its own. A definition's own name that does not begin so becomes
//! `<namespace>.<name>` for the plugins; in messages and in the status the network is
//! `namespace/name` of the definition, as ever.

use super::{Case, Policy};
use crate::definition::{Definition, DefinitionKind};
use crate::pod::name::Namespace;
use cni::netconf::{NetworkConfig, NetworkName};
use plugins::facts::{self, Property};

/// What becomes of the name of a tenant's network.
#[derive(Debug, PartialEq)]
pub(super) enum Naming {
    /// It is the namespace's own.
    Own,
    /// The plugins get this one.
    Scoped(NetworkName),
    /// It has a meaning outside the node, or would be too long with its namespace: its owner has to
    /// change it.
    Fixed,
}

/// How the plugins of `owner`'s network are to know it.
pub(super) fn naming(network: &NetworkConfig, owner: &Namespace) -> Naming {
    let name = network.name.as_str();
    let is_own = name.strip_prefix(owner.as_str()).and_then(|rest| rest.strip_prefix('.'));
    if is_own.is_some_and(|rest| !rest.is_empty()) {
        return Naming::Own;
    }
    if facts::chain_has(network, Property::NameOutsideNode) {
        return Naming::Fixed;
    }
    format!("{owner}.{name}").parse().map_or(Naming::Fixed, Naming::Scoped)
}

/// The name that the policy has for the case's network instead of its own; none for what is not a
/// tenant's.
pub(super) fn scoped_name(case: &Case<'_>, policy: &Policy) -> Option<NetworkName> {
    let owner = &case.selection.namespace;
    if policy.trusts(owner) { None } else { name_under_policy(case.definition, owner) }
}

/// The name that a policy that does not trust `owner` has for the network of its definition, if it
/// is not its own.
pub(crate) fn name_under_policy(definition: &Definition, owner: &Namespace) -> Option<NetworkName> {
    let is_tenants = definition.kind == DefinitionKind::Object;
    match is_tenants.then(|| naming(&definition.network, owner))? {
        Naming::Scoped(name) => Some(name),
        Naming::Own | Naming::Fixed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;

    fn name_of(kind: &str, name: &str) -> Naming {
        let value = json!({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": kind}, {"type": "tuning"}]});
        let network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
        naming(&network, &"team-a".parse().unwrap())
    }

    #[test]
    fn a_name_becomes_the_namespaces_own() {
        let table = [
            ("blue", "team-a.blue"),
            ("team-a", "team-a.team-a"),
            ("team-a.", "team-a.team-a."),
            ("team-a-blue", "team-a.team-a-blue"),
            ("team-b.blue", "team-a.team-b.blue"),
            ("Team-a.blue", "team-a.Team-a.blue"),
        ];
        for (name, expected) in table {
            assert_eq!(
                name_of("bridge", name),
                Naming::Scoped(expected.parse().unwrap()),
                "{name}"
            );
        }
        assert_eq!(name_of("bridge", "team-a.blue"), Naming::Own);
        assert_eq!(name_of("ovn-k8s-cni-overlay", "team-a.blue"), Naming::Own);
    }

    #[test]
    fn a_name_that_means_something_elsewhere_stays() {
        assert_eq!(name_of("ovn-k8s-cni-overlay", "blue"), Naming::Fixed);
        assert_eq!(
            name_of("bridge", &"x".repeat(200)),
            Naming::Fixed,
            "too long with its namespace"
        );
    }

    proptest::proptest! {
        /// Two namespaces never have the same name.
        #[test]
        fn a_name_is_one_namespaces(first in "[a-z]{1,3}(-[a-z]{1,3})?", second in "[a-z]{1,3}(-[a-z]{1,3})?",
                                    one in "[a-z.-]{0,6}", other in "[a-z.-]{0,6}") {
            let scoped = |namespace: &str, name: &str| {
                let name = format!("n{name}");
                let value = json!({"cniVersion": "1.0.0", "name": name, "type": "bridge"});
                let network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
                match naming(&network, &namespace.parse().unwrap()) {
                    Naming::Scoped(name) => name.to_string(),
                    _ => name,
                }
            };
            proptest::prop_assume!(first != second);
            proptest::prop_assert_ne!(scoped(&first, &one), scoped(&second, &other));
        }
    }
}
