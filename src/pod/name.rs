//! Names that Kubernetes and the kernel check: a name that exists is a valid name, and safe in a
//! path.
//!
//! The CNI names (container ID, network name) have rules of their own and are not here.

use std::fmt;
use std::str::FromStr;

use cni::checked_text;
use cni::quoted::Quoted;

/// Longest DNS-1123 label, in bytes.
const MAX_LABEL: usize = 63;
/// Longest DNS-1123 subdomain, in bytes.
const MAX_SUBDOMAIN: usize = 253;

/// What a name must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameRule {
    /// Namespaces (RFC 1123, section 2.1).
    #[error(
        "must be a DNS-1123 label: 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"
    )]
    Label,
    /// Object names (RFC 1123, section 2.1).
    #[error(
        "must be a DNS-1123 subdomain: at most 253 characters, \
         labels of a-z, 0-9 and '-' with a letter or digit at both ends, joined by '.'"
    )]
    Subdomain,
}

checked_text!(
    /// A Kubernetes namespace: a DNS-1123 label of at most 63 bytes.
    Namespace,
    InvalidNamespace,
    "namespace",
    NameRule,
    check_label
);

checked_text!(
    /// The name of a NetworkAttachmentDefinition: a DNS-1123 subdomain of at most 253 bytes, its
    /// labels of any length. It holds no `/` and is never `.` or `..`.
    DefinitionName,
    InvalidDefinitionName,
    "network definition",
    NameRule,
    check_subdomain
);

checked_text!(
    /// The name of an object of the Kubernetes API: a DNS-1123 subdomain of at most 253 bytes.
    ObjectName,
    InvalidObjectName,
    "object",
    NameRule,
    check_subdomain
);

/// An object of the Kubernetes API, as `namespace/name`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamespacedName {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name there.
    pub name: ObjectName,
}

/// A text that is no `namespace/name`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidNamespacedName {
    /// There is no slash in it.
    #[error("{0} is not NAMESPACE/NAME")]
    NoSlash(Quoted),
    /// What stands before the slash.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// What stands after it.
    #[error(transparent)]
    Name(#[from] InvalidObjectName),
}

impl FromStr for NamespacedName {
    type Err = InvalidNamespacedName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let (namespace, name) =
            parts.ok_or_else(|| InvalidNamespacedName::NoSlash(Quoted::text(text)))?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn check_label(text: &str) -> Result<(), NameRule> {
    if text.len() <= MAX_LABEL && is_label(text) { Ok(()) } else { Err(NameRule::Label) }
}

/// Checks a DNS-1123 subdomain: Kubernetes' rule for most object names.
///
/// # Errors
/// [`NameRule::Subdomain`] if `text` is none.
pub fn check_subdomain(text: &str) -> Result<(), NameRule> {
    let valid = text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label);
    if valid { Ok(()) } else { Err(NameRule::Subdomain) }
}

/// A label of any length: Kubernetes bounds the whole of an object's name, and not its parts.
fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn namespaces_are_labels() {
        for text in ["a", "0", "kube-system", "a--b", &"a".repeat(63)] {
            assert_eq!(text.parse::<Namespace>().unwrap().as_str(), text);
        }
        for text in
            ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "ä", " a", "a\n", ".", &"a".repeat(64)]
        {
            assert_eq!(text.parse::<Namespace>().unwrap_err().rule, NameRule::Label, "{text:?}");
        }
    }

    #[test]
    fn definitions_are_subdomains() {
        let longest = [("a", 63), ("b", 63), ("c", 63), ("d", 61)]
            .map(|(label, times)| label.repeat(times))
            .join(".");
        assert_eq!(longest.len(), 253);
        let long_label = "a".repeat(253);
        for text in ["a", "net-a", "a.b-c.0", &longest, &long_label] {
            assert_eq!(text.parse::<DefinitionName>().unwrap().as_str(), text);
        }
        let too_long = format!("{longest}d");
        for text in
            ["", ".", "..", "a.", ".a", "a..b", "a.-b", "a-.b", "A", "a/b", "a b", &too_long]
        {
            assert_eq!(
                text.parse::<DefinitionName>().unwrap_err().rule,
                NameRule::Subdomain,
                "{text:?}"
            );
        }
    }

    #[test]
    fn objects_have_a_namespace_and_a_name() {
        let name: NamespacedName = "kube-system/braid.x".parse().unwrap();
        assert_eq!(
            (name.namespace.as_str(), name.to_string().as_str()),
            ("kube-system", "kube-system/braid.x")
        );
        let error = |text: &str| text.parse::<NamespacedName>().unwrap_err().to_string();
        assert_eq!(error("braid"), "\"braid\" is not NAMESPACE/NAME");
        assert!(error("a.b/c").starts_with("namespace \"a.b\": must be"), "{}", error("a.b/c"));
        for text in ["a/../b", "a/b/c", "a/", "a/."] {
            assert!(error(text).starts_with("object "), "{text}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_rule() {
        assert_eq!(
            "Blue\n".parse::<Namespace>().unwrap_err().to_string(),
            "namespace \"Blue\\n\": must be a DNS-1123 label: 1 to 63 of a-z, 0-9 and '-', \
             with a letter or digit at both ends"
        );
        assert!(
            "a_".parse::<DefinitionName>()
                .unwrap_err()
                .to_string()
                .starts_with("network definition \"a_\"")
        );
    }

    #[test]
    fn serde_checks_on_the_way_in() {
        let name: DefinitionName = serde_json::from_str("\"net-a\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"net-a\"");
        assert!(serde_json::from_str::<Namespace>("\"a.b\"").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_safe_in_a_path(text in "\\PC{0,20}|[a-z0-9./-]{0,300}") {
            if let Ok(name) = text.parse::<DefinitionName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains('/') && !text.contains("..") && text != ".");
            }
        }
    }
}
