//! The networks that CNI-Genie's annotation `cni` chooses among the node's own: the first one in
//! place of the primary, the others beside it. Each is judged as another primary is.

use super::{annotation_key, node_interfaces};
use crate::config::Config;
use crate::definition::Finder;
use crate::observe::audit::{self, Decision, Outcome};
use crate::plan::{Admission, NodeNetwork, Series};
use crate::pod::Pod;
use crate::policy::{self, Path, Verdict, View};
use crate::prepare::primary::{Choices, PrimaryError};
use cni::error::Error;
use cni::netconf::NetworkName;

/// What a pod gets of what it chooses.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// In the annotation's order.
    pub(super) networks: Vec<NodeNetwork>,
    /// Why it gets each of them.
    pub(super) admissions: Vec<Admission>,
    /// What an administrator should know.
    pub(super) warnings: Vec<String>,
}

/// Looks up what the pod chooses, and judges each.
///
/// # Errors
/// [`Error`] for the first that it does not get.
pub(super) fn choose(
    config: &Config,
    pod: &Pod,
    words: &[NetworkName],
    definitions: &mut Finder<'_>,
) -> Result<Chosen, Error> {
    let mut chosen = Chosen::default();
    if words.is_empty() {
        return Ok(chosen);
    }
    let mut choices = Choices::read(config);
    chosen.warnings.append(&mut choices.warnings);
    let view = View { tenancy: &config.tenancy, namespace: &pod.namespace, path: Path::Genie };
    for word in words {
        let found = choices.find(word);
        let verdict = policy::judge_choice(
            &view,
            word,
            found.as_ref().ok().map(|(_, network)| &network.name),
        );
        record(pod, word, &verdict, found.as_ref());
        if let Some(refusal) = verdict.refusal {
            return Err(refusal.into());
        }
        let warning =
            |refusal| format!("policy.mode is \"audit\", or the pod would be refused: {refusal}");
        chosen.warnings.extend(verdict.would_refuse.iter().map(warning));
        let about =
            |error| Error::from(error).about(format!("annotation {}", annotation_key(Path::Genie)));
        let (file, network) = found.map_err(about)?;
        let network = node_interfaces::resolve_of_node(config, network.clone(), definitions);
        let network = NodeNetwork { series: Series::Eth, ..NodeNetwork::new(network, None) };
        let source = file.display().to_string();
        let granted_by = policy::in_words(&verdict.granted_by);
        chosen.admissions.push(Admission { label: network.label.clone(), source, granted_by });
        chosen.networks.push(network);
    }
    Ok(chosen)
}

fn record(
    pod: &Pod,
    word: &NetworkName,
    verdict: &Verdict,
    found: Result<&&(std::path::PathBuf, cni::netconf::NetworkConfig), &PrimaryError>,
) {
    let refused = || {
        let uid = pod.uid.as_deref();
        Decision::refused(pod.to_string(), uid, annotation_key(Path::Genie), Some(word.to_string()))
    };
    let decision = match (&verdict.refusal, found) {
        (Some(refusal), _) => {
            Decision { rules: vec![refusal.rule()], reason: Some(refusal.to_string()), ..refused() }
        }
        (None, Err(error)) => {
            Decision { rules: vec!["definition"], reason: Some(error.to_string()), ..refused() }
        }
        (None, Ok((file, _))) => {
            let reasons: Vec<String> =
                verdict.would_refuse.iter().map(ToString::to_string).collect();
            Decision {
                decision: if reasons.is_empty() { Outcome::Allowed } else { Outcome::Audited },
                rules: verdict.would_refuse.iter().map(policy::Refusal::rule).collect(),
                allowed_by: Some(policy::in_words(&verdict.granted_by)),
                definition: Some(file.display().to_string()),
                reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
                ..refused()
            }
        }
    };
    audit::record(&decision);
}
