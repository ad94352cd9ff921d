//! The JSON list form (NPWG 1.3, section 4.1.2): `[{"name": "blue", "ips": ["10.2.2.42/24"]}]`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

use super::dict::{Dict, entry};
use super::error::{Element, ElementError, Refusal, Rule, SelectionError};
use super::request::{self, Bandwidth, PortMapping, RequestedAddress};
use super::{Limits, Selection, UnknownKeys};
use crate::pod::name::{self, DefinitionName, Namespace};
use cni::name::InterfaceName;
use cni::quoted::Quoted;

/// Keys of an element: the standard's (section 4.1.2.1), then Multus's.
const KEYS: [&str; 13] = [
    "name",
    "namespace",
    "ips",
    "mac",
    "interface",
    "cni-args",
    "portMappings",
    "bandwidth",
    "default-route",
    "infiniband-guid",
    "ipam-claim-reference",
    "interfaceRequest",
    "deviceID",
];
const PORT_MAPPING_KEYS: [&str; 4] = ["hostPort", "containerPort", "protocol", "hostIP"];
const BANDWIDTH_KEYS: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

const MAX_IPS: usize = 32;
const MAX_GATEWAYS: usize = 8;
const MAX_PORT_MAPPINGS: usize = 128;
const MAX_CNI_ARGS: usize = 256;
const MAX_CNI_ARGS_DEPTH: usize = 32;
const MAX_DEVICE_ID: usize = 128;

/// Reads every element of `text`, which starts with `[`.
pub(super) fn parse(
    text: &str,
    pod_namespace: &Namespace,
    limits: Limits,
) -> Result<Vec<Selection>, SelectionError> {
    scan(text, limits.networks)?;
    let elements: Vec<Value> = serde_json::from_str(text).map_err(SelectionError::Json)?;
    let read = |(position, value)| element(position, value, pod_namespace, limits.unknown_keys);
    elements.iter().enumerate().map(read).collect()
}

/// Looks through `text` for what a [`Value`] cannot show any more: keys given twice. Stops at the
/// element above `limit`.
fn scan(text: &str, limit: usize) -> Result<(), SelectionError> {
    let mut position = 0;
    let mut reader = serde_json::Deserializer::from_str(text);
    let scanned = ListScan { position: &mut position, limit }
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    scanned.map_err(|source| match source {
        _ if position > limit => SelectionError::TooMany { limit },
        source if source.is_data() => SelectionError::KeyTwice { position, source },
        source => SelectionError::Json(source),
    })
}

/// The list of elements; `position` is the element being read.
struct ListScan<'a> {
    position: &'a mut usize,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for ListScan<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListScan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<Scan>()?.is_some() {
            *self.position = self.position.saturating_add(1);
            if *self.position > self.limit {
                return Err(A::Error::custom("too many elements"));
            }
        }
        Ok(())
    }
}

/// Any JSON value whose objects, at every depth, have each key once.
struct Scan;

impl<'de> Deserialize<'de> for Scan {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Scan {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    // Numbers come here too, as maps of one key: serde_json's `arbitrary_precision`.
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = object.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!(
                    "key {} is given twice",
                    Quoted::text(&key)
                )));
            }
            object.next_value::<Self>()?;
            seen.insert(key);
        }
        Ok(self)
    }
}

fn element(
    position: usize,
    value: &Value,
    pod_namespace: &Namespace,
    unknown_keys: UnknownKeys,
) -> Result<Selection, SelectionError> {
    let Some(object) = value.as_object() else {
        let refusal = Refusal::element(Quoted::value(value), Rule::Type("an object"));
        return Err(Element { position, network: None }.refuse(refusal));
    };
    let ignored = RefCell::new(Vec::new());
    let dict = Dict::new(object, (unknown_keys == UnknownKeys::Ignore).then_some(&ignored));
    let mut selection = selection(position, &dict, pod_namespace).map_err(|refusal| {
        Element { position, network: network(&dict, pod_namespace).ok() }.refuse(refusal)
    })?;
    let error = |refusal| ElementError { element: selection.element(), refusal };
    selection.ignored = ignored.into_inner().into_iter().map(error).collect();
    Ok(selection)
}

