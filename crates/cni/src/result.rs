//! The result of an ADD: one shape in memory, read from and written to the layout of every version.
//!
//! What is held is a superset of CNI 1.1.0, section 5, "ADD Success": keys that no specification
//! names are kept where they were found, and addresses stay the text that the plugin wrote. Asking
//! the kernel whether a result is true does not belong here, nor does deciding which attachment has
//! the default route.
//!
//! Three layouts exist: `ip4` and `ip6` (0.1.0, 0.2.0); `interfaces`, `ips` and `routes` with a
//! `version` in each of `ips` (0.3.0 to 0.4.0); the same without it (from 1.0.0).

mod address;
mod error;
mod interface;
mod layout;
mod node;
mod route;

use std::net::IpAddr;

use serde_json::{Map, Value};

pub use self::address::Address;
pub use self::error::ResultError;
pub use self::interface::Interface;
pub use self::route::Route;

use self::error::excerpt;
use self::layout::{put_list, put_other, put_text};
use self::node::{Node, Rigour, check_count, parse_ip};
use super::version::Version;
use crate::family::Family;

const LIST_KEYS: &[&str] = &["cniVersion", "interfaces", "ips", "routes", "dns"];
const FAMILY_KEYS: &[&str] = &["cniVersion", "ip4", "ip6", "dns"];

/// The key of the family's object in 0.1.0 and 0.2.0.
const fn family_key(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    }
}

/// The most `interfaces` that a result may list.
pub const MOST_INTERFACES: usize = 256;
/// The most `ips` that a result may list.
pub const MOST_IPS: usize = 1024;
/// The most `routes` that a result may list.
pub const MOST_ROUTES: usize = 4096;

/// The result of an ADD (CNI 1.1.0, section 5, "ADD Success"). Its version is chosen on writing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttachmentResult {
    /// The interfaces that the attachment made, on the host and in the sandbox. `ips` point into
    /// this list.
    pub interfaces: Vec<Interface>,
    /// The addresses of the attachment.
    pub ips: Vec<Address>,
    /// The routes of the attachment.
    pub routes: Vec<Route>,
    /// The `dns` object, as it was written.
    pub dns: Option<Value>,
    /// Keys of the result that its version does not have.
    pub other: Map<String, Value>,
}

impl AttachmentResult {
    /// Reads a plugin's result in the layout of its own `cniVersion`, or of `network`, the version
    /// of the network's configuration, if it has none (libcni's rule).
    ///
    /// # Errors
    /// [`ResultError`] for wrong types, an unknown version, addresses, gateways and destinations
    /// that do not parse or are missing, indices past the end and lists that are too long.
    pub fn read(value: &Value, network: Version) -> Result<Self, ResultError> {
        let result = Self::read_as(value, network, Rigour::Strict)?;
        result.check_indices()?;
        Ok(result)
    }

    /// Reads a result that must not fail for what does no harm, such as a primary's `prevResult`:
    /// texts that do not parse and indices past the end are kept, and integers out of range (an
    /// `mtu` of -1) count as absent.
    ///
    /// # Errors
    /// [`ResultError`] for wrong types, an unknown version and lists that are too long.
    pub fn read_lenient(value: &Value, network: Version) -> Result<Self, ResultError> {
        Self::read_as(value, network, Rigour::Lenient)
    }

    /// The result in the layout of `version`, with its `cniVersion`.
    ///
    /// From 0.3.0 nothing is lost: newer keys are written to older layouts, whose decoders ignore
    /// them. 0.1.0 and 0.2.0 have room for one address of each family, the first that belongs to
    /// the attachment or else the first at all, with the routes of that family.
    pub fn write(&self, version: Version) -> Value {
        let mut object = Map::new();
        put_text(&mut object, "cniVersion", Some(version.as_str()));
        let known = if version.has_interfaces() {
            self.write_lists(&mut object, version);
            LIST_KEYS
        } else {
            self.write_families(&mut object);
            FAMILY_KEYS
        };
        object.extend(self.dns.clone().map(|dns| ("dns".to_owned(), dns)));
        put_other(&mut object, &self.other, known);
        Value::Object(object)
    }

