//! Names of resources and devices, and the file name that they make together.

use crate::pod::name::check_subdomain;
use cni::quoted::Quoted;

/// Longest part after the `/` of a resource's name, in bytes, as Kubernetes has it.
const MAX_NAME: usize = 63;
/// Longest file name, in bytes (`NAME_MAX`).
pub(super) const MAX_FILE_NAME: usize = 255;

/// A name that cannot be one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    /// Not a resource's name.
    #[error(
        "resource {0}: must be a name such as \"vendor.com/pool\": a DNS-1123 subdomain, \"/\", \
         and at most 63 letters, digits, '-', '_' and '.' with a letter or digit at both ends; \
         correct \"k8s.v1.cni.cncf.io/resourceName\" in the definition"
    )]
    Resource(Quoted),
    /// Not a device's ID that a file name can hold.
    #[error("device {0}: must be 1 to 128 visible ASCII characters")]
    Device(Quoted),
    /// Together too long for a file name.
    #[error("resource {0} and device {1}: together too long for the name of a file")]
    TooLong(Quoted, Quoted),
}

/// Checks the name of a resource: `<domain>/<name>` as Kubernetes has it for extended resources, or
/// a DNS-1123 subdomain alone, as drivers and classes of dynamic resource allocation are called.
///
/// # Errors
/// [`InvalidName::Resource`].
pub fn check_resource(text: &str) -> Result<(), InvalidName> {
    let valid = match text.split_once('/') {
        Some((domain, name)) => check_subdomain(domain).is_ok() && is_qualified_part(name),
        None => check_subdomain(text).is_ok(),
    };
    if valid { Ok(()) } else { Err(InvalidName::Resource(Quoted::text(text))) }
}

fn is_qualified_part(text: &str) -> bool {
    let at_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= MAX_NAME
        && text.starts_with(at_end)
        && text.ends_with(at_end)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn check_device(text: &str) -> Result<(), InvalidName> {
    let valid = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(()) } else { Err(InvalidName::Device(Quoted::text(text))) }
}

/// The file in which a device plugin describes a device: `<resource>-<device>-device.json`, with
/// `-` for each `/` (device-info 1.1.0, section 4.1). The specification says so of the resource
/// only; device plugins write through the NPWG's library, which does it in both.
///
/// # Errors
/// [`InvalidName`].
pub(super) fn file_name(resource: &str, device: &str) -> Result<String, InvalidName> {
    check_resource(resource)?;
    check_device(device)?;
    let name = format!("{resource}-{device}-device.json").replace('/', "-");
    if name.len() > MAX_FILE_NAME {
        return Err(InvalidName::TooLong(Quoted::text(resource), Quoted::text(device)));
    }
    Ok(name)
}

/// Whether `text` is a PCI address: `dddd:BB:DD.f`, with a longer domain behind some bridges (VMD).
pub(super) fn is_pci_address(text: &str) -> bool {
    let hex = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts: Vec<_> = text.split([':', '.']).collect();
    match parts.as_slice() {
        [domain, bus, device, function] => {
            hex(domain, 4..=8)
                && hex(bus, 2..=2)
                && hex(device, 2..=2)
                && matches!(function.as_bytes(), [b'0'..=b'7'])
                && text.matches(':').count() == 2
                && text.rfind(':') < text.find('.')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resources_are_called_as_the_kubelet_calls_them() {
        for text in [
            "intel.com/sriov_vf",
            "openshift.io/sriovnic.1",
            "a/b",
            "gpu.nvidia.com",
            "a/B-_.9",
            "cpu",
        ] {
            assert_eq!(check_resource(text), Ok(()), "{text}");
        }
        let long = format!("a/{}", "b".repeat(64));
        for text in [
            "", "/", "a/", "/b", "a/b/c", "a/../b", "../a", "a/..", "A/b", "a/b ", "a/-b", "a/b_",
            "a b", "a/b\n", &long,
        ] {
            assert_eq!(
                check_resource(text),
                Err(InvalidName::Resource(Quoted::text(text))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_file_is_called_as_the_specification_says() {
        let cases = [
            ("intel.com/sriov", "0000:01:02.3", "intel.com-sriov-0000:01:02.3-device.json"),
            ("a.b/c", "/dev/vhost-net", "a.b-c--dev-vhost-net-device.json"),
            ("a/b", "..", "a-b-..-device.json"),
        ];
        for (resource, device, name) in cases {
            assert_eq!(file_name(resource, device).unwrap(), name);
        }
    }

    #[test]
    fn what_no_file_can_be_called_is_refused() {
        for device in ["", " ", "a b", "a\0", "a\n", "ä", &"a".repeat(129)] {
            assert_eq!(
                file_name("a/b", device),
                Err(InvalidName::Device(Quoted::text(device))),
                "{device:?}"
            );
        }
        assert!(matches!(file_name("../b", "d"), Err(InvalidName::Resource(_))));
        let domain = ["a", "b", "c"].map(|label| label.repeat(50)).join(".");
        assert!(matches!(
            file_name(&format!("{domain}/n"), &"d".repeat(128)),
            Err(InvalidName::TooLong(..))
        ));
    }

    #[test]
    fn pci_addresses_are_told_from_other_ids() {
        for text in ["0000:01:02.3", "10000:af:1f.7", "ABCD:00:00.0"] {
            assert!(is_pci_address(text), "{text}");
        }
        for text in [
            "",
            "01:02.3",
            "0000:01:02",
            "0000:01:02.8",
            "0000:01:02:3",
            "0000.01:02:3",
            "000g:01:02.3",
            "0000:01:02.3 ",
        ] {
            assert!(!is_pci_address(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_one_file_of_a_directory(
            resource in "[a-z0-9./_-]{0,40}|\\PC{0,20}",
            device in "[a-z0-9./:-]{0,40}|\\PC{0,20}",
        ) {
            if let Ok(name) = file_name(&resource, &device) {
                prop_assert!(!name.contains('/') && !name.contains('\0') && name.len() <= 255);
                prop_assert_eq!(std::path::Path::new(&name).file_name().unwrap().to_str().unwrap(), &name);
            }
        }
    }
}
