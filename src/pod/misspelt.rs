//! Keys of annotations that look like those that Braid reads, and are not: a pod with one of them
//! starts silently without its network.

use std::fmt;

use super::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION};
use cni::quoted::Quoted;

/// A key that Braid does not read, beside the one that was probably meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MisspeltKey {
    written: Quoted,
    meant: &'static str,
}

impl fmt::Display for MisspeltKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, meant } = self;
        write!(f, "annotation {written} asks for nothing: did you mean \"{meant}\"?")
    }
}

/// Names of other keys that share a prefix with ours: the status, its old name, and what
/// definitions and policies carry.
const OF_OTHERS: [&str; 4] = ["network-status", "networks-status", "resourceName", "policy-for"];

/// How many letters of a whole key may be wrong, missing or too many.
const SLIPS: usize = 4;

/// The longest key that is compared; those of Kubernetes may have 317 characters.
const LONGEST: usize = 64;

/// The most keys that are told of: each becomes a line of the log.
const MOST: usize = 4;

/// Those of a pod's `keys` that are misspelt.
pub(super) fn among<'k>(keys: impl Iterator<Item = &'k String>) -> Vec<MisspeltKey> {
    let misspelt =
        |key: &String| Some(MisspeltKey { written: Quoted::text(key), meant: meant_key(key)? });
    keys.filter_map(misspelt).take(MOST).collect()
}

/// The annotation's key that `key` was probably meant to be; `None` for that key itself, and for
/// keys of others.
pub(crate) fn meant_key(key: &str) -> Option<&'static str> {
    let is_known = key == NETWORKS_ANNOTATION || key == DEFAULT_NETWORK_ANNOTATION;
    if is_known || key.len() > LONGEST || OF_OTHERS.contains(&name_of(key)) {
        return None;
    }
    let key = key.to_ascii_lowercase();
    if key == "networks" || key == "default-network" {
        return [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION]
            .into_iter()
            .find(|meant| name_of(meant) == key);
    }
    [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION].into_iter().find(|meant| is_slip(&key, meant))
}

/// Whether `key` is `meant` but for a few letters, or its name with another prefix of the same
/// kind.
fn is_slip(key: &str, meant: &str) -> bool {
    let is_near = |a: &str, b: &str, slips| {
        a.len().abs_diff(b.len()) <= slips && strsim::damerau_levenshtein(a, b) <= slips
    };
    let is_of_kind = |prefix: &str| prefix.ends_with("cncf.io") || prefix.contains("multus");
    let has_name = key
        .split_once('/')
        .is_some_and(|(prefix, name)| is_of_kind(prefix) && is_near(name, name_of(meant), 1));
    has_name || is_near(key, meant, SLIPS)
}

fn name_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_look_like_ours_are_told_from_keys_of_others() {
        let networks = [
            "networks",
            "Networks",
            "k8s.v1.cni.cncf.io/network",
            "k8s.cni.cncf.io/networks",
            "k8s.v1.cni.cncf.io/Networks",
            "k8s.v1.cni.cncf.io/netwroks",
            "k8s.v1.cncf.io/networks",
            "k8s.v2.cni.cncf.io/networks",
            "v1.cni.cncf.io/networks",
            "cni.cncf.io/networks",
            "cncf.io/networks",
            "k8s.v1.cni.cncf.io.networks",
            "k8s.v1.cni.cncf.io-networks",
            "k8s.v1.cni.cnfc.io/networks",
            "v1.multus-cni.io/networks",
        ];
        for key in networks {
            assert_eq!(meant_key(key), Some(NETWORKS_ANNOTATION), "{key}");
        }
        let primary = [
            "default-network",
            "v1.multus-cni.io/default-networks",
            "multus-cni.io/default-network",
            "v1.multus.io/default-network",
            "k8s.v1.cni.cncf.io/default-network",
        ];
        for key in primary {
            assert_eq!(meant_key(key), Some(DEFAULT_NETWORK_ANNOTATION), "{key}");
        }
        let others = [
            NETWORKS_ANNOTATION,
            DEFAULT_NETWORK_ANNOTATION,
            "k8s.v1.cni.cncf.io/network-status",
            &format!("k8s.v1.cni.cncf.io/{}", "networks-status"),
            "k8s.v1.cni.cncf.io/resourceName",
            &format!("k8s.v1.cni.cncf.io/{}", "policy-for"),
            "cni.projectcalico.org/podIP",
            "cni.projectcalico.org/networks",
            "k8s.ovn.org/pod-networks",
            "k8s.ovn.org/primary-network",
            "network",
            "cni",
            "linkerd.io/inject",
            "",
        ];
        for key in others {
            assert_eq!(meant_key(key), None, "{key}");
        }
        assert_eq!(meant_key(&"networks".repeat(40)), None);
    }

    #[test]
    fn a_pod_full_of_them_fills_no_log() {
        let keys: Vec<String> =
            (0..100).map(|number| format!("k8s.v{number}.cni.cncf.io/networks")).collect();
        assert_eq!(among(keys.iter()).len(), MOST);
        let said = among(keys[..1].iter())[0].to_string();
        let expected = "annotation \"k8s.v0.cni.cncf.io/networks\" asks for nothing: did you mean \
                        \"k8s.v1.cni.cncf.io/networks\"?";
        assert_eq!(said, expected);
    }
}
