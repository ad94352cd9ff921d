//! bridge: a veth pair whose end on the host is a port of a bridge, which is made if there is none.

mod config;
mod facts;
mod gateway;
mod rules;

use std::thread::sleep;
use std::time::Duration;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::{AttachmentResult, Interface};
use linux::family::Family;
use linux::netlink::{
    Change, LinkId, LinkKind, LinkSettings, LinkState, Netlink, NewLink, NewLinkKind, OperState,
};
use linux::sysctl::Sysctl;

use self::config::BridgeConfig;
use super::check::{Reported, compare_mac, drift};
use super::container::{self, AnnouncementSettings, PluginRoutes};
use super::site::{Site, kernel_error};
use super::veth::{self, Pair, Port};
use super::{lease, status, teardown};
use crate::BuiltIn;
use crate::facts::Facts;

/// The plugin `bridge`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge;

const KIND: &str = "veth";

/// How long the port may take until packets pass.
const PORT_UP: Duration = Duration::from_millis(2550);

/// The longest wait between two looks at it.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl BuiltIn for Bridge {
    fn facts(&self) -> &'static Facts {
        &facts::FACTS
    }
}

impl Plugin for Bridge {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = BridgeConfig::read(call)?;
        let mut site = Site::open(call)?;
        let bridge = ensure_bridge(&mut site.host, &config)?;
        context.proceed()?;
        let port =
            Port { bridge: Some(bridge.index), hairpin: config.hairpin, isolated: config.isolated };
        let pair = Pair::make(&mut site, config.mtu, config.mac.as_deref(), &port)?;
        let mut attachment = Attachment { config: &config, site: &mut site, bridge, pair };
        match attachment.connect(call, context) {
            Ok(result) => Ok(result),
            Err(error) => {
                rules::undo(&config, call);
                attachment.site.delete_on_host(&attachment.pair.host.name);
                Err(error)
            }
        }
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del_with_rules(call, context, KIND, |context| rules::del(call, context))
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = BridgeConfig::read(call)?;
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        let mut site = Site::open(call)?;
        let bridge = check_bridge(&mut site.host, &config, &reported)?;
        let container = reported.compare(&mut site, KIND)?;
        let port = check_port(&mut site.host, &bridge, &container, &reported)?;
        rules::check(&config, call, context, &reported, [&port, &container])
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = BridgeConfig::read(call)?;
        ["bridge", KIND].into_iter().try_for_each(status::check_kind)?;
        rules::status(&config, call, context)?;
        lease::forward(Command::Status, call, context)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let removed = rules::gc(call, context);
        removed.and(lease::collect(call, context))
    }
}

/// The bridge, which is made, set up and set as the configuration says. One that is there keeps its
/// MTU.
fn ensure_bridge(host: &mut Netlink, config: &BridgeConfig) -> Result<LinkState, Error> {
    let about = |error| kernel_error(error).about(format!("bridge {:?}", config.name));
    let found = match host.find(LinkId::Name(&config.name)).map_err(about)? {
        Some(bridge) => bridge,
        None => make_bridge(host, config)?,
    };
    let LinkKind::Bridge { vlan_filtering, .. } = found.kind else {
        let problem = format!(
            "\"bridge\" names {:?}, which is a {} and no bridge",
            config.name,
            found.kind.name()
        );
        return Err(Error::new(Code::CONFIG, problem));
    };
    if config.vlan_filtering && !vlan_filtering {
        log::warn!(
            "bridge {:?} filters no VLANs: those of the configuration have no effect",
            config.name
        );
    }
    let _ = Sysctl::of_interface(Family::V6, &config.name, "accept_ra").ensure("0");
    let settings = LinkSettings {
        up: Some(true).filter(|_| !found.up),
        promiscuous: Some(true).filter(|_| config.promiscuous && !found.promiscuous),
        ..LinkSettings::default()
    };
    if settings.up.is_some() || settings.promiscuous.is_some() {
        host.apply(&[Change::set_link(LinkId::Index(found.index), &settings)]).map_err(about)?;
    }
    Ok(found)
}

fn make_bridge(host: &mut Netlink, config: &BridgeConfig) -> Result<LinkState, Error> {
    let name = config.name.as_str();
    let link = NewLink {
        mtu: config.mtu,
        ..NewLink::new(name, NewLinkKind::Bridge { vlan_filtering: config.vlan_filtering })
    };
    let made = host.apply_then_find(&[Change::ensure_link(&link)], &[LinkId::Name(name)]);
    let made = made.map_err(|error| kernel_error(error).about(format!("bridge {name:?}")))?;
    made.into_iter().flatten().next().ok_or_else(|| gone(name))
}

