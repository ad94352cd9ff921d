//! What a path of the API names.

use super::{DEFINITIONS, REVIEWS};
use crate::apiserver::rbac::Right;

const WHEREABOUTS: &str = "whereabouts.cni.cncf.io";

/// What a path names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Group, version, resource and kind of what the double keeps in namespaces.
pub(super) const NAMESPACED: [(&str, &str, &str, &str); 14] = [
    ("k8s.cni.cncf.io", "v1", DEFINITIONS, "NetworkAttachmentDefinition"),
    ("", "v1", "pods", "Pod"),
    ("", "v1", "serviceaccounts", "ServiceAccount"),
    ("events.k8s.io", "v1", "events", "Event"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
    ("batch", "v1", "cronjobs", "CronJob"),
    ("coordination.k8s.io", "v1", "leases", "Lease"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    ("k8s.cni.cncf.io", "v1alpha1", "ipamclaims", "IPAMClaim"),
    (WHEREABOUTS, "v1alpha1", "ippools", "IPPool"),
    (WHEREABOUTS, "v1alpha1", "overlappingrangeipreservations", "OverlappingRangeIPReservation"),
    (WHEREABOUTS, "v1alpha1", "nodeslicepools", "NodeSlicePool"),
    ("", "v1", "secrets", "Secret"),
];

/// The same of what is in none.
pub(super) const CLUSTER_WIDE: [(&str, &str, &str, &str); 7] = [
    ("authorization.k8s.io", "v1", REVIEWS, "SelfSubjectAccessReview"),
    ("", "v1", "namespaces", "Namespace"),
    ("", "v1", "nodes", "Node"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    ),
];

impl Target {
    /// `/api/v1/namespaces/a/pods/x/status`, `/apis/<group>/v1/clusterroles/...`; `None` for all
    /// else.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (known, namespace, resource, rest) = match rest {
            ["namespaces", namespace, resource, rest @ ..] => {
                (NAMESPACED.as_slice(), *namespace, *resource, rest)
            }
            // What is kept in namespaces, of all of them.
            [resource] if is_known(&NAMESPACED, group, version, resource) => {
                (NAMESPACED.as_slice(), "", *resource, [].as_slice())
            }
            [resource, rest @ ..] => (CLUSTER_WIDE.as_slice(), "", *resource, rest),
            [] => return None,
        };
        if !is_known(known, group, version, resource) {
            return None;
        }
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(*name), None),
            [name, subresource] => (Some(*name), Some(*subresource)),
            _ => return None,
        };
        Some(Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }

    /// Whether an object is one of those that a list of this path has.
    pub(super) fn holds(&self, (resource, namespace, _): &Key) -> bool {
        *resource == self.resource && (self.namespace.is_empty() || *namespace == self.namespace)
    }

    /// `network-attachment-definitions.k8s.cni.cncf.io`, as messages name it.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// `apiVersion` and `kind` of a list.
    pub(super) fn list_kind(&self) -> (String, String) {
        let mut known = NAMESPACED.iter().chain(&CLUSTER_WIDE);
        let is_own = |(group, _, resource, _): &&(&str, &str, &str, &str)| {
            *group == self.group && *resource == self.resource
        };
        let (group, version, _, kind) = known.find(is_own).unwrap();
        let version =
            if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
        (version, format!("{kind}List"))
    }

    /// The one object of a watch, which its field selector names.
    pub(crate) fn watched(&self, query: &str) -> Option<Self> {
        let mut pairs = query.split('&');
        pairs.clone().find(|pair| *pair == "watch=true")?;
        let name = pairs.find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"))?;
        Some(Self { name: Some(name.to_owned()), ..self.clone() })
    }

    /// The namespace that a role counts in: that of the object, and a namespace's own.
    pub(super) fn scope(&self) -> &str {
        match (&self.name, self.resource.as_str()) {
            (Some(name), "namespaces") => name,
            _ => &self.namespace,
        }
    }

    pub(super) fn key(&self) -> Option<Key> {
        Some((self.resource.clone(), self.namespace.clone(), self.name.clone()?))
    }

    pub(super) fn right(&self, method: &str) -> Right {
        let verb = match (method, &self.name) {
            ("GET", Some(_)) => "get",
            ("GET", None) => "list",
            ("POST", _) => "create",
            ("PATCH", _) => "patch",
            ("PUT", _) => "update",
            ("DELETE", _) => "delete",
            (other, _) => other,
        };
        let resource = match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        };
        Right { verb: verb.to_owned(), group: self.group.clone(), resource }
    }
}

fn is_known(
    known: &[(&str, &str, &str, &str)],
    group: &str,
    version: &str,
    resource: &str,
) -> bool {
    known.iter().any(|(g, v, r, _)| *g == group && *v == version && *r == resource)
}

pub(crate) type Key = (String, String, String);
