//! Why an annotation is refused: which element, which key, which value, which rule.

use std::fmt;

use super::MAX_ANNOTATION_BYTES;
use crate::pod::name::{
    DefinitionName, InvalidDefinitionName, InvalidNamespace, NameRule, Namespace,
};
use cni::name::InvalidInterfaceName;
use cni::quoted::Quoted;

/// A networks annotation that is refused as a whole (NPWG 1.3, section 4.1).
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// Longer than [`MAX_ANNOTATION_BYTES`].
    #[error("the annotation has {bytes} bytes: at most {MAX_ANNOTATION_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// More elements than [`super::Limits::networks`].
    #[error(
        "the annotation asks for more than {limit} networks: ask for fewer, or have maxNetworks \
         raised"
    )]
    TooMany {
        /// The limit that applied.
        limit: usize,
    },
    /// A JSON object where a list belongs.
    #[error("the annotation is a JSON object: must be a list, wrap it in [ ]")]
    SingleObject,
    /// Starts as a JSON list and is none.
    #[error("the annotation is not a JSON list: {0}")]
    Json(#[source] serde_json::Error),
    /// An object says the same key twice; decoders differ in which one they take.
    #[error("element {}: {source}", position.saturating_add(1))]
    KeyTwice {
        /// The element, from 0.
        position: usize,
        /// Which key, and where.
        source: serde_json::Error,
    },
    /// One element breaks a rule.
    #[error(transparent)]
    Element(Box<ElementError>),
}

/// An element of the annotation that breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ElementError {
    /// The element.
    pub element: Element,
    /// Key, value and rule.
    pub refusal: Refusal,
}

impl fmt::Display for ElementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { key, value, rule } = &self.refusal;
        write!(f, "{}", self.element)?;
        if let Some(key) = key {
            write!(f, ": {key}")?;
        }
        match value {
            Some(value) => write!(f, " is {value}: {rule}"),
            None => write!(f, " {rule}"),
        }
    }
}

impl From<ElementError> for SelectionError {
    fn from(error: ElementError) -> Self {
        Self::Element(Box::new(error))
    }
}

/// An element as messages name it: `element 2 (team-a/blue)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Element {
    /// Number of the element, from 0; shown from 1.
    pub position: usize,
    /// What it selects, if that much could be read.
    pub network: Option<(Namespace, DefinitionName)>,
}

impl Element {
    /// This element's error.
    pub(super) fn refuse(self, refusal: Refusal) -> SelectionError {
        ElementError { element: self, refusal }.into()
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "element {}", self.position.saturating_add(1))?;
        match &self.network {
            Some((namespace, name)) => write!(f, " ({namespace}/{name})"),
            None => Ok(()),
        }
    }
}

/// What is wrong inside an element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Path of the key, as in `portMappings[0].hostPort`; `None` if the element itself is wrong.
    pub key: Option<Quoted>,
    /// The value, if there is one to show.
    pub value: Option<Quoted>,
    /// The rule that is broken.
    pub rule: Rule,
}

impl Refusal {
    /// A value of `key` that breaks `rule`.
    pub(super) fn value(key: &str, value: Quoted, rule: impl Into<Rule>) -> Self {
        Self { key: Some(Quoted::text(key)), value: Some(value), rule: rule.into() }
    }

    /// A key that breaks `rule`, whatever its value.
    pub(super) fn key(key: &str, rule: impl Into<Rule>) -> Self {
        Self { key: Some(Quoted::text(key)), value: None, rule: rule.into() }
    }

    /// An element that breaks `rule` as a whole.
    pub(super) fn element(value: Quoted, rule: Rule) -> Self {
        Self { key: None, value: Some(value), rule }
    }
}

