//! May this pod have this network, with what it asks of it? A refusal names the rule and who can change it.
//!
//! Pure: it judges what was read before, and every path that a pod has comes through here: both annotations,
//! devices, definitions of the API, copies of them, the node's own. What the node's configuration names
//! passes (design decision 16); judged is what a pod adds.
//!
//! Rules come from two sides. A definition's owner says who may use it and what may be asked of it; that
//! holds always. The node's administrator says more with the `policy` key; `policy.mode` decides whether
//! that is enforced, or logged alone.

mod fence;
mod plugins;
mod refusal;
mod request;
mod rules;
mod scope;
mod sharing;

pub use fence::{FenceError, MAX_BYTES};
pub use refusal::Refusal;
pub use request::{IPS_ANNOTATION, MACS_ANNOTATION, REQUESTS_ANNOTATION, Request};
pub use rules::{KEYS, Mode, Policy, PolicyError};
pub use scope::{Namespaces, Scoped};
pub use sharing::{ACCOUNTS_ANNOTATION, Account, NAMESPACES_ANNOTATION, View, names_accounts};

use crate::config::Config;
use crate::definition::{Definition, Standing};
use crate::selection::Selection;

/// How a pod names a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// The networks annotation.
    Networks,
    /// The default-network annotation, whose definitions are in `multusNamespace`.
    DefaultNetwork,
}

/// What is judged: one selection of a pod, and the definition that was found for it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The pod, as far as it matters: its namespace, and how it names its networks.
    pub view: View<'a>,
    /// The pod's service account; looked at only where the definition names some.
    pub account: &'a Account,
    /// What the pod asks for.
    pub selection: &'a Selection,
    /// The definition.
    pub definition: &'a Definition,
}

impl Case<'_> {
    fn network(&self) -> String {
        format!("{}/{}", self.selection.namespace, self.selection.name)
    }
}

/// What the rules say of a case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Why the pod does not get the network.
    pub refusal: Option<Refusal>,
    /// Why it would not, were the policy enforced.
    pub would_refuse: Vec<Refusal>,
}

/// The node's policy, which must be understood before any pod gets what it asks for.
///
/// # Errors
/// [`Refusal::Unclear`].
pub fn readable(config: &Config) -> Result<Option<&Policy>, Refusal> {
    match &config.policy {
        Ok(policy) => Ok(policy.as_ref()),
        Err(error) => Err(error.clone().into()),
    }
}

/// Judges one selection of a pod.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = match readable(case.view.config).and_then(|policy| check_owner(case).map(|()| policy)) {
        Ok(policy) => policy,
        Err(refusal) => return Verdict { refusal: Some(refusal), would_refuse: Vec::new() },
    };
    let Some(policy) = policy else { return Verdict::default() };
    let broken = check_node(case, policy);
    if policy.is_enforced() {
        Verdict { refusal: broken.into_iter().next(), would_refuse: Vec::new() }
    } else {
        Verdict { refusal: None, would_refuse: broken }
    }
}

/// The rules that hold always: whom the owner shares with, and what for.
fn check_owner(case: &Case<'_>) -> Result<(), Refusal> {
    sharing::check_namespace(case)?;
    sharing::check_account(case)?;
    request::check_owner(case)
}

/// The rules of the node's policy that the case breaks, one refusal for each.
fn check_node(case: &Case<'_>, policy: &Policy) -> Vec<Refusal> {
    let rules = [
        check_primary(case, policy),
        check_node_network(case, policy),
        check_fence(case, policy),
        request::check_node(case, policy),
    ];
    rules.into_iter().filter_map(Result::err).collect()
}

fn check_primary(case: &Case<'_>, policy: &Policy) -> Result<(), Refusal> {
    let (network, namespace) = (case.network(), case.view.namespace);
    if case.view.path != Path::DefaultNetwork || policy.allows_primary(namespace, &network) {
        return Ok(());
    }
    Err(Refusal::Primary { network, namespace: namespace.clone() })
}

fn check_node_network(case: &Case<'_>, policy: &Policy) -> Result<(), Refusal> {
    let Selection { namespace, name, .. } = case.selection;
    if policy.shares_node_network(&case.view, namespace, name, case.definition.standing) {
        return Ok(());
    }
    let namespace = case.view.namespace.clone();
    Err(Refusal::NodeNetwork { network: case.network(), namespace, hint: String::new() })
}

/// Only what a tenant can have written is fenced in.
fn check_fence(case: &Case<'_>, policy: &Policy) -> Result<(), Refusal> {
    let is_tenants =
        case.definition.standing == Standing::Object && !policy.trusts(&case.selection.namespace);
    if is_tenants { fence::check(case, policy) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
