//! The interfaces of a result.

use serde_json::{Map, Value};

use super::error::ResultError;
use super::layout::{put_other, put_text};
use super::node::Node;

pub(super) const INTERFACE_KEYS: &[&str] =
    &["name", "mac", "mtu", "sandbox", "socketPath", "pciID"];

/// One of a result's `interfaces`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// The interface's name; empty if the plugin gave none.
    pub name: String,
    /// The hardware address.
    pub mac: Option<String>,
    /// The MTU in bytes, never 0.
    pub mtu: Option<u64>,
    /// The network namespace's path; `None` on the host.
    pub sandbox: Option<String>,
    /// The absolute path of the interface's socket (vhost-user).
    pub socket_path: Option<String>,
    /// The PCI device's identifier.
    pub pci_id: Option<String>,
    /// Keys that the specification does not have.
    pub other: Map<String, Value>,
}

impl Interface {
    /// Whether the interface is inside a sandbox, not on the host.
    pub fn is_in_sandbox(&self) -> bool {
        self.sandbox.as_deref().is_some_and(|sandbox| !sandbox.is_empty())
    }

    pub(super) fn in_sandbox(name: &str, sandbox: &str) -> Self {
        Self { name: name.to_owned(), sandbox: Some(sandbox.to_owned()), ..Self::default() }
    }

    pub(super) fn read(mut node: Node) -> Result<Self, ResultError> {
        Ok(Self {
            name: node.text("name")?.unwrap_or_default(),
            mac: node.text("mac")?,
            mtu: node.count("mtu")?.filter(|mtu| *mtu != 0),
            sandbox: node.text("sandbox")?,
            socket_path: node.text("socketPath")?,
            pci_id: node.text("pciID")?,
            other: node.map,
        })
    }

    pub(super) fn write(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), self.name.as_str().into());
        put_text(&mut object, "mac", self.mac.as_deref());
        object.extend(self.mtu.map(|mtu| ("mtu".to_owned(), mtu.into())));
        put_text(&mut object, "sandbox", self.sandbox.as_deref());
        put_text(&mut object, "socketPath", self.socket_path.as_deref());
        put_text(&mut object, "pciID", self.pci_id.as_deref());
        put_other(&mut object, &self.other, INTERFACE_KEYS);
        Value::Object(object)
    }
}
