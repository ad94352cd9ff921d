//! A chained call: the configuration with the result of the plugins in front.

use braid::internals::config::Config;
use cni::result::AttachmentResult;
use cni::version::Version;
use serde_json::{Value, json};

use super::assert_told_well;

/// A pod that asks for more gets the result of the plugins in front and what its networks add to
/// it: the former first and unchanged, in the version of the call; plugins of every version are
/// handed it in their own.
pub fn prev_result(bytes: &[u8]) {
    let Ok(config) = Config::parse(bytes) else { return };
    let Some(value) = &config.from_runtime.prev_result else { return };
    let result = match AttachmentResult::read_lenient(value, config.version) {
        Ok(result) => result,
        Err(error) => return assert_told_well(&error),
    };
    for version in Version::ALL {
        let handed = result.write(version);
        assert_eq!(handed["cniVersion"], version.as_str());
        AttachmentResult::read_lenient(&handed, version).unwrap();
    }
    check_merge(&result, config.version);
}

fn check_merge(result: &AttachmentResult, version: Version) {
    let extra = json!({
        "cniVersion": "1.1.0", "interfaces": [{"name": "net1", "sandbox": "/run/netns/pod"}],
        "ips": [{"interface": 0, "address": "10.30.0.2/24"}], "routes": [{"dst": "10.40.0.0/16"}],
    });
    let extra = AttachmentResult::read(&extra, Version::NEWEST).unwrap();
    let mut merged = result.clone();
    merged.append(extra, "net1", "/run/netns/pod");
    // An index past the end would point to an interface of the extra network's.
    let mut result = result.clone();
    let interfaces = result.interfaces.len();
    for ip in &mut result.ips {
        ip.interface = ip.interface.filter(|index| *index < interfaces);
    }
    let (before, after) = (result.write(version), merged.write(version));
    if version.has_interfaces() {
        for list in ["interfaces", "ips", "routes"] {
            let of = |value: &Value| value[list].as_array().cloned().unwrap_or_default();
            assert!(of(&after).starts_with(&of(&before)), "{list}: {before} became {after}");
        }
        assert_eq!(after["dns"], before["dns"]);
    }
    AttachmentResult::read_lenient(&after, version).unwrap();
}
