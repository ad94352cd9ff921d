//! ptp: a veth pair whose end on the host is the container's gateway. No bridge: the host routes.

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::{AttachmentResult, Interface};
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{Change, LinkState, NewRoute, Scope};
use linux::sysctl::Sysctl;

use super::check::Reported;
use super::config::Keys;
use super::config::MTU;
use super::container::{self, AnnouncementSettings, Granted, PluginRoutes};
use super::masquerade::{self, Masquerade};
use super::site::{Site, kernel_error, sysctl_error};
use super::veth::{self, Pair};
use super::{lease, status, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, GatewayFact, HostState, Key, Property, Shape};
use crate::rules::Keeper;

/// The plugin `ptp`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ptp;

const KIND: &str = "veth";
/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[MTU, Key::host("ipMasq", Shape::Boolean), Key::host("ipMasqBackend", Shape::Text)],
    device: DeviceFact::None,
    gateway: GatewayFact::RoutePerPod,
    deletes: Some("veth"),
    host_state: HostState::Rules(&[(Some("ipMasq"), Keeper::Masquerade)]),
    ..Facts::chain("ptp")
};

impl BuiltIn for Ptp {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Ptp {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        let masquerade = Masquerade::read(keys)?;
        let (mtu, dns, ipam) = (keys.size("mtu")?, keys.dns()?, lease::required(call)?);
        let mut site = Site::open(call)?;
        context.proceed()?;
        let pair = Pair::make(&mut site, mtu, None, &veth::Port::default())?;
        let outcome = lease::with_lease(&ipam, call, context, |context, granted| {
            let result = connect(context, &mut site, &pair, granted)?;
            if let Some(masquerade) = masquerade {
                masquerade.add(call, context, &masquerade::addresses(&result.ips)?)?;
            }
            Ok(result)
        });
        match outcome {
            Ok(result) => Ok(AttachmentResult { dns: dns.or(result.dns.clone()), ..result }),
            Err(error) => {
                if masquerade.is_some() {
                    masquerade::undo(call);
                }
                site.delete_on_host(&pair.host.name);
                Err(error)
            }
        }
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let keys = Keys::of(call, &FACTS);
        teardown::del_with_rules(call, context, KIND, |context| {
            masquerade::del(keys, call, context)
        })
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let masquerade = Masquerade::read(Keys::of(call, &FACTS))?;
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        reported.compare(&mut Site::open(call)?, KIND)?;
        match masquerade {
            Some(masquerade) => {
                masquerade.check(call, context, &masquerade::addresses(&reported.own_ips())?)
            }
            None => Ok(()),
        }
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let masquerade = Masquerade::read(Keys::of(call, &FACTS))?;
        status::check_kind(KIND)?;
        if let Some(masquerade) = masquerade {
            masquerade.status(call, context)?;
        }
        lease::forward(Command::Status, call, context)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let removed = masquerade::gc(call, context);
        removed.and(lease::collect(call, context))
    }
}

/// Configures both ends with what IPAM grants.
fn connect(
    context: &Context<'_>,
    site: &mut Site<'_>,
    pair: &Pair,
    mut granted: AttachmentResult,
) -> Result<AttachmentResult, Error> {
    context.proceed()?;
    let addresses = granted.ips.iter().map(Granted::read).collect::<Result<Vec<_>, _>>()?;
    let mut own_routes = PluginRoutes::default();
    for address in &addresses {
        route_by_gateway(&pair.container, *address, &mut own_routes)?;
    }
    for family in Family::ALL {
        if addresses.iter().any(|granted| Family::of(granted.address.ip()) == family) {
            Sysctl::forwarding(family).ensure("1").map_err(sysctl_error)?;
        }
    }
    connect_host(site, &pair.host, &addresses)?;
    granted.ips.iter_mut().for_each(|address| address.interface = Some(1));
    container::configure(
        site,
        &pair.container,
        &granted,
        AnnouncementSettings::default(),
        &own_routes,
        context.deadline,
    )?;
    context.proceed()?;
    granted.interfaces = pair.interfaces(site);
    Ok(granted)
}

/// In the container even neighbours of the subnet are reached by the gateway, which is all that is
/// on the link.
fn route_by_gateway(
    link: &LinkState,
    granted: Granted,
    own_routes: &mut PluginRoutes,
) -> Result<(), Error> {
    let Granted { address, .. } = granted;
    let gateway = gateway_of(granted)?;
    let subnet = IpNetwork::new(address.network(), address.prefix())
        .map_err(|error| Error::new(Code::DECODE, error))?;
    let source = Some(address.ip());
    if !own_routes.before_routes.iter().any(|route| route.destination == gateway) {
        own_routes.before_routes.push(NewRoute {
            scope: Scope::Link,
            source,
            ..NewRoute::new(gateway, link.index)
        });
    }
    // A subnet of one address has no neighbours.
    if address.prefix() < gateway.prefix() {
        own_routes
            .deleted_routes
            .push(NewRoute { scope: Scope::Any, ..NewRoute::new(subnet, link.index) });
        let by_gateway =
            NewRoute { gateway: Some(gateway.ip()), source, ..NewRoute::new(subnet, link.index) };
        own_routes.after_routes.push(by_gateway);
    }
    Ok(())
}

/// The host's end has the gateways' addresses, and leads to each of the container's.
fn connect_host(site: &mut Site<'_>, host: &LinkState, addresses: &[Granted]) -> Result<(), Error> {
    let mut changes = Vec::new();
    for granted in addresses {
        let gateway = gateway_of(*granted)?;
        changes.push(Change::add_address(host.index, gateway).unless_present());
    }
    for granted in addresses {
        let ip = IpNetwork::from(granted.address.ip());
        let scope = if ip.is_ipv4() { Scope::Host } else { Scope::Universe };
        // One that an earlier container with this address has left would lead to its end.
        changes.push(Change::replace_route(&NewRoute { scope, ..NewRoute::new(ip, host.index) }));
    }
    site.host.apply(&changes).map_err(kernel_error)
}

fn gateway_of(granted: Granted) -> Result<IpNetwork, Error> {
    let missing = || {
        let problem = format!(
            "the IPAM plugin gives no gateway for {}: ptp needs one, set \"gateway\" in \"ipam\"",
            granted.address
        );
        Error::new(Code::CONFIG, problem)
    };
    granted.gateway.map(IpNetwork::from).ok_or_else(missing)
}

impl Pair {
    fn interfaces(&self, site: &Site<'_>) -> Vec<Interface> {
        vec![veth::on_host(&self.host), veth::in_container(&self.container, site)]
    }
}
