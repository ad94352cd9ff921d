//! May this pod have this network? A refusal names the rule and who can change it.
//!
//! Judged is what a pod adds; what the node's own configuration names passes (design decision 16).

use crate::config::Config;
use crate::name::Namespace;
use crate::selection::Selection;

/// Why a pod may not have a network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The definition is another namespace's.
    #[error(
        "network \"{network}\" is not shared with namespace {namespace}: use a definition of the pod's own \
         namespace, or ask the node's administrator to add \"{owner}\" to globalNamespaces"
    )]
    OtherNamespace {
        /// `namespace/name` as the pod wrote it.
        network: String,
        /// The definition's namespace.
        owner: Namespace,
        /// The pod's namespace.
        namespace: Namespace,
    },
}

/// How a pod names a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// The networks annotation.
    Networks,
    /// The default-network annotation, whose definitions are in `multusNamespace`.
    DefaultNetwork,
}

/// Judges one selection of a pod in `namespace`.
///
/// # Errors
/// [`Refusal`].
pub fn judge(
    selection: &Selection,
    namespace: &Namespace,
    path: Path,
    config: &Config,
) -> Result<(), Refusal> {
    let owner = &selection.namespace;
    let shared = config.global_namespaces.iter().any(|global| global == owner.as_str());
    let offered = path == Path::DefaultNetwork && *owner == config.multus_namespace;
    if !config.namespace_isolation || owner == namespace || shared || offered {
        return Ok(());
    }
    Err(Refusal::OtherNamespace {
        network: format!("{owner}/{}", selection.name),
        owner: owner.clone(),
        namespace: namespace.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn allowed(owner: &str, path: Path, more: Value) -> bool {
        let mut value = json!({"cniVersion": "1.0.0", "name": "n"});
        value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let config = Config::parse(value.to_string().as_bytes()).unwrap();
        let selection = Selection::new(owner.parse().unwrap(), "blue".parse().unwrap(), 0);
        judge(&selection, &"team-a".parse().unwrap(), path, &config).is_ok()
    }

    #[test]
    fn isolation_is_on_unless_it_is_turned_off() {
        let table = [
            ("team-a", Path::Networks, json!({}), true),
            ("team-b", Path::Networks, json!({}), false),
            ("default", Path::Networks, json!({}), true),
            ("default", Path::Networks, json!({"globalNamespaces": "ops"}), false),
            ("ops", Path::Networks, json!({"globalNamespaces": ["ops"]}), true),
            ("team-b", Path::Networks, json!({"namespaceIsolation": false}), true),
            ("kube-system", Path::Networks, json!({}), false),
            ("kube-system", Path::DefaultNetwork, json!({}), true),
            ("team-b", Path::DefaultNetwork, json!({}), false),
            ("infra", Path::DefaultNetwork, json!({"multusNamespace": "infra"}), true),
        ];
        for (owner, path, more, expected) in table {
            assert_eq!(allowed(owner, path, more.clone()), expected, "{owner} {path:?} {more}");
        }
    }

    #[test]
    fn a_refusal_says_the_rule_and_who_can_change_it() {
        let config = Config::parse(br#"{"name": "n"}"#).unwrap();
        let selection = Selection::new("team-b".parse().unwrap(), "blue".parse().unwrap(), 0);
        let refusal = judge(&selection, &"team-a".parse().unwrap(), Path::Networks, &config).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "network \"team-b/blue\" is not shared with namespace team-a: use a definition of the pod's own \
             namespace, or ask the node's administrator to add \"team-b\" to globalNamespaces"
        );
    }
}
