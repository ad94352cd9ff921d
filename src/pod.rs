//! The pod as Braid sees it: who it is, from `CNI_ARGS`, and what it asks for, from the annotations
//! that the runtime hands over as a capability argument.

mod misspelt;
pub mod name;

pub(crate) use self::misspelt::{MisspeltKey, meant_key};

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::pod::name::{InvalidNamespace, Namespace};
use cni::keys;
use cni::netconf::NetworkConfig;
use cni::request::CniArgs;

/// The capability through which a runtime hands over a pod's annotations.
pub(crate) const ANNOTATIONS_CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";
/// The annotation that asks for extra networks (NPWG 1.3, section 4.1).
pub const NETWORKS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/networks";
/// The annotation that asks for another primary network; Multus's.
pub(crate) const DEFAULT_NETWORK_ANNOTATION: &str = "v1.multus-cni.io/default-network";
/// The annotation that chooses networks of the node for the primary and more; CNI-Genie's.
pub(crate) const GENIE_ANNOTATION: &str = "cni";

/// The annotation that says where the kubelet has a pod from; `api` for all but static pods.
pub(crate) const CONFIG_SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";

/// What is wrong with what the runtime says of a pod.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PodError {
    /// The namespace breaks the rule for names.
    #[error("K8S_POD_NAMESPACE in CNI_ARGS is not valid: {0}")]
    Namespace(#[from] InvalidNamespace),
    /// Annotations are no object of texts.
    #[error("runtimeConfig \"{ANNOTATIONS_CAPABILITY}\" must be an object of texts")]
    Annotations,
}

/// Who a pod is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// The namespace; `default` if the runtime names none, as a cluster would have it.
    pub namespace: Namespace,
    /// The name; empty if the runtime does not say.
    pub name: String,
    /// `K8S_POD_UID`; of a static pod it is a hash that the API does not know.
    pub uid: Option<String>,
}

impl Pod {
    /// The pod that `CNI_ARGS` names.
    ///
    /// # Errors
    /// [`PodError::Namespace`].
    pub fn from_args(args: &CniArgs) -> Result<Self, PodError> {
        let namespace =
            args.get("K8S_POD_NAMESPACE").filter(|name| !name.is_empty()).unwrap_or("default");
        Ok(Self {
            namespace: namespace.parse()?,
            name: args.get("K8S_POD_NAME").unwrap_or_default().to_owned(),
            uid: args.get("K8S_POD_UID").filter(|uid| !uid.is_empty()).map(str::to_owned),
        })
    }

    /// Whether the UID is the hash that the kubelet gives a static pod (MD5 in hexadecimal, without
    /// the dashes that every UID of the API has).
    pub(crate) fn has_hashed_uid(&self) -> bool {
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        self.uid.as_ref().is_some_and(|uid| uid.len() == 32 && uid.bytes().all(is_digit))
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "?" } else { &self.name };
        write!(f, "{}/{name}", self.namespace)
    }
}

/// The annotations that matter to Braid.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Annotations {
    /// The text of [`NETWORKS_ANNOTATION`].
    pub networks: Option<String>,
    /// The text of [`DEFAULT_NETWORK_ANNOTATION`].
    pub default_network: Option<String>,
    /// The text of [`GENIE_ANNOTATION`]; others may use such a short key too.
    pub genie: Option<String>,
    /// Whether [`CONFIG_SOURCE_ANNOTATION`] says that the pod is a static one.
    pub is_static: bool,
    /// Keys that were probably meant to be one of those above: such a pod starts without what it
    /// asks for.
    pub misspelt: Vec<MisspeltKey>,
}

impl Annotations {
    /// The annotations in the runtime's capability arguments; `None` if it does not say: the
    /// capability is not declared, or the runtime does not know it. `null` is its word for none.
    ///
    /// # Errors
    /// [`PodError::Annotations`] if they have another shape.
    pub fn from_runtime_config(
        runtime_config: &Map<String, Value>,
    ) -> Result<Option<Self>, PodError> {
        let Some(value) = runtime_config.get(ANNOTATIONS_CAPABILITY) else { return Ok(None) };
        let none = Map::new();
        let annotations = match value {
            Value::Null => &none,
            Value::Object(annotations) => annotations,
            _ => return Err(PodError::Annotations),
        };
        Self::read(annotations.keys(), |key| text(annotations, key)).map(Some)
    }