fn selection(
    position: usize,
    dict: &Dict<'_>,
    pod_namespace: &Namespace,
) -> Result<Selection, Refusal> {
    dict.check_keys(&KEYS, true)?;
    let (namespace, name) = network(dict, pod_namespace)?;
    Ok(Selection {
        namespace,
        name,
        interface: interface(dict)?,
        ips: ips(dict)?,
        mac: dict.optional("mac", str::parse)?,
        infiniband_guid: dict.optional("infiniband-guid", str::parse)?,
        cni_args: cni_args(dict)?,
        port_mappings: port_mappings(dict)?,
        bandwidth: bandwidth(dict)?,
        default_route: dict.distinct(
            "default-route",
            (0, MAX_GATEWAYS),
            request::gateway,
            |ip| *ip,
        )?,
        ipam_claim: ipam_claim(dict)?,
        device_id: dict.optional("deviceID", device_id)?,
        ignored: Vec::new(),
        position,
    })
}

/// Sections 4.1.2.1.1 and 4.1.2.1.2.
fn network(
    dict: &Dict<'_>,
    pod_namespace: &Namespace,
) -> Result<(Namespace, DefinitionName), Refusal> {
    let name = dict.parsed("name")?.ok_or_else(|| dict.key_refusal("name", Rule::Required))?;
    let namespace = match dict.text("namespace")? {
        None | Some("") => pod_namespace.clone(),
        Some(_) => dict.parsed("namespace")?.unwrap_or_else(|| pod_namespace.clone()),
    };
    Ok((namespace, name))
}

/// Section 4.1.2.1.5, and Multus's older name of the key.
fn interface(dict: &Dict<'_>) -> Result<Option<InterfaceName>, Refusal> {
    let interface: Option<InterfaceName> = dict.optional("interface", str::parse)?;
    let alias: Option<InterfaceName> = dict.optional("interfaceRequest", str::parse)?;
    match (&interface, &alias) {
        (Some(name), Some(other)) if name != other => {
            let value = Quoted::text(other.as_str());
            Err(Refusal::value(
                "interfaceRequest",
                value,
                Rule::AliasDiffers { other: "interface" },
            ))
        }
        _ => Ok(interface.or(alias)),
    }
}

/// Section 4.1.2.1.3. Two prefix lengths do not make one address two.
fn ips(dict: &Dict<'_>) -> Result<Vec<RequestedAddress>, Refusal> {
    Ok(dict.distinct("ips", (1, MAX_IPS), str::parse, RequestedAddress::ip)?.unwrap_or_default())
}

/// Section 4.1.2.1.11.
fn ipam_claim(dict: &Dict<'_>) -> Result<Option<String>, Refusal> {
    const KEY: &str = "ipam-claim-reference";
    let claim = dict.optional(KEY, |text| name::check_subdomain(text).map(|()| text.to_owned()))?;
    if claim.is_some() && dict.value("ips").is_some() {
        return Err(dict.key_refusal(KEY, Rule::Excludes { other: "ips" }));
    }
    Ok(claim)
}

/// Section 4.1.2.1.6.
fn cni_args(dict: &Dict<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
    const KEY: &str = "cni-args";
    let Some(args) = dict.object(KEY)? else { return Ok(None) };
    if args.len() > MAX_CNI_ARGS {
        return Err(dict.key_refusal(KEY, Rule::Entries { least: 0, most: MAX_CNI_ARGS }));
    }
    if levels(args.values()) > MAX_CNI_ARGS_DEPTH {
        return Err(dict.key_refusal(KEY, Rule::Depth { most: MAX_CNI_ARGS_DEPTH }));
    }
    Ok(Some(args.clone()))
}

