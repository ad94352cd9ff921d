//! From what a pod asks for to what it gets: every selection is looked up as the pod may see it,
//! judged, and written to the audit log, whatever path it came by.

use super::{PodRequest, annotation_key, check_identity, host, node_interfaces};
use crate::config::Config;
use crate::definition::{Api, Definition, DefinitionError, Finder, Lack, Wanted};
use crate::kube::ClusterPod;
use crate::observe::audit::{self, Decision, Outcome};
use crate::plan::{Admission, SelectedNetwork};
use crate::pod::Pod;
use crate::policy::{self, Account, Case, Path, Refusal, Verdict, View};
use crate::selection::Selection;
use cni::error::Error;
use cni::netconf::NetworkName;

/// What a pod gets of what it asks for.
pub(super) struct Admitted {
    /// The networks annotation's in its order, then the default-network annotation's.
    pub(super) networks: Vec<SelectedNetwork>,
    /// Why it gets each of them.
    pub(super) admissions: Vec<Admission>,
    /// What an administrator should know.
    pub(super) warnings: Vec<String>,
}

/// Looks up what the pod selects, all at once, and judges each.
///
/// # Errors
/// [`Error`] for the first that it does not get.
pub(super) fn admit(
    config: &Config,
    pod: &Pod,
    pod_request: &PodRequest,
    definitions: &mut Finder<'_>,
) -> Result<Admitted, Error> {
    let view = |path| View { tenancy: &config.tenancy, namespace: &pod.namespace, path };
    let (networks, default) = (view(Path::Networks), view(Path::DefaultNetwork));
    let of_networks = pod_request.networks.iter().map(|selection| (selection, &networks));
    let of_default = pod_request.default_network.iter().map(|selection| (selection, &default));
    let asked: Vec<(&Selection, &View<'_>)> = of_networks.chain(of_default).collect();
    let mut admitted =
        Admitted { networks: Vec::new(), admissions: Vec::new(), warnings: Vec::new() };
    if let (Some((selection, view)), Err(refusal)) = (asked.first(), config.tenancy.readable()) {
        return Err(SelectionReview { pod, view, selection }.refuse(&refusal));
    }
    let wanted = asked.iter().map(|&(selection, view)| {
        let Selection { namespace, name, .. } = selection;
        Wanted { namespace, name, viewer: view }
    });
    let wanted: Vec<_> = wanted.collect();
    let found = node_interfaces::find_all(config, &wanted, definitions);
    let mut account = None;
    for ((selection, view), found) in asked.into_iter().zip(found) {
        let review = SelectionReview { pod, view, selection };
        let name_of_own = |error| review.name_definition_of_own(error);
        policy::check_name(view, selection)
            .map_err(|refusal| name_of_own(review.refuse(&refusal)))?;
        let definition = found.map_err(|error| match error {
            DefinitionError::Unknown { .. } => name_of_own(review.refuse_lookup(error)),
            _ => review.refuse_lookup(error),
        })?;
        if account.is_none() && policy::names_accounts(&definition.annotations) {
            account = Some(service_account(pod, pod_request.object.as_ref(), &mut definitions.api));
        }
        let known = account.clone().unwrap_or_else(|| Account::Unknown("not asked".to_owned()));
        review.judge(definition, &known, &mut admitted)?;
    }
    Ok(admitted)
}

/// What the audit log says of a network that the pod gets.
#[derive(Clone, Copy)]
struct Allowed<'a> {
    /// Where the definition comes from.
    source: &'a str,
    /// Why the pod gets it.
    granted_by: &'a str,
    /// The name that the policy has for the network, if it is not the definition's own.
    scoped_name: Option<&'a str>,
}

fn would_scope(network: &str, own: &NetworkName, scoped: &NetworkName) -> String {
    format!(
        "policy.mode is \"audit\", or the plugins of network \"{network}\" would know it as \
         \"{scoped}\" and not as \"{own}\", which a network of another namespace may be called too"
    )
}

/// Where one selection is decided on.
struct SelectionReview<'a> {
    pod: &'a Pod,
    view: &'a View<'a>,
    selection: &'a Selection,
}

