//! Kubernetes' RBAC, as far as the manifests in `conf/kubernetes` use it: roles and their bindings,
//! for the cluster and for a namespace.

use std::path::{Path, PathBuf};

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

/// Where a manifest of `conf/kubernetes` is.
pub(crate) fn path_of(manifest: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes");
    let mut places = ["", "base", "optional", "migration/component"]
        .iter()
        .map(|place| directory.join(place).join(manifest));
    places.find(|path| path.exists()).unwrap_or_else(|| panic!("no manifest {manifest}"))
}

/// The roles and bindings that are in force.
#[derive(Default)]
pub(crate) struct Rbac {
    roles: Vec<Role>,
    bindings: Vec<Binding>,
    /// Whether every user may do everything.
    pub(crate) is_off: bool,
}

#[derive(Deserialize)]
struct Role {
    metadata: Named,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Eq, PartialEq)]
struct Named {
    name: String,
    /// Of a role or binding that counts in one namespace alone.
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    /// The objects that it is about; all if there are none.
    #[serde(default)]
    resource_names: Vec<String>,
    verbs: Vec<String>,
}

impl Rule {
    fn allows(&self, right: &Right, name: Option<&str>) -> bool {
        let is_named = || self.resource_names.iter().any(|known| Some(known.as_str()) == name);
        self.api_groups.contains(&right.group)
            && self.resources.contains(&right.resource)
            && self.verbs.contains(&right.verb)
            && (self.resource_names.is_empty() || is_named())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    metadata: Named,
    role_ref: RoleRef,
    subjects: Vec<Subject>,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

impl Binding {
    /// A role of the binding's own namespace, or one of the cluster.
    fn is_of(&self, role: &Role) -> bool {
        let namespace = if self.role_ref.kind == "Role" { &self.metadata.namespace } else { &None };
        role.metadata.name == self.role_ref.name && role.metadata.namespace == *namespace
    }

    fn counts_in(&self, namespace: &str) -> bool {
        self.metadata.namespace.as_deref().is_none_or(|own| own == namespace)
    }
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
    /// Adds what a manifest of `conf/kubernetes` grants, wherever it is there.
    pub(crate) fn apply(&mut self, manifest: &str) {
        let text = std::fs::read_to_string(path_of(manifest)).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let grants = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
        for document in documents {
            if grants.iter().any(|kind| document["kind"] == *kind) {
                self.add(document);
            }
        }
    }

    /// Adds a role or a binding; one of that name is replaced.
    pub(crate) fn add(&mut self, document: Value) {
        self.remove(&document);
        match document["kind"].as_str().unwrap() {
            "ClusterRole" | "Role" => self.roles.push(serde_json::from_value(document).unwrap()),
            "ClusterRoleBinding" | "RoleBinding" => {
                self.bindings.push(serde_json::from_value(document).unwrap());
            }
            other => panic!("a {other} grants nothing"),
        }
    }

    /// Takes a role or a binding away.
    pub(crate) fn remove(&mut self, document: &Value) {
        let metadata: Named = serde_json::from_value(document["metadata"].clone()).unwrap();
        match document["kind"].as_str().unwrap() {
            "ClusterRole" | "Role" => self.roles.retain(|role| role.metadata != metadata),
            _ => self.bindings.retain(|binding| binding.metadata != metadata),
        }
    }

    /// Whether `user` has `right` in a namespace, to the object of that name if there is one.
    pub(crate) fn allows(
        &self,
        user: &User,
        right: &Right,
        namespace: &str,
        name: Option<&str>,
    ) -> bool {
        self.is_off
            || user.is_master()
            || self
                .bindings
                .iter()
                .filter(|binding| binding.counts_in(namespace))
                .filter(|binding| binding.subjects.iter().any(|subject| subject.is(user)))
                .filter_map(|binding| self.roles.iter().find(|role| binding.is_of(role)))
                .flat_map(|role| &role.rules)
                .any(|rule| rule.allows(right, name))
    }
}