    /// The interfaces inside the sandbox, with their index.
    pub fn sandbox_interfaces(&self) -> impl Iterator<Item = (usize, &Interface)> {
        self.interfaces.iter().enumerate().filter(|(_, interface)| interface.is_in_sandbox())
    }

    /// The addresses of the sandbox: those whose index names an interface in it, and those without
    /// an index.
    pub fn attachment_addresses(&self) -> impl Iterator<Item = &Address> {
        self.ips.iter().filter(|address| match address.interface {
            None => true,
            Some(index) => self.interfaces.get(index).is_some_and(Interface::is_in_sandbox),
        })
    }

    /// Makes sure that no address of this result, that of an attachment on `own`, is on an
    /// interface of another attachment: `owner` tells whose one of that name is, in words.
    ///
    /// # Errors
    /// [`ResultError::NotItsInterface`].
    pub fn reject_foreign_interfaces(
        &self,
        own: &str,
        owner: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ResultError> {
        for (at, address) in self.ips.iter().enumerate() {
            let index = address.interface.or_else(|| self.home(own));
            let interface = index.and_then(|index| self.interfaces.get(index));
            let taken =
                interface.and_then(|interface| Some((&interface.name, owner(&interface.name)?)));
            if let Some((interface, owner)) = taken {
                return Err(ResultError::NotItsInterface {
                    path: format!("ips[{at}]"),
                    address: excerpt(&address.address),
                    interface: excerpt(interface),
                    owner,
                });
            }
        }
        Ok(())
    }

    /// Appends the interfaces, addresses and routes of another attachment, of the interface
    /// `interface` in the namespace at `sandbox`. What is here stays first; `dns` and unknown keys
    /// of `extra` go.
    ///
    /// Every appended address gets an index, because a runtime takes one without for the pod's:
    /// if it has none, that of the sandbox interface called `interface`, else of the first one
    /// of `extra`, or of one made for the purpose. Default routes of `extra` are left out: the
    /// mover of the default route writes it, with [`Self::replace_default_routes`].
    pub fn append(&mut self, mut extra: Self, interface: &str, sandbox: &str) {
        self.clear_dangling_indices();
        extra.index_every_address(interface, sandbox);
        let offset = self.interfaces.len();
        self.interfaces.extend(extra.interfaces);
        self.ips.extend(extra.ips.into_iter().map(|address| address.shifted(offset)));
        self.routes
            .extend(extra.routes.into_iter().filter(|route| route.default_family().is_none()));
    }

    /// The next hops of the family's default routes: the one that the route names (`gw`), or else
    /// the first gateway of the family among `ips` (CNI 1.1.0, section 5: `routes[].gw`); `None` if
    /// neither is there, or the route names the unspecified address: it is on the link. Empty
    /// without a default route.
    pub fn default_hops(&self, family: Family) -> Vec<Option<IpAddr>> {
        let fallback = self.gateways(family).next();
        let hop = |route: &Route| match route.gw.as_deref() {
            None => Some(fallback),
            Some(gw) => parse_ip(gw)
                .map(|gateway| Some(gateway).filter(|gateway| !gateway.is_unspecified())),
        };
        self.routes
            .iter()
            .filter(|route| route.default_family() == Some(family))
            .filter_map(hop)
            .collect()
    }

    /// The gateways of the family among `ips`.
    pub fn gateways(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let gateways =
            self.ips.iter().filter_map(|address| address.gateway.as_deref().and_then(parse_ip));
        gateways.filter(move |gateway| Family::of(*gateway) == family && !gateway.is_unspecified())
    }

    /// Removes the family's default routes and appends one by each of `hops`; `None` is one on the
    /// link.
    pub fn replace_default_routes(&mut self, family: Family, hops: &[Option<IpAddr>]) {
        self.routes.retain(|route| route.default_family() != Some(family));
        self.routes.extend(hops.iter().map(|hop| Route::default_by(family, *hop)));
    }

    fn read_as(value: &Value, network: Version, rigour: Rigour) -> Result<Self, ResultError> {
        let mut node = Node::root(value, rigour)?;
        let mut result = if node.version(network)?.has_interfaces() {
            Self::read_lists(&mut node)?
        } else {
            Self::read_families(&mut node)?
        };
        result.dns = node.object("dns")?.map(|dns| Value::Object(dns.map));
        result.other = node.map;
        Ok(result)
    }

    fn read_lists(node: &mut Node) -> Result<Self, ResultError> {
        Ok(Self {
            interfaces: node.list("interfaces", MOST_INTERFACES, Interface::read)?,
            ips: node.list("ips", MOST_IPS, Address::read)?,
            routes: node.list("routes", MOST_ROUTES, Route::read)?,
            ..Self::default()
        })
    }

    fn read_families(node: &mut Node) -> Result<Self, ResultError> {
        let mut result = Self::default();
        for family in Family::ALL {
            if let Some(object) = node.object(family_key(family))? {
                result.read_family(object)?;
            }
        }
        check_count("routes", result.routes.len(), MOST_ROUTES)?;
        Ok(result)
    }

    fn read_family(&mut self, mut node: Node) -> Result<(), ResultError> {
        let (address, gateway) = (node.cidr("ip")?, node.ip("gateway")?);
        self.routes.extend(node.list("routes", MOST_ROUTES, Route::read)?);
        self.ips.push(Address { address, gateway, interface: None, other: node.map });
        Ok(())
    }

    fn check_indices(&self) -> Result<(), ResultError> {
        let interfaces = self.interfaces.len();
        let dangling = |(at, address): (usize, &Address)| {
            address.interface.filter(|index| *index >= interfaces).map(|index| (at, index))
        };
        match self.ips.iter().enumerate().find_map(dangling) {
            None => Ok(()),
            Some((at, index)) => {
                Err(ResultError::Index { path: format!("ips[{at}].interface"), index, interfaces })
            }
        }
    }

    fn write_lists(&self, object: &mut Map<String, Value>, version: Version) {
        put_list(object, "interfaces", self.interfaces.iter().map(Interface::write).collect());
        put_list(object, "ips", self.ips.iter().map(|address| address.write(version)).collect());
        put_list(object, "routes", self.routes.iter().map(Route::write).collect());
    }

    fn write_families(&self, object: &mut Map<String, Value>) {
        for family in Family::ALL {
            if let Some(address) = self.first_address(family) {
                object.insert(
                    family_key(family).to_owned(),
                    address.write_family(self.routes_of(family)),
                );
            }
        }
    }

    fn routes_of(&self, family: Family) -> Vec<Value> {
        self.routes
            .iter()
            .filter(|route| route.family() == Some(family))
            .map(Route::write)
            .collect()
    }

    fn first_address(&self, family: Family) -> Option<&Address> {
        self.attachment_addresses()
            .chain(&self.ips)
            .find(|address| address.family() == Some(family))
    }

    /// An index past the end would name an interface of the next attachment once that is appended.
    fn clear_dangling_indices(&mut self) {
        let interfaces = self.interfaces.len();
        for address in &mut self.ips {
            address.interface = address.interface.filter(|index| *index < interfaces);
        }
    }

    fn index_every_address(&mut self, interface: &str, sandbox: &str) {
        self.clear_dangling_indices();
        if self.ips.iter().all(|address| address.interface.is_some()) {
            return;
        }
        let index = self.sandbox_index(interface, sandbox);
        for address in &mut self.ips {
            address.interface = address.interface.or(Some(index));
        }
    }

    /// The index of the interface that addresses without one are on, which is made if there is
    /// none.
    fn sandbox_index(&mut self, interface: &str, sandbox: &str) -> usize {
        self.home(interface).unwrap_or_else(|| {
            self.interfaces.push(Interface::in_sandbox(interface, sandbox));
            self.interfaces.len().saturating_sub(1)
        })
    }

    /// Where addresses without an index are: on the sandbox interface called `own`, else on the
    /// first one.
    fn home(&self, own: &str) -> Option<usize> {
        let named = self.sandbox_interfaces().find(|(_, interface)| interface.name == own);
        named.or_else(|| self.sandbox_interfaces().next()).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
