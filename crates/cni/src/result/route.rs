//! The routes of a result.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::error::ResultError;
use super::layout::{put_other, put_text};
use super::node::Node;
use crate::family::Family;
use crate::keys;

pub(super) const ROUTE_KEYS: &[&str] = &["dst", "gw"];

/// One of a result's `routes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The destination in CIDR notation, as it was written. After
    /// [`super::AttachmentResult::read_lenient`] any text, and empty if there was none.
    pub dst: String,
    /// The next hop, as it was written.
    pub gw: Option<String>,
    /// Every other key: `mtu`, `advmss`, `priority`, `table`, `scope` and those that are not
    /// specified.
    pub other: Map<String, Value>,
}

impl Route {
    /// The family of the destination; `None` if the text is no address.
    pub fn family(&self) -> Option<Family> {
        Family::of_text(&self.dst)
    }

    /// The family whose default route this is; `None` for any other route. A route of another table
    /// than the main one is some policy's, and not the way out of the sandbox.
    pub fn default_family(&self) -> Option<Family> {
        Family::is_default(&self.dst).filter(|_| self.is_in_main_table())
    }

    /// The destination without host bits, of a route of the main table; `None` if the text is none.
    pub fn destination(&self) -> Option<IpNetwork> {
        let network: IpNetwork = self.dst.parse().ok().filter(|_| self.is_in_main_table())?;
        IpNetwork::new(network.network(), network.prefix()).ok()
    }

    fn is_in_main_table(&self) -> bool {
        keys::get(&self.other, "table")
            .and_then(Value::as_u64)
            .is_none_or(|table| matches!(table, 0 | 254))
    }

    pub(super) fn default_by(family: Family, hop: Option<IpAddr>) -> Self {
        let gw = hop.map(|gateway| gateway.to_canonical().to_string());
        Self { dst: family.default_destination().to_owned(), gw, other: Map::new() }
    }

    pub(super) fn read(mut node: Node) -> Result<Self, ResultError> {
        Ok(Self { dst: node.cidr("dst")?, gw: node.ip("gw")?, other: node.map })
    }

    pub(super) fn write(&self) -> Value {
        let mut object = Map::new();
        put_text(&mut object, "dst", Some(&self.dst));
        put_text(&mut object, "gw", self.gw.as_deref());
        put_other(&mut object, &self.other, ROUTE_KEYS);
        Value::Object(object)
    }
}
