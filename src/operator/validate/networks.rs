//! What a pod's networks would meet in the cluster: the definitions that it names, with their
//! owners' words and the node's policy.

use super::catalogue::{Catalogue, Entry};
use super::rules::{Rules, Subject};
use super::{Report, Severity, Spot};
use crate::definition::Definition;
use crate::pod::name::Namespace;
use crate::policy::{self, Account, Case, Path, Refusal, View};
use crate::prepare::PodRequest;
use crate::selection::Selection;

/// A pod that asks for networks, and where it does.
pub(super) struct Asking<'a> {
    pub(super) namespace: &'a Namespace,
    /// Its service account.
    pub(super) account: &'a str,
    pub(super) request: &'a PodRequest,
    /// The place of an annotation.
    pub(super) spot_of: &'a dyn Fn(Path) -> Option<Spot>,
}

/// Judges each network of the pod as ADD would.
pub(super) fn check(asking: &Asking<'_>, rules: &Rules, known: &Catalogue, report: &mut Report) {
    let of_networks = asking.request.networks.iter().map(|it| (it, Path::Networks));
    let of_default = asking.request.default_network.iter().map(|it| (it, Path::DefaultNetwork));
    for (selection, path) in of_networks.chain(of_default) {
        let Some(spot) = (asking.spot_of)(path) else { continue };
        let view = View { tenancy: rules.tenancy(), namespace: asking.namespace, path };
        let Err(refusal) = judge(&view, selection, asking, rules, known, &mut |message| {
            report.problems.push((spot, Severity::Warning, message));
        }) else {
            continue;
        };
        // Whether another namespace's definition exists must not be disclosed, so that one that is
        // not shared is no more than a warning, as one that is to come is.
        let severity = match refusal {
            Refusal::OtherNamespace { .. } => Severity::Warning,
            _ => Severity::Error,
        };
        report.problems.push((spot, severity, refusal.to_string()));
    }
}

/// What ADD would say of one network; what it would only warn of, `warn` gets.
fn judge(
    view: &View<'_>,
    selection: &Selection,
    asking: &Asking<'_>,
    rules: &Rules,
    known: &Catalogue,
    warn: &mut dyn FnMut(String),
) -> Result<(), Refusal> {
    policy::check_name(view, selection)?;
    let Some(definition) = find(view, selection, rules, known, warn)? else { return Ok(()) };
    let account = Account::Known(asking.account.to_owned());
    let case =
        Case { view: *view, account: &account, selection, definition: &definition, host: Ok(&[]) };
    let verdict = policy::judge(&case);
    for refusal in verdict.would_refuse {
        warn(format!("policy.mode is \"audit\", or the pod would be refused: {refusal}"));
    }
    verdict.refusal.map_or(Ok(()), Err)
}

/// The definition, if there is one that is known and can be read.
///
/// # Errors
/// [`Refusal::OtherNamespace`] for one of another namespace that is not shared, or not there.
fn find(
    view: &View<'_>,
    selection: &Selection,
    rules: &Rules,
    known: &Catalogue,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Definition>, Refusal> {
    let network = format!("{}/{}", selection.namespace, selection.name);
    let not_shared =
        || Refusal::OtherNamespace { network: network.clone(), namespace: view.namespace.clone() };
    let found = match known.find(&selection.namespace, &selection.name) {
        Entry::Unknown => return Ok(None),
        Entry::Absent if view.sees_owner(&selection.namespace) => {
            warn(format!(
                "network \"{network}\" is not defined in the cluster: until it is, the pod does \
                 not start"
            ));
            return Ok(None);
        }
        Entry::Absent => return Err(not_shared()),
        Entry::Defined(found) => found,
    };
    if !view.sees_definition(&selection.namespace, &found.annotations) {
        return Err(not_shared());
    }
    let subject = Subject {
        namespace: found.namespace.clone(),
        name: found.name.clone(),
        annotations: found.annotations.clone(),
        config: found.config.as_deref(),
    };
    let definition = rules.definition(&subject);
    Ok(definition
        .map_err(|error| warn(format!("network \"{network}\" is not valid: {error}")))
        .ok())
}
