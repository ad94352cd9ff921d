//! The kubelet's answer, in protobuf: which devices a pod has.

use std::collections::BTreeSet;

use braid::internals::device::{Allocation, check_resource};
use braid::internals::pod::name::Namespace;

use super::assert_told_well;

/// A device is given once, whatever resources it is found under and however often it is listed;
/// what is not there is refused in a sentence.
pub fn pod_resources(bytes: &[u8]) {
    let namespace: Namespace = "team-a".parse().unwrap();
    let mut allocation = match Allocation::in_list(bytes, &namespace, "web") {
        Ok(allocation) => allocation,
        Err(error) => return assert_told_well(&error),
    };
    let resources: BTreeSet<String> =
        allocation.resources().iter().map(ToString::to_string).collect();
    for resource in &resources {
        let mut given = Vec::new();
        let refused = loop {
            match allocation.take(resource) {
                Ok(device) => given.push(device),
                Err(error) => break error,
            }
            assert!(given.len() <= bytes.len(), "more devices than the answer has room for");
        };
        assert_told_well(&refused);
        assert!(given.is_empty() || check_resource(resource).is_ok(), "{resource:?}");
        for device in &given {
            assert_told_well(&allocation.take_specific(resource, device).unwrap_err());
        }
    }
    assert_told_well(&allocation.take("example.com/absent-from-all").unwrap_err());
}