    /// The annotations of a pod as the API has them.
    pub fn from_object(annotations: &BTreeMap<String, String>) -> Self {
        Self::read(annotations.keys(), |key| Ok(annotations.get(key).cloned())).unwrap_or_default()
    }

    fn read<'k>(
        keys: impl Iterator<Item = &'k String>,
        text: impl Fn(&str) -> Result<Option<String>, PodError>,
    ) -> Result<Self, PodError> {
        let asked = |key: &str| text(key).map(|text| text.filter(|text| !text.trim().is_empty()));
        Ok(Self {
            networks: asked(NETWORKS_ANNOTATION)?,
            default_network: asked(DEFAULT_NETWORK_ANNOTATION)?,
            genie: asked(GENIE_ANNOTATION)?,
            is_static: text(CONFIG_SOURCE_ANNOTATION)?.is_some_and(|source| source != "api"),
            misspelt: misspelt::among(keys),
        })
    }
}

fn text(annotations: &Map<String, Value>, key: &str) -> Result<Option<String>, PodError> {
    match annotations.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(PodError::Annotations),
    }
}

/// The runtime's capability arguments that a primary gets: the annotations are among them only if
/// one of its plugins declares them, as aws-cni does.
pub(crate) fn for_primary(
    runtime_config: &Map<String, Value>,
    network: &NetworkConfig,
) -> Map<String, Value> {
    if network.declares(ANNOTATIONS_CAPABILITY) {
        return runtime_config.clone();
    }
    without_annotations(runtime_config)
}

/// Capability arguments without the annotations.
pub(crate) fn without_annotations(runtime_config: &Map<String, Value>) -> Map<String, Value> {
    let mut rest = runtime_config.clone();
    keys::take(&mut rest, ANNOTATIONS_CAPABILITY);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Option<Annotations>, PodError> {
        Annotations::from_runtime_config(value.as_object().unwrap())
    }

    #[test]
    fn a_key_that_is_there_counts_even_as_null() {
        let none = Some(Annotations::default());
        assert_eq!(read(json!({ANNOTATIONS_CAPABILITY: null})).unwrap(), none);
        assert_eq!(
            read(json!({ANNOTATIONS_CAPABILITY: {NETWORKS_ANNOTATION: "  "}})).unwrap(),
            none
        );
        assert_eq!(read(json!({})).unwrap(), None);
    }

    #[test]
    fn misspelt_keys_are_seen_in_the_runtimes_word_and_in_the_apis() {
        let misspelt = |annotations: Annotations| annotations.misspelt.len();
        let keys = json!({"networks": "a", "k8s.cni.cncf.io/networks": "b", NETWORKS_ANNOTATION: "c", "other": "d"});
        assert_eq!(misspelt(read(json!({ANNOTATIONS_CAPABILITY: keys})).unwrap().unwrap()), 2);
        let object = BTreeMap::from([("networks".to_owned(), "a".to_owned())]);
        assert_eq!(misspelt(Annotations::from_object(&object)), 1);
    }

    #[test]
    fn a_static_pod_says_so() {
        let is_static = |source: &str| {
            let value = json!({ANNOTATIONS_CAPABILITY: {CONFIG_SOURCE_ANNOTATION: source}});
            read(value).unwrap().unwrap().is_static
        };
        assert!(is_static("file") && is_static("http") && !is_static("api"));
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [json!([]), json!("x"), json!({NETWORKS_ANNOTATION: ["x"]}), json!(1)] {
            assert_eq!(read(json!({ANNOTATIONS_CAPABILITY: value})), Err(PodError::Annotations));
        }
    }

    #[test]
    fn a_pod_is_named_by_its_arguments() {
        let pod = Pod::from_args(&"K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=web".into()).unwrap();
        assert_eq!(pod.to_string(), "team-a/web");
        assert_eq!(Pod::from_args(&"".into()).unwrap().to_string(), "default/?");
        assert!(Pod::from_args(&"K8S_POD_NAMESPACE=../x".into()).is_err());
    }
}
