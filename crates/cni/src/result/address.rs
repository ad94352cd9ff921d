//! The addresses of a result.

use serde_json::{Map, Value};

use super::error::ResultError;
use super::layout::{put_list, put_other, put_text};
use super::node::Node;
use crate::family::Family;
use crate::version::Version;

pub(super) const ADDRESS_KEYS: &[&str] = &["version", "address", "gateway", "interface"];
pub(super) const FAMILY_ADDRESS_KEYS: &[&str] = &["ip", "gateway", "routes"];

/// `ips[].version`, as 0.3.0 to 0.4.0 have it.
const fn digit(family: Family) -> &'static str {
    match family {
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

/// One of a result's `ips`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// The address in CIDR notation, as it was written. After
    /// [`super::AttachmentResult::read_lenient`] any text, and empty if there was none.
    pub address: String,
    /// The gateway of the subnet, as it was written.
    pub gateway: Option<String>,
    /// The index into [`super::AttachmentResult::interfaces`]. After
    /// [`super::AttachmentResult::read_lenient`] it may point past the end: use `get`.
    pub interface: Option<usize>,
    /// Keys that the specification does not have.
    pub other: Map<String, Value>,
}

impl Address {
    /// The family of the address; `None` if the text is no address.
    pub fn family(&self) -> Option<Family> {
        Family::of_text(&self.address)
    }

    pub(super) fn shifted(self, offset: usize) -> Self {
        Self { interface: self.interface.map(|index| index.saturating_add(offset)), ..self }
    }

    pub(super) fn read(mut node: Node) -> Result<Self, ResultError> {
        node.take("version");
        Ok(Self {
            address: node.cidr("address")?,
            gateway: node.ip("gateway")?,
            interface: node.index("interface")?,
            other: node.map,
        })
    }

    pub(super) fn write(&self, version: Version) -> Value {
        let mut object = Map::new();
        let digit = self.family().filter(|_| version.has_ip_family()).map(digit);
        put_text(&mut object, "version", digit);
        put_text(&mut object, "address", Some(&self.address));
        put_text(&mut object, "gateway", self.gateway.as_deref());
        object.extend(self.interface.map(|index| ("interface".to_owned(), index.into())));
        put_other(&mut object, &self.other, ADDRESS_KEYS);
        Value::Object(object)
    }

    /// As `ip4` or `ip6` of 0.1.0 and 0.2.0.
    pub(super) fn write_family(&self, routes: Vec<Value>) -> Value {
        let mut object = Map::new();
        put_text(&mut object, "ip", Some(&self.address));
        put_text(&mut object, "gateway", self.gateway.as_deref());
        put_list(&mut object, "routes", routes);
        put_other(&mut object, &self.other, FAMILY_ADDRESS_KEYS);
        Value::Object(object)
    }
}