impl SelectionReview<'_> {
    fn judge(
        &self,
        definition: Definition,
        account: &Account,
        admitted: &mut Admitted,
    ) -> Result<(), Error> {
        let case = Case {
            view: *self.view,
            account,
            selection: self.selection,
            definition: &definition,
            host: Ok(&[]),
        };
        let host = host::overlapping_routes(&case);
        let host = host.as_ref().map(Vec::as_slice).map_err(String::as_str);
        let verdict = policy::judge(&Case { host, ..case });
        if let Some(refusal) = verdict.refusal {
            return Err(self.refuse(&refusal));
        }
        admitted.warnings.extend(self.warnings(&verdict, &definition));
        let source = definition.source.to_string();
        let granted_by = policy::in_words(&verdict.granted_by);
        let scoped = verdict.scoped_name.as_ref().or(verdict.would_scope.as_ref());
        let scoped_name = scoped.map(NetworkName::as_str);
        let allowed = Allowed { source: &source, granted_by: &granted_by, scoped_name };
        self.record(&verdict.would_refuse, Some(allowed));
        admitted.admissions.push(Admission { label: self.network(), source, granted_by });
        let under_policy = policy::name_under_policy(&definition, &self.selection.namespace);
        let (selection, resource) = (self.selection.clone(), definition.resource().cloned());
        let (mut network, granted_networks) = (definition.network, verdict.granted_networks);
        let other_name = match verdict.scoped_name {
            Some(scoped) => Some(std::mem::replace(&mut network.name, scoped)),
            None => under_policy,
        };
        let selected =
            SelectedNetwork { selection, network, resource, granted_networks, other_name };
        admitted.networks.push(selected);
        Ok(())
    }

    /// What an administrator should know of a policy that only audits.
    fn warnings(&self, verdict: &Verdict, definition: &Definition) -> Vec<String> {
        let warning = |refusal: &Refusal| {
            format!("policy.mode is \"audit\", or the pod would be refused: {refusal}")
        };
        let own = &definition.network.name;
        let scoped = verdict.would_scope.as_ref();
        let scoped = scoped.map(|scoped| would_scope(&self.network(), own, scoped));
        verdict.would_refuse.iter().map(warning).chain(scoped).collect()
    }

    fn network(&self) -> String {
        format!("{}/{}", self.selection.namespace, self.selection.name)
    }

    fn refuse(&self, refusal: &Refusal) -> Error {
        self.record(std::slice::from_ref(refusal), None);
        refusal.clone().into()
    }

    /// A definition that cannot be had. If the pod may not know whether there is one, the
    /// words are the same in both cases.
    fn refuse_lookup(&self, error: DefinitionError) -> Error {
        let network = self.network();
        let namespace = self.view.namespace.clone();
        let is_enforced = self
            .view
            .tenancy
            .readable()
            .is_ok_and(|policy| policy.is_some_and(|p| p.is_enforced()));
        match error {
            DefinitionError::NotShared { .. } => {
                self.refuse(&Refusal::OtherNamespace { network, namespace })
            }
            DefinitionError::Unknown { lack: Lack::Config, .. } if is_enforced => {
                let hint = String::new();
                self.refuse(&Refusal::NodeNetwork { network, namespace, is_defined: true, hint })
            }
            DefinitionError::Unknown { hint, .. } if is_enforced => {
                self.refuse(&Refusal::NodeNetwork { network, namespace, is_defined: false, hint })
            }
            other => {
                let reason = other.to_string();
                audit::record(&Decision {
                    rules: vec!["definition"],
                    reason: Some(reason),
                    ..self.refused()
                });
                other.into()
            }
        }
    }

    /// The error about a primary that is looked for in `multusNamespace`, with how to name one of
    /// the pod's own namespace. The words do not depend on whether there is one.
    fn name_definition_of_own(&self, error: Error) -> Error {
        let Selection { namespace, name, .. } = self.selection;
        let (offered, own) = (&self.view.tenancy.multus_namespace, &self.pod.namespace);
        if self.view.path != Path::DefaultNetwork || namespace != offered || namespace == own {
            return error;
        }
        let advice = format!(
            "a name without a namespace is looked for in {namespace} here: for one of the pod's \
             own namespace write \"{own}/{name}\""
        );
        let msg = format!("{}; {advice}", error.msg);
        Error { details: error.details, ..Error::new(error.code, msg) }
    }

    /// Writes the decision down: one line, whatever number of rules is broken.
    fn record(&self, broken: &[Refusal], allowed: Option<Allowed<'_>>) {
        let decision = match allowed {
            None => Outcome::Refused,
            Some(_) if broken.is_empty() => Outcome::Allowed,
            Some(_) => Outcome::Audited,
        };
        let reasons: Vec<String> = broken.iter().map(ToString::to_string).collect();
        audit::record(&Decision {
            decision,
            rules: broken.iter().map(Refusal::rule).collect(),
            allowed_by: allowed.map(|allowed| allowed.granted_by.to_owned()),
            definition: allowed.map(|allowed| allowed.source.to_owned()),
            scoped_name: allowed.and_then(|allowed| allowed.scoped_name.map(str::to_owned)),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            ..self.refused()
        });
    }

    fn refused(&self) -> Decision<'_> {
        let uid = self.pod.uid.as_deref();
        Decision::refused(
            self.pod.to_string(),
            uid,
            annotation_key(self.view.path),
            Some(self.network()),
        )
    }
}

/// Writes down that an annotation was refused as a whole.
pub(super) fn refuse_annotation(path: Path, pod: &Pod, error: &Error) {
    let refused =
        Decision::refused(pod.to_string(), pod.uid.as_deref(), annotation_key(path), None);
    audit::record(&Decision {
        rules: vec!["annotation"],
        reason: Some(error.to_string()),
        ..refused
    });
}

/// The pod's service account as the API knows it: of this very pod, not of a namesake, and not of a
/// static pod, whose mirror any user could have written.
fn service_account(pod: &Pod, object: Option<&ClusterPod>, api: &mut Api<'_>) -> Account {
    let fetched;
    let object = match (object, api) {
        (Some(object), _) => object,
        (None, Api::Asked(cluster)) => match cluster.pod(&pod.namespace, &pod.name) {
            Ok(object) => {
                fetched = object;
                &fetched
            }
            Err(error) if error.is_outage() => return Account::Unreachable(error.to_string()),
            Err(error) => return Account::Unknown(error.to_string()),
        },
        _ => return Account::Unknown("no API is configured (kubeconfig)".to_owned()),
    };
    let unknown = |problem: &str| Account::Unknown(problem.to_owned());
    if let Err(error) = check_identity(pod, object) {
        return unknown(&error.msg);
    }
    match &object.service_account {
        _ if object.is_static() => unknown("it is a static pod"),
        _ if pod.uid.is_none() => unknown("the runtime does not say K8S_POD_UID"),
        Some(name) if !name.is_empty() => Account::Known(name.clone()),
        _ => unknown("the API's pod names none"),
    }
}