/// What must hold in an annotation. Section numbers are those of NPWG 1.3.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rule {
    /// 4.1.1, and Multus's `@interface`.
    #[error("must be [namespace/]name[@interface]")]
    ShortForm,
    /// CNI-Genie's annotation.
    #[error(
        "must be the name of a network of the node, or a plugin's type: letters, digits, '_', '.' \
         and '-'"
    )]
    NodeNetwork,
    /// The type that the key has.
    #[error("must be {0}")]
    Type(&'static str),
    /// A key that cannot be left out.
    #[error("must be given")]
    Required,
    /// A key without anything in it, if leaving it out says the same.
    #[error("must not be empty: leave it out")]
    Empty,
    /// A list or object of the wrong size.
    #[error("must have {least} to {most} entries")]
    Entries {
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// 4.1.2.1: keys without a period are reserved.
    #[error("is not a known key{}", hint(*nearest))]
    UnknownKey {
        /// The known key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key of Multus's own examples, which it reads nowhere.
    #[error(
        "is not a known key: Multus ignored it; leave it out, or move the default route there with \
         \"default-route\""
    )]
    Gateway,
    /// Two spellings of one key.
    #[error("is the same key as {other}: keep one of them")]
    SameKey {
        /// The spelling seen first.
        other: Quoted,
    },
    /// Two keys that exclude each other (4.1.2.1.11).
    #[error("must not be given together with \"{other}\"")]
    Excludes {
        /// The other key.
        other: &'static str,
    },
    /// A key and its alias that disagree.
    #[error("must equal \"{other}\", whose old name it is: keep \"{other}\" alone")]
    AliasDiffers {
        /// The key to keep.
        other: &'static str,
    },
    /// A list entry that repeats another.
    #[error("must differ from {other}")]
    Repeats {
        /// The path of the earlier entry.
        other: Quoted,
    },
    /// 4.1.2.1.9: one element per annotation.
    #[error("must be given once, {other} has it too")]
    DefaultRouteTwice {
        /// The element that has it first.
        other: Element,
    },
    /// 4.1.2.1.5: one interface, one attachment.
    #[error("must differ from the interface of {other}")]
    InterfaceTaken {
        /// The element that asks for it first.
        other: Element,
    },
    /// A name.
    #[error(transparent)]
    Name(#[from] NameRule),
    /// An interface's name.
    #[error(transparent)]
    Interface(#[from] cni::name::NameRule),
    /// 4.1.2.1.3.
    #[error("must be an IPv4 or IPv6 address with an optional prefix length")]
    AddressWithPrefix,
    /// An address alone.
    #[error("must be an IPv4 or IPv6 address")]
    Address,
    /// `::ffff:10.0.0.1`, which Go reads as an IPv4 address and the kernel does not.
    #[error("must not be an IPv4-mapped IPv6 address: write the IPv4 address")]
    MappedAddress,
    /// An address that no interface and no gateway can have.
    #[error("must be an address of one host: not unspecified, loopback, multicast or broadcast")]
    HostAddress,
    /// 4.1.2.1.4.
    #[error("must be a MAC address of 6 bytes, as in \"02:23:45:67:89:01\"")]
    Mac,
    /// The kernel answers EADDRNOTAVAIL.
    #[error("must be a unicast MAC address: its first byte must be even")]
    MacMulticast,
    /// The kernel answers EADDRNOTAVAIL.
    #[error("must not be the all-zero MAC address")]
    MacZero,
    /// 4.1.2.1.10.
    #[error("must be an InfiniBand GUID of 8 bytes, as in \"24:8a:07:03:00:8d:ae:2f\"")]
    Guid,
    /// Arguments that go to a delegate on its standard input.
    #[error("must not be nested deeper than {most} levels")]
    Depth {
        /// The limit.
        most: usize,
    },
    /// 4.1.2.1.7.
    #[error("must be an integer from 1 to 65535")]
    Port,
    /// 4.1.2.1.7.
    #[error("must be \"tcp\", \"udp\" or \"sctp\"")]
    Protocol,
    /// 4.1.2.1.8.
    #[error("must be an integer above 0")]
    Amount,
    /// 4.1.2.1.8: a burst needs its rate.
    #[error("must be given together with \"{rate}\"")]
    BurstWithoutRate {
        /// The missing key.
        rate: &'static str,
    },
    /// 4.1.2.1.8: at least one.
    #[error("must have \"ingressRate\" or \"egressRate\"")]
    NoRate,
    /// Multus's `deviceID`, which becomes part of a path and of `CNI_ARGS`.
    #[error(
        "must be 1 to 128 visible ASCII characters without '/', ';' and '=', and not \".\" or \
         \"..\""
    )]
    DeviceId,
}

fn hint(nearest: Option<&'static str>) -> String {
    nearest.map(|key| format!(": did you mean \"{key}\"?")).unwrap_or_default()
}

macro_rules! name_rules {
    ($($error:ident),*) => {
        $(impl From<$error> for Rule {
            fn from(error: $error) -> Self {
                error.rule.into()
            }
        })*
    };
}

name_rules!(InvalidNamespace, InvalidDefinitionName, InvalidInterfaceName);
