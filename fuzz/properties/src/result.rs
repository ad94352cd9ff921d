//! The result of a plugin, and what becomes of it.

use braid::internals::attach::snapshot::Snapshot;
use braid::internals::verb::network_status::{self, StatusSource};
use cni::result::{AttachmentResult, MOST_INTERFACES, MOST_IPS, MOST_ROUTES, ResultError};
use cni::version::Version;
use serde_json::Value;

use super::assert_told_well;

/// A result is bounded, is written in the layout of every version and read again, and merges with
/// another one without an address that points to an interface of the other's.
pub fn result(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        check_value(&value);
    }
}

/// The same for a result that was read already.
pub(crate) fn check_value(value: &Value) {
    for network in Version::ALL {
        let strict = AttachmentResult::read(value, network);
        let lenient = AttachmentResult::read_lenient(value, network);
        match strict {
            Ok(result) => {
                assert_eq!(lenient.as_ref(), Ok(&result));
                check(&result, AttachmentResult::read);
            }
            Err(error) => assert_told_well(&error),
        }
        if let Ok(result) = lenient {
            check(&result, AttachmentResult::read_lenient);
        }
    }
}

type Read = fn(&Value, Version) -> Result<AttachmentResult, ResultError>;

fn check(result: &AttachmentResult, read: Read) {
    assert!(result.interfaces.len() <= MOST_INTERFACES);
    assert!(result.ips.len() <= MOST_IPS && result.routes.len() <= MOST_ROUTES);
    for version in Version::ALL {
        let written = result.write(version);
        let again = read(&written, version).unwrap();
        assert_eq!(again.write(version), written, "{version} is not stable");
        if version.has_interfaces() {
            let parts = |result: &AttachmentResult| {
                (
                    result.interfaces.clone(),
                    result.ips.clone(),
                    result.routes.clone(),
                    result.dns.clone(),
                )
            };
            assert_eq!(parts(&again), parts(result), "{version} loses something");
        }
    }
    check_merge(result);
    check_status(result);
}

fn check_merge(result: &AttachmentResult) {
    let mut merged = result.clone();
    merged.append(result.clone(), "net1", "/run/netns/pod");
    let (own, extra) = merged.ips.split_at(result.ips.len());
    let (first, all) = (result.interfaces.len(), merged.interfaces.len());
    assert_eq!(merged.interfaces.get(..first), Some(result.interfaces.as_slice()));
    assert!(own.iter().all(|ip| ip.interface.is_none_or(|index| index < first)));
    assert!(extra.iter().all(|ip| ip.interface.is_some_and(|index| (first..all).contains(&index))));
    let added = merged.routes.get(result.routes.len()..).unwrap();
    assert!(added.iter().all(|route| route.default_family().is_none()));
    // Nothing that a runtime would stumble over has come in.
    let is_bounded = all <= MOST_INTERFACES
        && merged.ips.len() <= MOST_IPS
        && merged.routes.len() <= MOST_ROUTES;
    let was_valid = AttachmentResult::read(&result.write(Version::NEWEST), Version::NEWEST).is_ok();
    if is_bounded && was_valid {
        AttachmentResult::read(&merged.write(Version::NEWEST), Version::NEWEST).unwrap();
    }
}

fn check_status(result: &AttachmentResult) {
    let source = StatusSource {
        name: "team-a/blue",
        is_default: true,
        interface: "net1",
        result,
        asked_for_default_route: true,
        device_info: None,
    };
    let written = network_status::annotation(&[source], &Snapshot::default());
    let entries: Vec<Value> = serde_json::from_str(&written).unwrap();
    assert_eq!(entries.iter().filter(|entry| entry["default"] == true).count(), 1, "{written}");
}
