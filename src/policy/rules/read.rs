//! Reads the keys of a policy, each into what it means.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::{Mode, PolicyError, PrimaryOverride};
use crate::pod::name::{DefinitionName, Namespace};
use crate::policy::plugins::Plugins;
use crate::policy::request::Request;
use crate::policy::scope::{Namespaces, Scoped};
use cni::error::one_line;
use cni::keys;
use cni::netconf::NetworkName;

pub(in crate::policy) fn wrong(
    key: &'static str,
    value: &Value,
    rule: &'static str,
) -> PolicyError {
    PolicyError::Value { key, value: one_line(&value.to_string(), 80), rule }
}

/// Each key is known and there once, in whatever case. Notes have a period or a slash in their
/// name.
pub(super) fn check_keys(
    object: &Map<String, Value>,
    known: &[&'static str],
) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for key in object.keys().filter(|key| !key.contains(['.', '/'])) {
        let is_new = seen.insert(key.to_ascii_lowercase());
        if !is_new || !known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
            let near = crate::spelling::nearest(key, known.iter().copied());
            let hint = near.map(|near| format!(": did you mean \"{near}\"?")).unwrap_or_default();
            let hint = if is_new { hint } else { ", which is there twice".to_owned() };
            return Err(PolicyError::UnknownKey { key: one_line(key, 64), hint });
        }
    }
    Ok(())
}

pub(super) fn mode(object: &Map<String, Value>) -> Result<Mode, PolicyError> {
    match keys::get(object, "mode").map(|value| (value, value.as_str())) {
        None => Ok(Mode::default()),
        Some((_, Some("enforce"))) => Ok(Mode::Enforce),
        Some((_, Some("audit"))) => Ok(Mode::Audit),
        Some((value, _)) => Err(wrong("mode", value, "must be \"enforce\" or \"audit\"")),
    }
}

/// A list of texts, or one text with commas.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(joined) => {
            Some(joined.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
        }
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

const NAMESPACES_RULE: &str = "must be a list of namespaces, or of \"*\" for all";

pub(super) fn namespaces(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Namespaces>, PolicyError> {
    let read =
        |value: &Value| read_namespaces(value).ok_or_else(|| wrong(key, value, NAMESPACES_RULE));
    keys::get(object, key).map(read).transpose()
}

fn read_namespaces(value: &Value) -> Option<Namespaces> {
    Namespaces::from_words(texts(value)?)
}

pub(super) fn allowed_requests(
    object: &Map<String, Value>,
) -> Result<BTreeSet<Request>, PolicyError> {
    const KEY: &str = "allowedRequests";
    let Some(value) = keys::get(object, KEY) else {
        return Ok(Request::ALL
            .into_iter()
            .filter(|request| !request.needs_owners_word())
            .collect());
    };
    let read =
        || texts(value)?.into_iter().map(|word| word.parse().ok()).collect::<Option<BTreeSet<_>>>();
    read().ok_or_else(|| {
        wrong(KEY, value, "must be a list of keys of the networks annotation, \"ips\" for one")
    })
}

/// Things for all namespaces as a list, or as an object with the namespaces of each.
pub(super) fn scoped<T>(
    object: &Map<String, Value>,
    key: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Scoped<T>, PolicyError> {
    let Some(value) = keys::get(object, key) else { return Ok(Scoped::default()) };
    let entries: Option<Vec<_>> = match value {
        Value::Object(entries) => {
            entries.iter().map(|(text, list)| Some((read(text)?, read_namespaces(list)?))).collect()
        }
        list => texts(list).and_then(|texts| {
            texts.into_iter().map(|text| Some((read(text)?, Namespaces::all()))).collect()
        }),
    };
    let rule = match key {
        "allowedSubnets" => {
            "must be a list of networks in CIDR form, or an object of them with the namespaces of \
             each"
        }
        "allowedVlans" => {
            "must be a list of VLANs, \"7\" or \"100-199\", or an object of them with the \
             namespaces of each"
        }
        _ => "must be a list of patterns, or an object of them with the namespaces of each",
    };
    entries.map(Scoped::new).ok_or_else(|| wrong(key, value, rule))
}

pub(super) fn service_cidrs(object: &Map<String, Value>) -> Result<Vec<IpNetwork>, PolicyError> {
    const KEY: &str = "serviceCIDRs";
    let Some(value) = keys::get(object, KEY) else { return Ok(Vec::new()) };
    let read =
        || texts(value)?.into_iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>();
    read().ok_or_else(|| wrong(KEY, value, "must be a list of networks in CIDR form"))
}

pub(super) fn primaries(object: &Map<String, Value>) -> Result<Vec<PrimaryOverride>, PolicyError> {
    const KEY: &str = "primaryOverride";
    let Some(value) = keys::get(object, KEY) else { return Ok(Vec::new()) };
    let read = || value.as_array()?.iter().map(read_primary).collect::<Option<Vec<_>>>();
    read().ok_or_else(|| {
        wrong(
            KEY,
            value,
            "must be a list of objects with \"podNamespaces\" and \"definitions\" \
             (\"namespace/name\", or the name of a network of the node)",
        )
    })
}

fn read_primary(value: &Value) -> Option<PrimaryOverride> {
    let object = value.as_object()?;
    check_keys(object, &["podNamespaces", "definitions"]).ok()?;
    let networks = texts(keys::get(object, "definitions")?)?;
    Some(PrimaryOverride {
        pods: read_namespaces(keys::get(object, "podNamespaces")?)?,
        networks: networks.into_iter().map(read_network).collect::<Option<_>>()?,
    })
}

fn read_network(text: &str) -> Option<String> {
    let is_valid = match text.split_once('/') {
        Some((namespace, name)) => {
            namespace.parse::<Namespace>().is_ok() && name.parse::<DefinitionName>().is_ok()
        }
        None => text.parse::<NetworkName>().is_ok(),
    };
    is_valid.then(|| text.to_owned())
}

pub(super) fn node_networks(
    object: &Map<String, Value>,
) -> Result<BTreeMap<String, Namespaces>, PolicyError> {
    const KEY: &str = "sharedNodeNetworks";
    let Some(value) = keys::get(object, KEY) else { return Ok(BTreeMap::new()) };
    let read_entry = |(name, list): (&String, &Value)| {
        let name = name.parse::<NetworkName>().ok()?;
        Some((name.to_string(), read_namespaces(list)?))
    };
    let read = || value.as_object()?.iter().map(read_entry).collect::<Option<BTreeMap<_, _>>>();
    read().ok_or_else(|| {
        wrong(KEY, value, "must be an object of networks' names, each with its namespaces")
    })
}

/// What stands in the policy and has no effect.
pub(super) fn warnings(requests: &BTreeSet<Request>, plugins: &Plugins) -> Vec<String> {
    let of_owners = requests.iter().filter(|request| request.needs_owners_word());
    let of_owners = of_owners.map(|request| {
        format!(
            "\"{request}\" in policy.allowedRequests has no effect: only a network's owner can \
             allow it, with braid.io/allowed-requests"
        )
    });
    let delegating = plugins.delegating_types().map(|kind| {
        format!(
            "\"{kind}\" in policy.allowedPlugins has no effect: a plugin that delegates is \
                 never allowed"
        )
    });
    let patterns = plugins.patterns().map(|kind| {
        format!(
            "\"{kind}\" in policy.allowedPlugins has no effect: it is no pattern there, name each \
             plugin's type"
        )
    });
    of_owners.chain(delegating).chain(patterns).collect()
}
