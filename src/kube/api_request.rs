//! One call to the API, in the words that RBAC and an administrator have for it.

use crate::pod::name::NamespacedName;

/// The resource of definitions, as `kubectl` and RBAC name it.
pub(super) const DEFINITIONS: &str = "network-attachment-definitions.k8s.cni.cncf.io";
/// The resource that Braid's own pods on the nodes belong to.
pub(super) const DAEMON_SETS: &str = "daemonsets.apps";
/// The resource of namespaces.
pub(super) const NAMESPACES: &str = "namespaces";
/// The resource of the cluster's nodes.
pub(super) const NODES: &str = "nodes";
/// The subresource that creates the tokens of a service account.
pub(super) const TOKENS: &str = "serviceaccounts/token";

/// The resources of cluster-wide addresses, whose objects are in one namespace.
pub(super) const ADDRESS_RESOURCES: [&str; 4] = [
    "ippools.whereabouts.cni.cncf.io",
    "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    "nodeslicepools.whereabouts.cni.cncf.io",
    "ipamclaims.k8s.cni.cncf.io",
];

/// What a typed client is used for: the right that the call needs, and the object for messages.
#[derive(Debug)]
pub(super) struct ApiRequest {
    /// The verb of the right.
    pub(super) verb: &'static str,
    /// Resource and group, as `kubectl` writes them.
    pub(super) resource: &'static str,
    /// The object's namespace; empty for a resource of the cluster.
    pub(super) namespace: String,
    /// The object's name; empty for a list, and for an object that the call creates.
    pub(super) name: String,
    /// The object, for a message.
    pub(super) what: String,
    /// Whether the response needs only the object's metadata.
    pub(super) metadata_only: bool,
}

impl ApiRequest {
    /// A call about one of Braid's own objects; `kind` is for a message.
    pub(super) fn about(
        verb: &'static str,
        resource: &'static str,
        kind: &str,
        object: &NamespacedName,
    ) -> Self {
        Self {
            verb,
            resource,
            namespace: object.namespace.to_string(),
            name: object.name.to_string(),
            what: format!("{kind} \"{object}\""),
            metadata_only: false,
        }
    }

    /// The command that gives `user` the right, in every namespace: a node's pods are in all of
    /// them. What Braid asks about itself is one object in one namespace.
    pub(super) fn grant(&self, user: &str) -> String {
        let (verb, resource) = (self.verb, self.resource);
        let plain = resource.split('.').next().unwrap_or(resource).replace('/', "-");
        let role = format!("braid-{verb}-{plain}");
        let subject = match user.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={user}"),
        };
        if [DAEMON_SETS, TOKENS].contains(&resource) {
            let (namespace, name) = (&self.namespace, &self.name);
            return format!(
                "kubectl create role {role} -n {namespace} --verb={verb} --resource={resource} \
                 --resource-name={name} && \
                 kubectl create rolebinding {role} -n {namespace} --role={role} {subject}"
            );
        }
        format!(
            "kubectl create clusterrole {role} --verb={verb} --resource={resource} && \
             kubectl create clusterrolebinding {role} --clusterrole={role} {subject}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: &'static str, resource: &'static str) -> ApiRequest {
        let object =
            NamespacedName { namespace: "team-a".parse().unwrap(), name: "braid".parse().unwrap() };
        ApiRequest::about(verb, resource, "x", &object)
    }

    #[test]
    fn the_grant_is_a_line_to_paste() {
        assert_eq!(
            request("get", DEFINITIONS).grant("system:serviceaccount:braid:braid"),
            "kubectl create clusterrole braid-get-network-attachment-definitions --verb=get \
             --resource=network-attachment-definitions.k8s.cni.cncf.io && \
             kubectl create clusterrolebinding braid-get-network-attachment-definitions \
             --clusterrole=braid-get-network-attachment-definitions --serviceaccount=braid:braid"
        );
        assert_eq!(
            request("create", TOKENS).grant("system:serviceaccount:braid:keeper"),
            "kubectl create role braid-create-serviceaccounts-token -n team-a --verb=create \
             --resource=serviceaccounts/token --resource-name=braid && \
             kubectl create rolebinding braid-create-serviceaccounts-token -n team-a \
             --role=braid-create-serviceaccounts-token --serviceaccount=braid:keeper"
        );
        let line = request("patch", "pods/status").grant("system:node:n1");
        assert!(
            line.contains("braid-patch-pods-status") && line.ends_with("--user=system:node:n1"),
            "{line}"
        );
    }
}