/// Levels of a list or object with these members. serde_json has bounded them at 128.
fn levels<'a>(members: impl Iterator<Item = &'a Value>) -> usize {
    members.map(depth).max().unwrap_or(0).saturating_add(1)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => levels(list.iter()),
        Value::Object(object) => levels(object.values()),
        _ => 0,
    }
}

/// Section 4.1.2.1.7.
fn port_mappings(dict: &Dict<'_>) -> Result<Vec<PortMapping>, Refusal> {
    const KEY: &str = "portMappings";
    let list = dict.list(KEY, 1, MAX_PORT_MAPPINGS)?.unwrap_or_default();
    let mapping = |(index, value): (usize, &Value)| {
        let path = entry(KEY, index);
        match value {
            Value::Object(object) => port_mapping(&dict.inner(&path, object)),
            _ => Err(dict.refusal(&path, value, Rule::Type("an object"))),
        }
    };
    list.iter().enumerate().map(mapping).collect()
}

fn port_mapping(dict: &Dict<'_>) -> Result<PortMapping, Refusal> {
    dict.check_keys(&PORT_MAPPING_KEYS, false)?;
    Ok(PortMapping {
        host_port: port(dict, "hostPort")?,
        container_port: port(dict, "containerPort")?,
        protocol: dict.parsed("protocol")?.unwrap_or_default(),
        host_ip: match dict.text("hostIP")? {
            // What kubelet writes for a port on all addresses, and what gets copied from there.
            Some("") => None,
            _ => dict.read("hostIP", request::address)?,
        },
    })
}

fn port(dict: &Dict<'_>, key: &str) -> Result<u16, Refusal> {
    let value = dict.value(key).ok_or_else(|| dict.key_refusal(key, Rule::Required))?;
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).ok_or_else(|| dict.refusal(key, value, Rule::Port))
}

/// Section 4.1.2.1.8.
fn bandwidth(dict: &Dict<'_>) -> Result<Option<Bandwidth>, Refusal> {
    const KEY: &str = "bandwidth";
    let Some(object) = dict.object(KEY)? else { return Ok(None) };
    let limits = dict.inner(KEY, object);
    limits.check_keys(&BANDWIDTH_KEYS, false)?;
    let (ingress_rate, ingress_burst) = direction(&limits, "ingressRate", "ingressBurst")?;
    let (egress_rate, egress_burst) = direction(&limits, "egressRate", "egressBurst")?;
    if ingress_rate.or(egress_rate).is_none() {
        return Err(dict.key_refusal(KEY, Rule::NoRate));
    }
    Ok(Some(Bandwidth { ingress_rate, ingress_burst, egress_rate, egress_burst }))
}

fn direction(
    dict: &Dict<'_>,
    rate_key: &'static str,
    burst_key: &str,
) -> Result<(Option<u64>, Option<u64>), Refusal> {
    let rate = amount(dict, rate_key)?;
    let burst = amount(dict, burst_key)?;
    if burst.is_some() && rate.is_none() {
        return Err(dict.key_refusal(burst_key, Rule::BurstWithoutRate { rate: rate_key }));
    }
    Ok((rate, burst))
}

fn amount(dict: &Dict<'_>, key: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = dict.value(key) else { return Ok(None) };
    let amount = value.as_u64().filter(|amount| *amount > 0);
    amount.map(Some).ok_or_else(|| dict.refusal(key, value, Rule::Amount))
}

/// Multus's `deviceID`. It becomes part of a path and, after `deviceID=`, of `CNI_ARGS`.
fn device_id(text: &str) -> Result<String, Rule> {
    let safe = |byte: u8| byte.is_ascii_graphic() && !b"/;=".contains(&byte);
    let valid = (1..=MAX_DEVICE_ID).contains(&text.len())
        && text.bytes().all(safe)
        && text != "."
        && text != "..";
    if valid { Ok(text.to_owned()) } else { Err(Rule::DeviceId) }
}

#[cfg(test)]
mod tests;
