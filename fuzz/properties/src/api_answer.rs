//! The API's responses to Braid's requests: a definition, a pod, the names in a list.

use std::collections::BTreeSet;

use braid::internals::kube::{ClusterDefinition, ClusterPod, answer};
use braid::internals::pod::Annotations;
use cni::error::one_line;
use cni::netconf::{Missing, NetworkConfig};
use cni::version::Version;

use super::{assert_told_well, definition};

/// What a typed client's decoder reports.
fn unreadable(error: serde_json::Error) -> String {
    one_line(&error.to_string(), 300)
}

fn definition_in(namespace: &str, bytes: &[u8]) -> Result<ClusterDefinition, String> {
    answer::definition(namespace, "blue", serde_json::from_slice(bytes).map_err(unreadable)?)
}

fn pod_in(name: &str, bytes: &[u8]) -> Result<ClusterPod, String> {
    answer::pod("team-a", name, serde_json::from_slice(bytes).map_err(unreadable)?)
}

/// A response is the object that was requested or none; a network in it can be used, and what is
/// wrong is a sentence.
pub fn api_answer(bytes: &[u8]) {
    match definition_in("team-a", bytes) {
        Ok(found) => {
            assert_eq!((found.namespace.as_str(), found.name.as_str()), ("team-a", "blue"));
            let missing = Missing { name: Some("blue"), version: Version::V1_0_0 };
            let config = found.config.map(|config| NetworkConfig::parse(&config, &missing));
            match config {
                Some(Ok(network)) => definition::check_network(&network),
                Some(Err(error)) => assert_told_well(&error),
                None => {}
            }
            // Another tenant's object of the same name is not this one.
            definition_in("team-b", bytes).unwrap_err();
        }
        Err(problem) => assert_told_well(&problem),
    }
    match pod_in("blue", bytes) {
        Ok(pod) => {
            let Annotations { networks, default_network, .. } =
                Annotations::from_object(&pod.annotations);
            networks
                .iter()
                .chain(&default_network)
                .for_each(|text| super::annotation(text.as_bytes()));
            pod_in("red", bytes).unwrap_err();
        }
        Err(problem) => assert_told_well(&problem),
    }
    match serde_json::from_slice(bytes).map_err(unreadable).map(answer::names) {
        Ok(names) => assert!(names.iter().collect::<BTreeSet<_>>().len() <= bytes.len()),
        Err(problem) => assert_told_well(&problem),
    }
}
