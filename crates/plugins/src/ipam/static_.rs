//! The IPAM plugin `static`: the addresses that the configuration or the pod names, and no state.

use ipnetwork::IpNetwork;

use cni::error::{Code, Error};
use cni::family::Family;
use cni::plugin::{Call, Context, Plugin};
use cni::result::{AttachmentResult, MOST_IPS, Route};

use super::arguments;
use super::fields::{Fields, invalid, parse_cidr, parse_ip};
use super::result::{Dns, Lease, ROUTES, check_families, read_routes};
use crate::BuiltIn;
use crate::facts::{Facts, HostState, Key, Property, Shape};

/// The IPAM plugin `static`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Static;

const ARGUMENTS: &[&str] = &["IP", "GATEWAY"];

struct Config {
    addresses: Vec<Lease>,
    routes: Vec<Route>,
    dns: Dns,
}

/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::OpenToTenants, Property::GivesAnyAddress],
    keys: &[Key::open("addresses", Shape::List(&Shape::Object(STATIC_ADDRESS))), ROUTES],
    host_state: HostState::None,
    failures: &[(
        "in cidr notation",
        "write the address with its prefix length, as in \"10.0.0.5/24\", in \"ips\" of the \
         annotation or in the definition",
    )],
    ..Facts::ipam("static")
};

const STATIC_ADDRESS: &[Key] = &[
    Key::open("address", Shape::Interface),
    Key::open("gateway", Shape::Address),
    Key::open("version", Shape::Text),
];

impl BuiltIn for Static {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Static {
    fn add(&self, call: &Call, _: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = Config::read(call)?;
        Ok(AttachmentResult {
            ips: config.addresses.into_iter().map(Lease::to_address).collect(),
            routes: config.routes,
            dns: config.dns.to_value(),
            ..AttachmentResult::default()
        })
    }

    /// Nothing is held, so nothing can be left, whatever the configuration has become.
    fn del(&self, _: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        let missing =
            || invalid("\"prevResult\" is missing: CHECK compares with the result of ADD");
        let result = call.prev_result()?.ok_or_else(missing)?;
        config.addresses.iter().try_for_each(|lease| check_gateway(lease, &result))
    }

    fn status(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Config::read(call).map(drop)
    }
}

/// Makes sure that the address, if the result has it, has its gateway there. An address that the
/// result lacks may have come from a capability that CHECK is not given.
fn check_gateway(lease: &Lease, result: &AttachmentResult) -> Result<(), Error> {
    let Some(gateway) = lease.gateway else { return Ok(()) };
    let same = |text: &str| text.parse::<IpNetwork>().is_ok_and(|it| it.ip() == lease.address.ip());
    let has =
        |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok()) == Some(gateway);
    match result.ips.iter().find(|ip| same(&ip.address)) {
        Some(ip) if !has(&ip.gateway) => {
            let problem = format!(
                "address {} has not the gateway {gateway} in the result of ADD",
                lease.address
            );
            Err(Error::new(Code::DRIFT, problem))
        }
        _ => Ok(()),
    }
}

impl Config {
    fn read(call: &Call) -> Result<Self, Error> {
        let root = Fields::root(call.object());
        let ipam = root.child("ipam")?.ok_or_else(|| invalid("\"ipam\" is missing"))?;
        ipam.warn_of_unknown(&FACTS, &["dns"]);
        let addresses = read_addresses(call, &root, &ipam)?;
        if addresses.len() > MOST_IPS {
            return Err(invalid(format!("more than {MOST_IPS} addresses are asked for")));
        }
        check_families(addresses.iter().map(|lease| Family::of(lease.address.ip())), call.version)?;
        Ok(Self { addresses, routes: read_routes(&ipam)?, dns: Dns::read(&ipam)? })
    }
}

/// The addresses of the capability `ips`, or else those of `args.cni.ips`, or else those of the
/// configuration and of `CNI_ARGS` together.
fn read_addresses(call: &Call, root: &Fields<'_>, ipam: &Fields<'_>) -> Result<Vec<Lease>, Error> {
    let mut configured: Vec<Lease> =
        ipam.objects("addresses")?.iter().map(read_address).collect::<Result<_, _>>()?;
    configured.extend(read_arguments(call)?);
    let cni_args = root.child("args")?.map(|args| args.child("cni")).transpose()?.flatten();
    let runtime_config = root.child("runtimeConfig")?;
    let mut chosen = configured;
    for source in [cni_args, runtime_config].iter().flatten() {
        let ips = source.texts("ips")?;
        if !ips.is_empty() {
            chosen = ips.iter().map(|(path, text)| lease(text, path)).collect::<Result<_, _>>()?;
        }
    }
    Ok(chosen)
}

fn lease(text: &str, path: &str) -> Result<Lease, Error> {
    Ok(Lease { address: parse_cidr(text, path)?, gateway: None })
}

fn read_address(entry: &Fields<'_>) -> Result<Lease, Error> {
    let missing = || invalid(format!("\"{}\" is missing", entry.path_of("address")));
    let address = entry.cidr("address")?.ok_or_else(missing)?;
    Ok(Lease { address, gateway: entry.ip("gateway")? })
}

/// The addresses of `CNI_ARGS`, each with the gateway among them that lies in its subnet.
fn read_arguments(call: &Call) -> Result<Vec<Lease>, Error> {
    arguments::check(call, ARGUMENTS)?;
    let items =
        |key| arguments::get(call, key).filter(|text| !text.is_empty()).map(|text| text.split(','));
    let ips = items("IP").into_iter().flatten();
    let mut leases: Vec<Lease> =
        ips.map(|item| lease(item.trim(), "CNI_ARGS: IP")).collect::<Result<_, _>>()?;
    for item in items("GATEWAY").into_iter().flatten() {
        let gateway = parse_ip(item.trim(), "CNI_ARGS: GATEWAY")?;
        for lease in leases.iter_mut().filter(|lease| lease.address.contains(gateway)) {
            lease.gateway = Some(gateway);
        }
    }
    Ok(leases)
}

#[cfg(test)]
mod tests;