fn gone(bridge: &str) -> Error {
    Error::new(Code::IO, format!("bridge {bridge:?} has vanished while it was set up"))
}

/// An attachment whose pair was made.
struct Attachment<'a, 's> {
    config: &'a BridgeConfig,
    site: &'a mut Site<'s>,
    /// The bridge as it was before the pair.
    bridge: LinkState,
    pair: Pair,
}

impl Attachment<'_, '_> {
    fn connect(
        &mut self,
        call: &Call,
        context: &mut Context<'_>,
    ) -> Result<AttachmentResult, Error> {
        self.set_vlans()?;
        rules::check_source(self.config, call, context, [&self.pair.host, &self.pair.container])?;
        match &self.config.ipam {
            Some(ipam) => lease::with_lease(ipam, call, context, |context, granted| {
                let (result, vlan) = self.configure(context, granted)?;
                rules::masquerade(self.config, call, context, &result)?;
                let host = self.wait_for_port()?;
                context.proceed()?;
                Ok(self.report(result, host, vlan))
            }),
            None => {
                let host = self.leave_alone()?;
                Ok(self.report(AttachmentResult::default(), host, None))
            }
        }
    }

    /// The result, with DNS of the configuration before IPAM's.
    fn report(
        &self,
        result: AttachmentResult,
        host: Vec<LinkState>,
        vlan: Option<LinkState>,
    ) -> AttachmentResult {
        let mut interfaces: Vec<Interface> = host.iter().map(veth::on_host).collect();
        interfaces.push(veth::in_container(&self.pair.container, self.site));
        interfaces.extend(vlan.iter().map(veth::on_host));
        AttachmentResult {
            interfaces,
            ips: result.ips,
            routes: result.routes,
            dns: self.config.dns.clone().or(result.dns),
            ..AttachmentResult::default()
        }
    }

    /// A new port has the bridge's default VLAN alone.
    fn set_vlans(&mut self) -> Result<(), Error> {
        let vlans = self.config.port_vlans();
        if vlans.is_empty() {
            return Ok(());
        }
        let port = self.pair.host.index;
        let drops = self.default_vlan() != 0 && !self.config.preserve_default_vlan;
        let dropped = drops.then(|| Change::delete_vlan(port, self.default_vlan()));
        let added = vlans.into_iter().map(|vlan| Change::add_vlan(port, vlan));
        let changes: Vec<_> = dropped.into_iter().chain(added).collect();
        self.site.host.apply(&changes).map_err(kernel_error)
    }

    fn default_vlan(&self) -> u16 {
        match self.bridge.kind {
            LinkKind::Bridge { default_vlan, .. } => default_vlan,
            _ => 0,
        }
    }

    /// Configures the container's interface and the gateway with what IPAM grants. Returns the
    /// interface of the host in the port's VLAN, too, if that has the gateway.
    fn configure(
        &mut self,
        context: &Context<'_>,
        mut result: AttachmentResult,
    ) -> Result<(AttachmentResult, Option<LinkState>), Error> {
        context.proceed()?;
        result.ips.iter_mut().for_each(|address| address.interface = Some(2));
        if self.config.is_gateway {
            gateway::complete(self.config, &mut result)?;
        }
        let announcement = AnnouncementSettings {
            arp_notify: true,
            ndisc_notify: false,
            detects_duplicates: Some(self.config.detects_duplicates),
            never_settles: false,
        };
        let deadline = context.deadline;
        container::configure(
            self.site,
            &self.pair.container,
            &result,
            announcement,
            &PluginRoutes::default(),
            deadline,
        )?;
        context.proceed()?;
        let vlan = if self.config.is_gateway { self.serve_gateways(&result)? } else { None };
        Ok((result, vlan))
    }

    fn serve_gateways(&mut self, result: &AttachmentResult) -> Result<Option<LinkState>, Error> {
        let (force, default_vlan) = (self.config.force_address, self.default_vlan());
        let own_vlan = self.config.vlan.filter(|_| self.config.gateway_is_in_vlan());
        let host = &mut self.site.host;
        match own_vlan {
            Some(id) => {
                let link =
                    gateway::vlan_interface(host, &self.bridge, id, self.config, default_vlan)?;
                gateway::serve(host, &link, link.mac.as_deref(), result, force)?;
                Ok(Some(link))
            }
            None => {
                gateway::serve(host, &self.bridge, self.bridge.mac.as_deref(), result, force)?;
                Ok(None)
            }
        }
    }

