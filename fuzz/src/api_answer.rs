//! What the API answers to Braid's questions: a definition, a pod, the names in a list.

use std::collections::BTreeSet;

use braid::kube::answer;
use braid::pod::Annotations;
use cni::netconf::{Missing, NetworkConfig};
use cni::version::Version;

use super::{assert_told_well, definition};

/// An answer is the object that was asked for or none; a network in it can be used, and what is wrong is a
/// sentence.
pub fn api_answer(bytes: &[u8]) {
    match answer::definition("team-a", "blue", bytes) {
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
            answer::definition("team-b", "blue", bytes).unwrap_err();
        }
        Err(problem) => assert_told_well(&problem),
    }
    match answer::pod("team-a", "blue", bytes) {
        Ok(pod) => {
            let Annotations { networks, default_network, .. } = Annotations::from_object(&pod.annotations);
            networks.iter().chain(&default_network).for_each(|text| super::annotation(text.as_bytes()));
            answer::pod("team-a", "red", bytes).unwrap_err();
        }
        Err(problem) => assert_told_well(&problem),
    }
    match answer::names(bytes) {
        Ok(names) => assert!(names.iter().collect::<BTreeSet<_>>().len() <= bytes.len()),
        Err(problem) => assert_told_well(&problem),
    }
}
