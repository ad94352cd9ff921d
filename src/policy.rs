//! May this pod have this network, with what it asks of it? A refusal names the rule and who can
//! change it.
//!
//! Pure: it judges what was read before, and every path that a pod has comes through here: both
//! annotations, devices, definitions of the API, copies of them, the node's own. What the node's
//! configuration names passes, since it is the administrator's word; what a pod adds is judged.
//!
//! Rules come from two sides. A definition's owner says who may use it and what may be asked of it;
//! that holds always. The node's administrator says more with the `policy` key; `policy.mode`
//! decides whether that is enforced, or logged alone.

mod address;
mod fence;
mod gateway;
mod grant;
mod naming;
mod plugins;
mod refusal;
mod request;
mod rules;
mod scope;
mod sharing;
mod tenancy;

pub(crate) use address::{HostRoute, HostRouteKind, HostRoutes, overlap, routed_addresses};
pub use fence::MAX_BYTES;
pub(crate) use gateway::open_addresses;
pub(crate) use grant::{Grant, in_words};
pub(crate) use naming::name_under_policy;
pub(crate) use refusal::Refusal;
pub use request::{IPS_ANNOTATION, MACS_ANNOTATION, REQUESTS_ANNOTATION};
pub(crate) use request::{Request, grants};
pub use rules::KEYS;
pub(crate) use rules::{Policy, PolicyError};
pub(crate) use scope::Namespaces;
pub(crate) use sharing::names_accounts;
pub use sharing::{ACCOUNTS_ANNOTATION, Account, NAMESPACES_ANNOTATION, View};
pub(crate) use tenancy::Tenancy;

use crate::definition::{Definition, DefinitionKind};
use crate::pod::name::{DefinitionName, Namespace};
use crate::selection::Selection;
use cni::netconf::NetworkName;
use ipnetwork::IpNetwork;

/// How a pod names a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// The networks annotation.
    Networks,
    /// The default-network annotation, whose definitions are in `multusNamespace`.
    DefaultNetwork,
    /// CNI-Genie's annotation, which names networks of the node's conf directory.
    Genie,
}

/// What is judged: one selection of a pod, and the definition that was found for it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The pod, as far as it matters: its namespace, and how it names its networks.
    pub view: View<'a>,
    /// The pod's service account; looked at only if the definition names some.
    pub account: &'a Account,
    /// What the pod asks for.
    pub selection: &'a Selection,
    /// The definition.
    pub definition: &'a Definition,
    /// What of the host's routes overlaps [`routed_addresses`]; looked at only if there are any.
    pub host: HostRoutes<'a>,
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
    /// Why the pod gets it: what each rule that had a say has said; empty if it does not.
    pub granted_by: Vec<Grant>,
    /// The networks that every address of the attachment must lie in, if the policy limits what
    /// the pod gets without naming it.
    pub granted_networks: Option<Vec<IpNetwork>>,
    /// The name that the network's plugins get instead of the definition's own.
    pub scoped_name: Option<NetworkName>,
    /// The one that they would get, were the policy enforced.
    pub would_scope: Option<NetworkName>,
}

