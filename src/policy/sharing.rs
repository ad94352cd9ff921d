//! With whom the owner of a definition shares it: the annotations `braid.io/allowed-namespaces` and
//! `braid.io/allowed-service-accounts`.
//!
//! A word that is no name matches no namespace: a typing error shares with fewer, never with more.

use super::Tenancy;
use super::scope::words;
use super::{Case, Grant, Path, Refusal};
use crate::definition::{Annotations, DefinitionKind, Viewer};
use crate::pod::name::{DefinitionName, Namespace};

/// The namespaces whose pods may use a definition, beside its own: names, or `*`.
pub const NAMESPACES_ANNOTATION: &str = "braid.io/allowed-namespaces";

/// The service accounts whose pods may use a definition, and no others: `namespace/name`,
/// `namespace/*`, or the name of an account in the definition's namespace.
pub const ACCOUNTS_ANNOTATION: &str = "braid.io/allowed-service-accounts";

/// The service account of a pod, as far as it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Account {
    /// Its name, in the pod's namespace.
    Known(String),
    /// Why it cannot be learnt.
    Unknown(String),
    /// The API cannot be reached, so that trying again may help.
    Unreachable(String),
}

/// A pod that looks for definitions: it hears of what is shared with it, and of nothing else.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the node's configuration says of tenants.
    pub tenancy: &'a Tenancy,
    /// The pod's namespace.
    pub namespace: &'a Namespace,
    /// How the pod names its networks.
    pub path: Path,
}

impl Viewer for View<'_> {
    fn sees(&self, namespace: &Namespace, annotations: &Annotations) -> bool {
        self.sees_definition(namespace, annotations)
    }

    fn sees_node_network(
        &self,
        namespace: &Namespace,
        name: &DefinitionName,
        kind: DefinitionKind,
    ) -> bool {
        match &self.tenancy.policy {
            Ok(None) => true,
            Ok(Some(policy)) => {
                !policy.is_enforced() || policy.shares_node_network(self, namespace, name, kind)
            }
            Err(_) => false,
        }
    }
}

impl View<'_> {
    /// Why the pod may use a definition of `owner` with these annotations; `None` if it may not.
    fn grant(&self, owner: &Namespace, annotations: &Annotations) -> Option<Grant> {
        let shared =
            || is_shared_with(self.namespace, annotations).then(|| Grant::Shared(owner.clone()));
        self.grant_of_all(owner).or_else(shared).or_else(|| self.without_isolation())
    }

    /// Whether the pod may know of a definition of `owner` with these annotations.
    pub(crate) fn sees_definition(&self, owner: &Namespace, annotations: &Annotations) -> bool {
        self.grant(owner, annotations).is_some()
    }

    /// Whether the pod may know of every definition of `owner`, and so that there is none.
    pub(crate) fn sees_owner(&self, owner: &Namespace) -> bool {
        self.reaches_all_of(owner)
    }

    /// Whether the pod may use what is in `owner` without its owner's word.
    pub(super) fn reaches_all_of(&self, owner: &Namespace) -> bool {
        self.grant_of_all(owner).or_else(|| self.without_isolation()).is_some()
    }

    fn grant_of_all(&self, owner: &Namespace) -> Option<Grant> {
        let is_global =
            || self.tenancy.global_namespaces.iter().any(|global| global == owner.as_str());
        let is_offered =
            || self.path == Path::DefaultNetwork && *owner == self.tenancy.multus_namespace;
        match owner {
            own if own == self.namespace => Some(Grant::OwnNamespace),
            _ if is_global() => Some(Grant::Global(owner.clone())),
            _ if is_offered() => Some(Grant::Offered(owner.clone())),
            _ => None,
        }
    }

    fn without_isolation(&self) -> Option<Grant> {
        (!self.tenancy.isolation).then_some(Grant::NoIsolation)
    }
}

fn is_shared_with(namespace: &Namespace, annotations: &Annotations) -> bool {
    let list = annotations.get(NAMESPACES_ANNOTATION).map(String::as_str).unwrap_or_default();
    words(list).any(|word| word == "*" || word == namespace.as_str())
}

/// The namespace rule.
///
/// # Errors
/// [`Refusal::OtherNamespace`].
pub(super) fn check_namespace(case: &Case<'_>) -> Result<Grant, Refusal> {
    let grant = case.view.grant(&case.selection.namespace, &case.definition.annotations);
    let namespace = case.view.namespace.clone();
    grant.ok_or_else(|| Refusal::OtherNamespace { network: case.network(), namespace })
}

/// Whether the definition is for some service accounts only, so that the pod's must be known.
pub(crate) fn names_accounts(annotations: &Annotations) -> bool {
    annotations.contains_key(ACCOUNTS_ANNOTATION)
}

/// The service-account rule.
///
/// # Errors
/// [`Refusal::OtherAccount`], [`Refusal::UnknownAccount`].
pub(super) fn check_account(case: &Case<'_>) -> Result<Option<Grant>, Refusal> {
    let Some(list) = case.definition.annotations.get(ACCOUNTS_ANNOTATION) else { return Ok(None) };
    let unknown = |problem: &str, is_outage: bool| {
        Err(Refusal::UnknownAccount {
            network: case.network(),
            problem: problem.to_owned(),
            is_outage,
        })
    };
    let account = match case.account {
        Account::Known(name) => name,
        Account::Unknown(problem) => return unknown(problem, false),
        Account::Unreachable(problem) => return unknown(problem, true),
    };
    let is_named = words(list).any(|word| is_account(word, case, account));
    let account = format!("{}/{account}", case.view.namespace);
    if is_named {
        return Ok(Some(Grant::Account(account)));
    }
    Err(Refusal::OtherAccount { network: case.network(), account })
}

/// Whether `word` names the pod's account; without a namespace, one of the definition's own is
/// meant.
fn is_account(word: &str, case: &Case<'_>, account: &str) -> bool {
    let (namespace, name) =
        word.split_once('/').unwrap_or((case.selection.namespace.as_str(), word));
    let is_any = name == "*" && word.contains('/');
    namespace == case.view.namespace.as_str() && (is_any || name == account)
}
