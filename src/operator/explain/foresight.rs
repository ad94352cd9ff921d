//! What a plan lets foresee of ADD: default routes that are taken away again, and interfaces that a
//! network builds on in the pod and that nothing before it makes.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::attach::default_route::taking_default;
use crate::plan::{Attachment, Plan, Role};
use cni::family::Family;
use cni::keys;
use cni::netconf::PluginConfig;

/// Plugins that keep routes out of the main table.
const ROUTING: [&str; 2] = ["sbr", "vrf"];

/// A sentence for each; `primary` is the interface of the primary network.
pub(super) fn warnings(plan: &Plan, primary: &str) -> Vec<String> {
    let mut warnings: Vec<String> =
        plan.attachments.iter().filter_map(|attachment| unasked_route(attachment, plan)).collect();
    let mut made = BTreeSet::from(["lo", primary]);
    for attachment in &plan.attachments {
        for plugin in attachment.network.plugins.iter() {
            let missing = links_inside(plugin).into_iter().filter(|link| !made.contains(link));
            warnings.extend(missing.map(|link| not_made(attachment, link)));
            made.insert(attachment.interface.as_str());
        }
    }
    warnings
}

fn not_made(attachment: &Attachment, link: &str) -> String {
    format!(
        "network \"{}\" builds {} on the pod's interface \"{}\", which nothing before it makes: \
         ask first for a network on that interface, or correct the name in the definition",
        attachment.label,
        attachment.interface,
        cni::error::one_line(link, 64)
    )
}

/// The pod's interfaces that a plugin builds on: its master, or the links of a bond.
fn links_inside(plugin: &PluginConfig) -> Vec<&str> {
    let is_set = |key: &str| keys::get(plugin.object(), key) == Some(&Value::Bool(true));
    let master = plugin.text("master").filter(|_| is_set("linkInContainer"));
    let is_bond = plugin.kind.as_str() == "bond" && is_set("linksInContainer");
    let links = keys::get(plugin.object(), "links").and_then(Value::as_array).filter(|_| is_bond);
    let names = links.into_iter().flatten().filter_map(|link| keys::get_text(link, "name"));
    master.into_iter().chain(names).collect()
}

/// The default route stays with the primary network unless the pod asks otherwise (NPWG 1.3,
/// section 4.1.2.1.9).
fn unasked_route(attachment: &Attachment, plan: &Plan) -> Option<String> {
    let keeps_out =
        attachment.network.plugins.iter().any(|plugin| ROUTING.contains(&plugin.kind.as_str()));
    if attachment.role != Role::Extra || keeps_out {
        return None;
    }
    let families = Family::ALL.into_iter().filter(|family| !is_moved(*family, plan));
    let routes: Vec<String> = families.flat_map(|family| routes_of(attachment, family)).collect();
    (!routes.is_empty()).then(|| {
        format!(
            "network \"{}\" makes a default route on {} ({}) that the pod does not ask for: it \
             will be removed if the primary network has one of that family; add \"default-route\": \
             [] to the pod's annotation to have it, or take the route out of the network's \
             definition",
            attachment.label,
            attachment.interface,
            routes.join(", ")
        )
    })
}

/// Whether the pod moves the default route of a family. Which families a network's own gateways
/// have, its result says.
fn is_moved(family: Family, plan: &Plan) -> bool {
    let mut asked =
        plan.attachments.iter().filter_map(|attachment| attachment.default_route.as_ref());
    asked.any(|gateways| {
        gateways.is_empty() || gateways.iter().any(|gateway| Family::of(*gateway) == family)
    })
}

/// The routes of the definition that are or take the default route, and a bridge's word for one.
fn routes_of(attachment: &Attachment, family: Family) -> Vec<String> {
    let mut found = Vec::new();
    for plugin in attachment.network.plugins.iter() {
        let is_gateway = keys::get(plugin.object(), "isDefaultGateway") == Some(&Value::Bool(true));
        if plugin.kind.as_str() == "bridge" && is_gateway && family == Family::V4 {
            found.push("isDefaultGateway".to_owned());
        }
        let ipam = keys::get(plugin.object(), "ipam");
        let routes = ipam.and_then(|ipam| keys::get(ipam.as_object()?, "routes")?.as_array());
        let destinations =
            routes.into_iter().flatten().filter_map(|route| keys::get_text(route, "dst"));
        let destinations: Vec<IpNetwork> =
            destinations.filter_map(|text| text.parse().ok()).collect();
        let taking = taking_default(family, &destinations);
        let is_default = |it: &&IpNetwork| it.prefix() == 0 && Family::of(it.ip()) == family;
        found
            .extend(destinations.iter().filter(is_default).chain(&taking).map(ToString::to_string));
    }
    found
}