impl Verdict {
    fn refused(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// The verdict, with the name that the network's plugins are to know it by.
    fn scope(mut self, case: &Case<'_>, policy: &Policy) -> Self {
        let name = naming::scoped_name(case, policy).filter(|_| self.refusal.is_none());
        if policy.is_enforced() {
            self.scoped_name = name;
        } else {
            self.would_scope = name;
        }
        self
    }
}

/// Judges one selection of a pod.
pub fn judge(case: &Case<'_>) -> Verdict {
    let allowed = case.view.tenancy.readable().and_then(|policy| Ok((policy, check_owner(case)?)));
    let (policy, granted_by) = match allowed {
        Ok(allowed) => allowed,
        Err(refusal) => return Verdict::refused(refusal),
    };
    let Some(policy) = policy else { return Verdict { granted_by, ..Verdict::default() } };
    let (addresses, networks) = match address::check(case, policy) {
        Ok(granted) => (Ok(granted.grant), granted.networks),
        Err(refusal) => (Err(refusal), None),
    };
    let verdict =
        weigh(policy, check_node(case, policy).into_iter().chain([addresses]), granted_by);
    let is_bound = policy.is_enforced() && verdict.refusal.is_none();
    Verdict { granted_networks: networks.filter(|_| is_bound), ..verdict }.scope(case, policy)
}

/// What the node's policy says of a definition by itself, before any pod asks for it: what its own
/// namespace's pods hear, too.
pub(crate) fn judge_definition(
    tenancy: &Tenancy,
    namespace: &Namespace,
    name: &DefinitionName,
    definition: &Definition,
) -> Verdict {
    let policy = match tenancy.readable() {
        Err(refusal) => return Verdict::refused(refusal),
        Ok(None) => return Verdict { granted_by: vec![Grant::NoPolicy], ..Verdict::default() },
        Ok(Some(policy)) => policy,
    };
    let view = View { tenancy, namespace, path: Path::Networks };
    let selection = Selection::new(namespace.clone(), name.clone(), 0);
    let account = Account::Unknown(String::new());
    let case = Case { view, account: &account, selection: &selection, definition, host: Ok(&[]) };
    let rules = [check_node_network(&case, policy), check_fence(&case, policy)];
    weigh(policy, rules, Vec::new()).scope(&case, policy)
}

/// What comes of the rules: the first that is broken counts if they are enforced.
fn weigh(
    policy: &Policy,
    rules: impl IntoIterator<Item = Result<Option<Grant>, Refusal>>,
    mut granted_by: Vec<Grant>,
) -> Verdict {
    let mut broken = Vec::new();
    for rule in rules {
        match rule {
            Ok(grant) => granted_by.extend(grant),
            Err(refusal) => broken.push(refusal),
        }
    }
    if policy.is_enforced() && !broken.is_empty() {
        return Verdict::refused(broken.remove(0));
    }
    Verdict { would_refuse: broken, granted_by, ..Verdict::default() }
}

/// What can be said of a selection before anything is looked up: a policy's word on the primary
/// must not tell which definitions there are to choose from.
///
/// # Errors
/// [`Refusal::Unclear`], [`Refusal::Primary`].
pub(crate) fn check_name(view: &View<'_>, selection: &Selection) -> Result<(), Refusal> {
    match view.tenancy.readable()? {
        Some(policy) if policy.is_enforced() && view.reaches_all_of(&selection.namespace) => {
            check_primary(view, format!("{}/{}", selection.namespace, selection.name), policy)
                .map(drop)
        }
        _ => Ok(()),
    }
}

/// Judges a network of the node's conf directory that a pod chooses for its primary, or beside it:
/// `word` is what it wrote, `found` the network that has this name or this plugin's type. If
/// there is none, it hears the same as if it must not have it.
pub(crate) fn judge_choice(
    view: &View<'_>,
    word: &NetworkName,
    found: Option<&NetworkName>,
) -> Verdict {
    let policy = match view.tenancy.readable() {
        Err(refusal) => return Verdict::refused(refusal),
        Ok(None) => return Verdict { granted_by: vec![Grant::NoPolicy], ..Verdict::default() },
        Ok(Some(policy)) => policy,
    };
    let allows = |name: &NetworkName| policy.allows_primary(view.namespace, name.as_str());
    if allows(word) || found.is_some_and(allows) {
        return Verdict { granted_by: vec![Grant::PrimaryOverride], ..Verdict::default() };
    }
    let refusal = Refusal::Primary { network: word.to_string(), namespace: view.namespace.clone() };
    if policy.is_enforced() {
        Verdict::refused(refusal)
    } else {
        Verdict { would_refuse: vec![refusal], ..Verdict::default() }
    }
}

/// The rules that hold always: whom the owner shares with, and what for.
fn check_owner(case: &Case<'_>) -> Result<Vec<Grant>, Refusal> {
    let namespace = sharing::check_namespace(case)?;
    let account = sharing::check_account(case)?;
    request::check_owner(case)?;
    Ok(std::iter::once(namespace).chain(account).collect())
}

/// What each rule of the node's policy says of the case: a grant if it was asked, a refusal
/// if it is broken.
fn check_node(case: &Case<'_>, policy: &Policy) -> [Result<Option<Grant>, Refusal>; 4] {
    [
        check_primary(&case.view, case.network(), policy),
        check_node_network(case, policy),
        check_fence(case, policy),
        request::check_node(case, policy).map(|()| None),
    ]
}

fn check_primary(
    view: &View<'_>,
    network: String,
    policy: &Policy,
) -> Result<Option<Grant>, Refusal> {
    if view.path != Path::DefaultNetwork {
        return Ok(None);
    }
    if policy.allows_primary(view.namespace, &network) {
        return Ok(Some(Grant::PrimaryOverride));
    }
    Err(Refusal::Primary { network, namespace: view.namespace.clone() })
}

fn check_node_network(case: &Case<'_>, policy: &Policy) -> Result<Option<Grant>, Refusal> {
    let Selection { namespace, name, .. } = case.selection;
    let kind = case.definition.kind;
    if !policy.shares_node_network(&case.view, namespace, name, kind) {
        let namespace = case.view.namespace.clone();
        return Err(Refusal::NodeNetwork {
            network: case.network(),
            namespace,
            is_defined: kind != DefinitionKind::NodeNetwork,
            hint: String::new(),
        });
    }
    Ok(match kind {
        DefinitionKind::Manifest | DefinitionKind::Object => None,
        DefinitionKind::EmptyObject if policy.trusts(namespace) => {
            Some(Grant::Trusted(namespace.clone()))
        }
        _ if case.view.path == Path::DefaultNetwork => None,
        DefinitionKind::EmptyObject | DefinitionKind::NodeNetwork => Some(Grant::SharedNodeNetwork),
    })
}

/// Only what a tenant can have written is fenced in.
fn check_fence(case: &Case<'_>, policy: &Policy) -> Result<Option<Grant>, Refusal> {
    let owner = &case.selection.namespace;
    match case.definition.kind {
        DefinitionKind::Object if policy.trusts(owner) => Ok(Some(Grant::Trusted(owner.clone()))),
        DefinitionKind::Object => fence::check(case, policy).map(|()| Some(Grant::Fenced)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
