//! The keys of plugins' configurations: their JSON types, and what their values mean.

/// A key that a plugin reads.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, as the plugin's documentation has it.
    pub name: &'static str,
    /// What its value must be, and what it means.
    pub shape: Shape,
    /// How far it reaches.
    pub reach: Reach,
}

/// How far a key reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// It shapes the attachment itself.
    Attachment,
    /// It reaches for the node: files, credentials, sockets, masquerading, promiscuous bridges,
    /// interfaces of other namespaces.
    Host,
}

/// What a key's value must be, and what it means.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Nothing is known of it.
    Any,
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number, both ends included.
    Integer(i64, i64),
    /// The ID of a VLAN, 0 to 4094.
    Vlan,
    /// VLANs of a trunk: objects with `id`, or `minID` and `maxID`.
    VlanTrunk(&'static [Key]),
    /// An MTU.
    Mtu,
    /// The name of an interface of the host.
    HostInterface,
    /// One of these words.
    Word {
        /// All of them; the empty text stands for the default.
        words: &'static [&'static str],
        /// Those that take a shared interface for one attachment alone.
        exclusive: &'static [&'static str],
    },
    /// An IP address.
    Address,
    /// An IP address with its prefix length.
    Interface,
    /// A destination: a network with its prefix length.
    Destination,
    /// A network whose addresses are given out, without host bits.
    Subnet,
    /// Addresses, a network or a range, in the plugin's own notation.
    Addresses,
    /// Kernel parameters: an object of texts.
    Sysctls,
    /// An object with these keys, and others.
    Object(&'static [Key]),
    /// A list.
    List(&'static Shape),
    /// A list of ranges of addresses to give out, as host-local has them.
    Ranges(&'static [Key]),
}

impl Key {
    /// A key that shapes the attachment itself.
    pub(crate) const fn open(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, reach: Reach::Attachment }
    }

    /// A key that reaches for the node.
    pub(crate) const fn host(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, reach: Reach::Host }
    }
}

impl Shape {
    /// The keys of the objects in it.
    fn keys(self) -> &'static [Key] {
        match self {
            Self::Object(keys) | Self::VlanTrunk(keys) | Self::Ranges(keys) => keys,
            Self::List(item) => item.keys(),
            _ => &[],
        }
    }

    /// Whether the value is addresses, in a notation of any kind.
    pub const fn is_address(self) -> bool {
        matches!(
            self,
            Self::Address | Self::Interface | Self::Destination | Self::Subnet | Self::Addresses
        ) || matches!(self, Self::List(Self::Addresses))
    }
}

/// The key of this name, at any depth.
pub(super) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    let here = keys.iter().find(|key| key.name == name);
    here.or_else(|| keys.iter().find_map(|key| find(key.shape.keys(), name)))
}
