//! What a pod asks for: its annotations, from the runtime or from the API, as selections.

use super::{admission, annotation_key, check_identity};
use crate::config::Config;
use crate::kube::{Cluster, ClusterPod};
use crate::pod::{ANNOTATIONS_CAPABILITY, Annotations, DEFAULT_NETWORK_ANNOTATION, Pod};
use crate::policy::Path;
use crate::selection::{self, Selection};
use cni::error::{Code, Error};
use cni::netconf::NetworkName;

/// What a pod's annotations ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodRequest {
    /// Extra networks, in the annotation's order.
    pub networks: Vec<Selection>,
    /// Another primary.
    pub default_network: Option<Selection>,
    /// Networks of the node's conf directory, the first of them for the primary.
    pub choices: Vec<NetworkName>,
    /// Whether the pod is a static one, which the API knows by another UID, or not yet.
    pub is_static: bool,
    /// The pod as the API has it, if it had to be asked.
    pub object: Option<ClusterPod>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

impl PodRequest {
    /// Reads what the pod asks for: from the runtime, else from the API if there is one.
    ///
    /// # Errors
    /// [`Error`] if an annotation is not valid, or the runtime does not hand it over.
    pub(crate) fn read(
        config: &Config,
        pod: &Pod,
        cluster: Option<&mut Cluster>,
    ) -> Result<Self, Error> {
        let (annotations, object, mut warnings) =
            match Annotations::from_runtime_config(&config.from_runtime.runtime_config)? {
                Some(annotations) => (annotations, None, Vec::new()),
                None => {
                    let cost = if cluster.is_some() {
                        "; until then every pod costs a request to the API"
                    } else {
                        ""
                    };
                    let warning = undeclared_annotations() + cost;
                    let object = fetch_pod(config, pod, cluster)?;
                    let annotations =
                        object.as_ref().map(|object| Annotations::from_object(&object.annotations));
                    (annotations.unwrap_or_default(), object, vec![warning])
                }
            };
        let Annotations { networks, default_network, genie, is_static, misspelt } = annotations;
        let read = |annotation: Option<&str>, path| {
            selections(annotation, path, config, pod)
                .inspect_err(|error| admission::refuse_annotation(path, pod, error))
        };
        let choices = choices(genie.as_deref(), default_network.is_some(), config)
            .inspect_err(|error| admission::refuse_annotation(Path::Genie, pod, error))?;
        let networks = read(networks.as_deref(), Path::Networks)?;
        let default_network = read(default_network.as_deref(), Path::DefaultNetwork)?.pop();
        warnings.extend(misspelt.iter().map(ToString::to_string));
        warnings.extend(ignored_keys(&networks, Path::Networks));
        warnings.extend(ignored_keys(default_network.as_slice(), Path::DefaultNetwork));
        Ok(Self { choices, networks, default_network, object, is_static, warnings })
    }

    /// Whether it asks for networks beside its primary.
    pub(crate) fn has_extras(&self) -> bool {
        !self.networks.is_empty() || self.choices.len() > 1
    }

    /// Whether it asks for another primary.
    pub(crate) fn has_primary(&self) -> bool {
        self.default_network.is_some() || !self.choices.is_empty()
    }
}

fn undeclared_annotations() -> String {
    format!(
        "the runtime does not hand over the pod's annotations: add \
         \"capabilities\": {{\"{ANNOTATIONS_CAPABILITY}\": true}} to braid's configuration \
         (containerd 1.5, CRI-O 1.29 and later know it)"
    )
}

/// The pod from the API. Without one, a chained Braid has nothing to go by; a delegating one still
/// has its own configuration.
fn fetch_pod(
    config: &Config,
    pod: &Pod,
    cluster: Option<&mut Cluster>,
) -> Result<Option<ClusterPod>, Error> {
    match cluster {
        Some(cluster) => {
            let object = cluster.pod(&pod.namespace, &pod.name)?;
            check_identity(pod, &object)?;
            Ok(Some(object))
        }
        None if config.is_delegating() => Ok(None),
        None => Err(Error::new(Code::CONFIG, undeclared_annotations())),
    }
}

/// What CNI-Genie's annotation chooses, if the configuration says to read it.
fn choices(
    annotation: Option<&str>,
    has_default: bool,
    config: &Config,
) -> Result<Vec<NetworkName>, Error> {
    let Some(annotation) = annotation.filter(|_| config.genie_annotation) else {
        return Ok(Vec::new());
    };
    let limits = config.limits();
    let choices = selection::genie::parse(annotation, limits).map_err(Error::from);
    let checked = choices.and_then(|choices| match choices.is_empty() {
        false if !config.is_delegating() => Err(Error::new(Code::CONFIG, CHAINED)),
        false if has_default => Err(Error::new(
            Code::CONFIG,
            format!(
                "chooses the pod's primary, and so does {DEFAULT_NETWORK_ANNOTATION}; remove one \
                 of them"
            ),
        )),
        _ => Ok(choices),
    });
    checked.map_err(|error| error.about(format!("annotation {}", annotation_key(Path::Genie))))
}

/// Why a pod cannot choose its primary behind one.
const CHAINED: &str =
    "braid stands behind the primary network here and cannot replace it; remove the annotation";

pub(super) fn selections(
    annotation: Option<&str>,
    path: Path,
    config: &Config,
    pod: &Pod,
) -> Result<Vec<Selection>, Error> {
    let Some(annotation) = annotation else { return Ok(Vec::new()) };
    let namespace = match path {
        Path::Networks | Path::Genie => &pod.namespace,
        Path::DefaultNetwork => &config.tenancy.multus_namespace,
    };
    let limits = config.limits();
    let selections = selection::parse(annotation, namespace, limits).map_err(Error::from);
    let checked = selections.and_then(|selections| match path {
        Path::Networks | Path::Genie => Ok(selections),
        Path::DefaultNetwork => check_default(selections, config),
    });
    checked.map_err(|error| error.about(format!("annotation {}", annotation_key(path))))
}

/// A warning for each key of the annotation that was passed over (`lenientAnnotations`).
fn ignored_keys(selections: &[Selection], path: Path) -> impl Iterator<Item = String> {
    let ignored = selections.iter().flat_map(|selection| &selection.ignored);
    ignored.map(move |error| {
        format!(
            "annotation {}: {error}; it was passed over (lenientAnnotations)",
            annotation_key(path)
        )
    })
}

/// A pod has one primary, on the runtime's interface.
fn check_default(selections: Vec<Selection>, config: &Config) -> Result<Vec<Selection>, Error> {
    let problem = match selections.as_slice() {
        _ if !config.is_delegating() => CHAINED,
        [_, _, ..] => "names more than one network; a pod has one primary",
        [Selection { interface: Some(_), .. }] => {
            "\"interface\" is the runtime's choice for the primary network; leave it out"
        }
        _ => return Ok(selections),
    };
    Err(Error::new(Code::CONFIG, problem))
}
