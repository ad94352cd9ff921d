//! The configuration of sbr.

use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::plugin::Call;
use linux::family::Family;

use crate::link::config::{Keys, invalid, wrong_type};

/// What a network asks for.
#[derive(Debug, Default)]
pub(super) struct SbrConfig {
    /// A table that another fills: rules to it are added, and no routes.
    pub(super) table: Option<u32>,
    /// Next routers in place of those of the addresses, one of a family at most.
    gateways: Vec<IpAddr>,
    /// Whether the subnets keep a route in the main table, which names the address.
    pub(super) keeps_subnets: bool,
}

impl SbrConfig {
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &super::FACTS);
        let table = keys.number("table", u32::MAX.into())?;
        Ok(Self {
            table: table.and_then(|table| u32::try_from(table).ok()),
            gateways: read_gateways(keys)?,
            keeps_subnets: keys.switch("addSourceHints")?,
        })
    }

    /// The configured gateway of a family.
    pub(super) fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways.iter().find(|gateway| Family::of(**gateway) == family).copied()
    }
}

fn read_gateways(keys: Keys<'_>) -> Result<Vec<IpAddr>, Error> {
    const EXPECTED: &str = "a list of one IPv4 and one IPv6 address at most";
    let Some(value) = keys.value("gateways") else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| wrong_type("gateways", EXPECTED, value))?;
    let mut gateways: Vec<IpAddr> = Vec::new();
    for entry in list {
        let text = entry.as_str().ok_or_else(|| wrong_type("gateways", EXPECTED, value))?;
        let gateway: IpAddr =
            text.parse().map_err(|_| invalid("gateways", "a list of IP addresses", text))?;
        let gateway = gateway.to_canonical();
        if gateways.iter().any(|other| Family::of(*other) == Family::of(gateway)) {
            let family = Family::of(gateway);
            let problem = format!("\"gateways\" must be {EXPECTED}: it has two of {family}");
            return Err(Error::new(Code::CONFIG, problem));
        }
        gateways.push(gateway);
    }
    Ok(gateways)
}
