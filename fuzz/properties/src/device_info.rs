//! Device-info files, which device plugins and delegates write.

use braid::internals::device::{DeviceInfoStore, check_resource, parse_device_info};
use serde_json::Value;

use super::{assert_file_name, assert_told_well};

/// Device information reads the same from its own JSON, and shows no control character to an
/// annotation; a network of any name has a file of its own in the store.
pub fn device_info(bytes: &[u8]) {
    match parse_device_info(bytes) {
        Ok(info) => {
            assert_eq!(parse_device_info(info.to_string().as_bytes()).unwrap(), info);
            let kind = info["type"].as_str().unwrap();
            assert!(["pci", "vdpa", "vhost-user", "memif"].contains(&kind));
            assert!(info[kind].is_object() && is_plain(&info["version"]));
            let known = [
                "pci-address",
                "pf-pci-address",
                "vhost-net",
                "path",
                "representor-device",
                "driver",
            ];
            assert!(known.iter().all(|key| is_plain(&info[kind][key])), "{info}");
        }
        Err(error) => assert_told_well(&error),
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = check_resource(&text);
    let store = DeviceInfoStore::new("/devinfo");
    let path = store.path_for(&text, &"c1".parse().unwrap(), &"net1".parse().unwrap());
    assert_eq!(path.parent(), Some("/devinfo/cni".as_ref()));
    assert_file_name(path.file_name().unwrap().to_str().unwrap());
}

/// A text without control characters, or nothing if the type does not know the key.
fn is_plain(value: &Value) -> bool {
    value.as_str().is_none_or(|text| !text.chars().any(char::is_control))
}
