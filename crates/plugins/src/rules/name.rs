//! Names and comments of the reference plugins, made from the network and the container.

use std::fmt::Write;

use ring::digest::{SHA512, digest};

/// The longest name of a chain (iptables' own limit, less one).
const CHAIN_CHARS: usize = 28;

/// The lower-case hexadecimal digits of a text's SHA-512.
pub(crate) fn hash(text: &str) -> String {
    let digest = digest(&SHA512, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(128), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The first `length` digits of it.
pub(crate) fn short_hash(text: &str, length: usize) -> String {
    hash(text).chars().take(length).collect()
}

/// A chain of an attachment: `CNI-`, the prefix, and as much of the hash as fits.
pub(crate) fn chain(prefix: &str, network: &str, container: &str) -> String {
    let name = format!("CNI-{prefix}{}", hash(&format!("{network}{container}")));
    name.chars().take(CHAIN_CHARS).collect()
}

/// The comment of an attachment's rules. Neither name has a character that needs escaping.
pub(crate) fn comment(network: &str, container: &str) -> String {
    format!("name: \"{network}\" id: \"{container}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of the reference plugins 1.9.
    #[test]
    fn names_are_the_reference_s() {
        assert_eq!(chain("", "testnet", "cid1"), "CNI-e1a60f34a56891e16a1a4402");
        assert_eq!(chain("DN-", "testnet", "cid1"), "CNI-DN-e1a60f34a56891e16a1a4");
        assert_eq!(short_hash("testnet", 16), "c5964c6794a1152e");
        assert_eq!(short_hash("eth0:cid1", 16), "0b65a318f52e521b");
        assert_eq!(comment("testnet", "cid1"), "name: \"testnet\" id: \"cid1\"");
    }
}
