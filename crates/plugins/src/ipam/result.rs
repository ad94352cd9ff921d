//! What IPAM plugins copy from their configuration into the result: addresses, routes and DNS.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use cni::error::Error;
use cni::family::Family;
use cni::result::{Address, MOST_ROUTES, Route};
use cni::version::Version;

use super::fields::{Fields, invalid};
use crate::facts::{Key, Shape};

/// The keys of a route.
const ROUTE: &[Key] = &[
    Key::open("dst", Shape::Destination),
    Key::open("gw", Shape::Address),
    Key::open("mtu", Shape::Integer(0, i32::MAX as i64)),
    Key::open("advmss", Shape::Integer(0, i32::MAX as i64)),
    Key::open("priority", Shape::Integer(0, i32::MAX as i64)),
    Key::host("table", Shape::Integer(0, u32::MAX as i64)),
    Key::host("scope", Shape::Integer(0, 255)),
];

/// The key that both IPAM plugins read their routes from.
pub(crate) const ROUTES: Key = Key::open("routes", Shape::List(&Shape::Object(ROUTE)));

/// An address that is handed out, with the gateway of its subnet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    /// The address, with the prefix length of its subnet.
    pub(crate) address: IpNetwork,
    /// The gateway of its subnet.
    pub(crate) gateway: Option<IpAddr>,
}

impl Lease {
    /// The entry of the result's `ips`. It names no interface: the caller's plugin makes that.
    pub(crate) fn to_address(self) -> Address {
        let gateway = self.gateway.map(|gateway| gateway.to_string());
        Address { address: self.address.to_string(), gateway, ..Address::default() }
    }
}

/// Makes sure that a result of `version` has room for addresses of these families.
///
/// # Errors
/// Code 7: before 0.3.0 a result has one address of each family.
pub(crate) fn check_families(
    families: impl IntoIterator<Item = Family> + Clone,
    version: Version,
) -> Result<(), Error> {
    let several = Family::ALL
        .into_iter()
        .find(|family| families.clone().into_iter().filter(|it| it == family).count() > 1);
    match several {
        Some(family) if !version.has_interfaces() => Err(invalid(format!(
            "cniVersion {version} has room for one {family} address, and the configuration asks \
             for more: use 0.3.0 or newer"
        ))),
        _ => Ok(()),
    }
}

/// The routes at `routes`.
///
/// # Errors
/// Code 7 for a route without destination, and values of the wrong type.
pub(crate) fn read_routes(ipam: &Fields<'_>) -> Result<Vec<Route>, Error> {
    let routes = ipam.objects("routes")?;
    if routes.len() > MOST_ROUTES {
        return Err(invalid(format!("\"ipam.routes\" must have at most {MOST_ROUTES} entries")));
    }
    routes.iter().map(read_route).collect()
}

fn read_route(route: &Fields<'_>) -> Result<Route, Error> {
    let missing =
        || invalid(format!("\"{}\" is missing: a route has a destination", route.path_of("dst")));
    let dst = route.cidr("dst")?.ok_or_else(missing)?;
    let gw = route.ip("gw")?.map(|gateway| gateway.to_string());
    let mut other = Map::new();
    for key in ["mtu", "advmss", "priority", "table", "scope"] {
        let Some(number) = route.integer(key)? else { continue };
        // Zero is a table and a scope, and no size and no priority of its own.
        if number != 0 || matches!(key, "table" | "scope") {
            other.insert(key.to_owned(), Value::from(number));
        }
    }
    Ok(Route { dst: dst.to_string(), gw, other })
}

/// The lists and the domain of a DNS object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dns {
    pub(crate) nameservers: Vec<String>,
    pub(crate) domain: String,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl Dns {
    /// The object at `dns`.
    ///
    /// # Errors
    /// Code 7 for values of the wrong type.
    pub(crate) fn read(ipam: &Fields<'_>) -> Result<Self, Error> {
        let Some(dns) = ipam.child("dns")? else { return Ok(Self::default()) };
        let texts = |key| -> Result<Vec<String>, Error> {
            Ok(dns.texts(key)?.into_iter().map(|(_, text)| text.to_owned()).collect())
        };
        Ok(Self {
            nameservers: texts("nameservers")?,
            domain: dns.text("domain")?.unwrap_or_default().to_owned(),
            search: texts("search")?,
            options: texts("options")?,
        })
    }

    /// The result's `dns`; none if it would be empty.
    pub(crate) fn to_value(&self) -> Option<Value> {
        let mut object = Map::new();
        let mut put = |key: &str, list: &[String]| {
            if !list.is_empty() {
                object.insert(key.to_owned(), Value::from(list));
            }
        };
        put("nameservers", &self.nameservers);
        put("search", &self.search);
        put("options", &self.options);
        if !self.domain.is_empty() {
            object.insert("domain".to_owned(), Value::from(self.domain.as_str()));
        }
        (!object.is_empty()).then_some(Value::Object(object))
    }
}