    /// Without IPAM the container's interface is set up alone. Returns the bridge and the port.
    fn leave_alone(&mut self) -> Result<Vec<LinkState>, Error> {
        if self.config.stays_down {
            return self.read_host();
        }
        container::set_up(self.site, &self.pair.container)?;
        self.wait_for_port()
    }

    /// Waits until packets pass the port. Returns the bridge and the port as they are then.
    fn wait_for_port(&mut self) -> Result<Vec<LinkState>, Error> {
        let deadline = cni::deadline::Deadline::after(PORT_UP);
        let mut pause = Duration::from_micros(250);
        loop {
            let host = self.read_host()?;
            match host.last().map(|port| port.oper_state) {
                Some(OperState::Up) => return Ok(host),
                Some(state) if deadline.remaining().is_zero() => return Err(self.port_fault(state)),
                _ => sleep(pause),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The bridge and the port, read again: the bridge's hardware address follows its ports.
    fn read_host(&mut self) -> Result<Vec<LinkState>, Error> {
        let asked = [LinkId::Index(self.bridge.index), LinkId::Index(self.pair.host.index)];
        let found = self.site.host.apply_then_find(&[], &asked).map_err(kernel_error)?;
        match found.as_slice() {
            [None, _] => Err(gone(&self.bridge.name)),
            [_, None] => {
                Err(Error::new(Code::IO, "the port of the bridge has vanished while it was set up"))
            }
            _ => Ok(found.into_iter().flatten().collect()),
        }
    }

    fn port_fault(&self, state: OperState) -> Error {
        let state = match state {
            OperState::Other(state) => state,
            OperState::Up | OperState::Unknown => "unknown",
        };
        let problem = format!(
            "port {:?} of bridge {:?} passes no packets: it is {state}",
            self.pair.host.name, self.bridge.name
        );
        Error::new(Code::IO, problem)
    }
}

fn check_bridge(
    host: &mut Netlink,
    config: &BridgeConfig,
    reported: &Reported,
) -> Result<LinkState, Error> {
    let name = config.name.as_str();
    let found = host.find(LinkId::Name(name)).map_err(kernel_error)?;
    let bridge = found.ok_or_else(|| drift(format!("bridge {name:?} is gone")))?;
    if !matches!(bridge.kind, LinkKind::Bridge { .. }) {
        return Err(drift(format!("{name:?} is a {} and no bridge", bridge.kind.name())));
    }
    if !bridge.up {
        return Err(drift(format!("bridge {name:?} is down")));
    }
    if config.promiscuous && !bridge.promiscuous {
        return Err(drift(format!("bridge {name:?} is not promiscuous any more")));
    }
    // The address of a bridge without a gateway's follows its ports.
    if config.is_gateway && config.ipam.is_some() && !config.gateway_is_in_vlan() {
        let entry = reported
            .result
            .interfaces
            .iter()
            .find(|entry| entry.name == name && !entry.is_in_sandbox());
        compare_mac(&bridge, entry.and_then(|entry| entry.mac.as_deref()))?;
    }
    Ok(bridge)
}

/// The other end of the container's interface is one that ADD has reported, and a port of the
/// bridge.
fn check_port(
    host: &mut Netlink,
    bridge: &LinkState,
    container: &LinkState,
    reported: &Reported,
) -> Result<LinkState, Error> {
    for entry in reported.result.interfaces.iter().filter(|entry| !entry.is_in_sandbox()) {
        let Some(link) = host.find(LinkId::Name(&entry.name)).map_err(kernel_error)? else {
            continue;
        };
        let is_other_end = link.kind == LinkKind::Veth
            && Some(link.index) == container.parent
            && link.parent == Some(container.index);
        if !is_other_end {
            continue;
        }
        if link.master != Some(bridge.index) {
            return Err(drift(format!(
                "interface {:?} is no port of bridge {:?} any more",
                link.name, bridge.name
            )));
        }
        compare_mac(&link, entry.mac.as_deref())?;
        return Ok(link);
    }
    Err(drift(format!(
        "the end of interface {:?} on the host is none that ADD has reported",
        container.name
    )))
}
