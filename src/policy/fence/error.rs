//! What the fence refuses, a sentence each.

use cni::quoted::Quoted;

use super::MAX_BYTES;
use crate::pod::name::Namespace;

/// What a tenant's definition must not say, and who can change it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FenceError {
    /// It is too large.
    #[error("and has {0} bytes: such a one may have {MAX_BYTES}, so its owner has to shorten it")]
    Size(usize),
    /// Its name has a meaning outside the node, for all namespaces together, or is too long to be
    /// scoped.
    #[error(
        "and its \"name\" is {name}, which a network of another namespace may have too: its owner \
         can write \"name\": \"{namespace}.{example}\""
    )]
    Name {
        /// The network's name.
        name: Quoted,
        /// The definition's namespace.
        namespace: Namespace,
        /// The rest of a name that could be.
        example: String,
    },
    /// The type is not allowed.
    #[error(
        "and may not use plugin {0}: the node's administrator can add it to policy.allowedPlugins"
    )]
    Plugin(Quoted),
    /// The type is never allowed.
    #[error(
        "and may not use plugin {0}, which delegates to others: its owner can name the plugin \
         itself"
    )]
    Delegating(Quoted),
    /// A nested object has a type that is no text, or is spelt so that only some would see it.
    #[error("and has a \"type\" in plugin {0} that is none: its owner has to correct it")]
    Type(Quoted),
    /// The plugin may not carry the key.
    #[error(
        "and its plugin {plugin} may not carry {key}: its owner can leave it out, or the node's \
         administrator add it to policy.allowedPlugins"
    )]
    Key {
        /// The plugin.
        plugin: Quoted,
        /// The key.
        key: Quoted,
    },
    /// What a pod would hand to the plugins, and none of them may carry.
    #[error(
        "and none of its plugins may carry {0}: the pod can leave it out, or the node's \
         administrator add it to policy.allowedPlugins"
    )]
    Argument(Quoted),
    /// A key is missing whose default would reach the host.
    #[error(
        "and its plugin {plugin} must carry \"{key}\", whose default reaches the host: its owner \
         can add it"
    )]
    Missing {
        /// The plugin.
        plugin: Quoted,
        /// The key.
        key: &'static str,
    },
    /// The interface of the host is not allowed.
    #[error(
        "and its plugin {plugin} may not reach the host's interface {value} (\"{key}\"): the \
         node's administrator can add it to policy.allowedHostInterfaces"
    )]
    HostInterface {
        /// The plugin.
        plugin: Quoted,
        /// The key.
        key: String,
        /// The interface.
        value: Quoted,
    },
    /// The address, network or route is not allowed.
    #[error(
        "and {value} in its plugin {plugin} is in no subnet of namespace {namespace}: the node's \
         administrator can add it to policy.allowedSubnets"
    )]
    Subnet {
        /// The plugin.
        plugin: Quoted,
        /// What was written.
        value: Quoted,
        /// The definition's namespace.
        namespace: Namespace,
    },
    /// The VLAN is not allowed.
    #[error(
        "and {value} (\"{key}\") in its plugin {plugin} is no VLAN of namespace {namespace}: the \
         node's administrator can add it to policy.allowedVlans"
    )]
    Vlan {
        /// The plugin.
        plugin: Quoted,
        /// The key.
        key: String,
        /// What was written.
        value: Quoted,
        /// The definition's namespace.
        namespace: Namespace,
    },
    /// The value is not what the key must have.
    #[error(
        "and its plugin {plugin} may not have {value} for {key}, which must be {rule}: its owner \
         can correct it"
    )]
    Value {
        /// The plugin.
        plugin: Quoted,
        /// The key.
        key: Quoted,
        /// The value.
        value: Quoted,
        /// What it must be.
        rule: &'static str,
    },
}
