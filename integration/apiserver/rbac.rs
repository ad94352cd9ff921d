//! Kubernetes' RBAC, as far as the manifests in `conf/kubernetes` use it: cluster roles and their bindings.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::identity::User;

/// What a request wants to do.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Right {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With the subresource: `pods/status`.
    pub(crate) resource: String,
}

/// The roles and bindings that are in force.
#[derive(Default)]
pub(crate) struct Rbac {
    roles: Vec<Role>,
    bindings: Vec<Binding>,
    /// Whether everybody may do everything.
    pub(crate) is_off: bool,
}

#[derive(Deserialize)]
struct Role {
    metadata: Named,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    metadata: Named,
    role_ref: Named,
    subjects: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    kind: String,
    name: String,
    namespace: Option<String>,
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "ServiceAccount" => {
                let namespace = self.namespace.as_deref().unwrap_or_default();
                user.name == format!("system:serviceaccount:{namespace}:{}", self.name)
            }
            "User" => user.name == self.name,
            "Group" => user.groups.contains(&self.name),
            other => panic!("a subject of kind {other}"),
        }
    }
}

impl Rbac {
    /// Adds what a manifest of `conf/kubernetes` grants.
    pub(crate) fn apply(&mut self, manifest: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes").join(manifest);
        let text = std::fs::read_to_string(&path).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for document in documents {
            self.add(document);
        }
    }

    /// Adds a role or a binding; one of that name is replaced.
    pub(crate) fn add(&mut self, document: Value) {
        self.remove(&document);
        match document["kind"].as_str().unwrap() {
            "ClusterRole" => self.roles.push(serde_json::from_value(document).unwrap()),
            "ClusterRoleBinding" => self.bindings.push(serde_json::from_value(document).unwrap()),
            other => panic!("a {other} grants nothing"),
        }
    }

    /// Takes a role or a binding away.
    pub(crate) fn remove(&mut self, document: &Value) {
        let name = document["metadata"]["name"].as_str().unwrap();
        match document["kind"].as_str().unwrap() {
            "ClusterRole" => self.roles.retain(|role| role.metadata.name != name),
            _ => self.bindings.retain(|binding| binding.metadata.name != name),
        }
    }

    pub(crate) fn allows(&self, user: &User, right: &Right) -> bool {
        self.is_off
            || user.is_master()
            || self
                .bindings
                .iter()
                .filter(|binding| binding.subjects.iter().any(|subject| subject.is(user)))
                .filter_map(|binding| {
                    self.roles.iter().find(|role| role.metadata.name == binding.role_ref.name)
                })
                .flat_map(|role| &role.rules)
                .any(|rule| {
                    rule.api_groups.contains(&right.group)
                        && rule.resources.contains(&right.resource)
                        && rule.verbs.contains(&right.verb)
                })
    }
}
