//! Whether a plugin's configuration can work: the JSON types, ranges and CIDRs of the keys that its
//! facts know.
//!
//! A plugin refuses such a configuration in ADD, and again in the DEL that is to undo it. Keys and
//! types that are not known pass.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::shape::{Key, Shape};
use super::{Facts, Property, facts, ipam_object};
use cni::keys;
use cni::netconf::PluginConfig;
use cni::quoted::Quoted;

/// Why a plugin cannot work with its configuration, and what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A value is not what the plugin reads.
    #[error("plugin \"{plugin}\" cannot have {value} for \"{key}\": write {rule}")]
    Value {
        /// The plugin.
        plugin: &'static str,
        /// The key.
        key: String,
        /// The value.
        value: Quoted,
        /// What to write.
        rule: String,
    },
    /// A key is set, and one that belongs to it is not.
    #[error("plugin \"{plugin}\" cannot have \"{key}\" without \"{owed}\": write both or neither")]
    Pair {
        /// The plugin.
        plugin: &'static str,
        /// The key that is set.
        key: &'static str,
        /// The key that is owed.
        owed: &'static str,
    },
    /// An end of a range is outside.
    #[error(
        "plugin \"{plugin}\" cannot have {value} for \"{key}\": write an address of {subnet}{order}"
    )]
    Outside {
        /// The plugin.
        plugin: &'static str,
        /// The key.
        key: &'static str,
        /// The address.
        value: IpAddr,
        /// The range's subnet.
        subnet: IpNetwork,
        /// What else it must be.
        order: &'static str,
    },
    /// A range has no subnet.
    #[error(
        "plugin \"{0}\" cannot give addresses of a range without \"subnet\": write one, such as \
         \"10.0.0.0/24\""
    )]
    NoSubnet(&'static str),
    /// The plugin has no device to work on.
    #[error(
        "plugin \"{plugin}\" has no device: name one under \"{key}\", or annotate the definition \
         with the resource whose devices pods ask for (k8s.v1.cni.cncf.io/resourceName)"
    )]
    NoDevice {
        /// The plugin.
        plugin: &'static str,
        /// A key that names one.
        key: &'static str,
    },
}

/// Whether a plugin's configuration, and that of its IPAM plugin, has values that they read.
///
/// # Errors
/// [`ConfigError`] for the first that it has not.
pub fn check_config(plugin: &PluginConfig) -> Result<(), ConfigError> {
    let Some(facts) = facts(plugin.kind.as_str()) else { return Ok(()) };
    check_object(facts, plugin.object())?;
    // tuning reads what a pod hands it as it reads its own keys.
    let handed = keys::get(plugin.object(), "args")
        .and_then(|args| keys::get(args.as_object()?, "cni")?.as_object());
    if let Some(handed) = handed.filter(|_| facts.has(Property::ReadsKeysInArgs)) {
        check_object(facts, handed)?;
    }
    // A plugin of a cluster's network may replace words of its own in there before it starts the
    // IPAM plugin.
    let ipam =
        plugin.ipam().filter(|_| !facts.has(Property::StateOutsideNode)).and_then(super::facts);
    match ipam_object(plugin).zip(ipam) {
        Some((object, facts)) => check_object(facts, object)
            .and_then(|()| check_range(facts, object))
            .and_then(|()| check_has_range(facts, object, plugin)),
        None => Ok(()),
    }
}

/// host-local without a range refuses ADD and DEL. One that takes ranges from the runtime
/// (`ipRanges`) may have them there.
fn check_has_range(
    facts: &'static Facts,
    object: &Map<String, Value>,
    plugin: &PluginConfig,
) -> Result<(), ConfigError> {
    let takes_ranges = facts.keys.iter().any(|key| matches!(key.shape, Shape::Ranges(_)));
    let has = |key: &str| keys::get(object, key).is_some_and(|value| !value.is_null());
    let sets = keys::get(object, "ranges").and_then(Value::as_array);
    let is_given = has("subnet") || sets.is_some_and(|sets| !sets.is_empty());
    if takes_ranges && !is_given && !plugin.declares("ipRanges") {
        return Err(ConfigError::NoSubnet(facts.kind));
    }
    Ok(())
}

/// Whether values that belong together are together.
fn check_pairs(facts: &Facts, object: &Map<String, Value>) -> Result<(), ConfigError> {
    let is_set =
        |key: &str| keys::get(object, key).is_some_and(|value| value.as_f64() != Some(0.0));
    let both = facts.pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
    match both.into_iter().find(|(key, owed)| is_set(key) && !is_set(owed)) {
        Some((key, owed)) => Err(ConfigError::Pair { plugin: facts.kind, key, owed }),
        None => Ok(()),
    }
}

/// Whether a plugin that fails without a device has one: `is_given` if the pod's reaches it.
///
/// # Errors
/// [`ConfigError::NoDevice`].
pub fn check_device(plugin: &PluginConfig, is_given: bool) -> Result<(), ConfigError> {
    let Some(facts) = facts(plugin.kind.as_str()).filter(|it| it.has(Property::FailsWithoutDevice))
    else {
        return Ok(());
    };
    let super::DeviceFact::Needed(keys) = facts.device else { return Ok(()) };
    let is_named =
        super::names_any(plugin, keys) || super::names_any(plugin, &["deviceID", "pciBusID"]);
    match keys.first() {
        Some(key) if !is_named && !is_given => {
            Err(ConfigError::NoDevice { plugin: facts.kind, key })
        }
        _ => Ok(()),
    }
}

fn check_object(facts: &'static Facts, object: &Map<String, Value>) -> Result<(), ConfigError> {
    check_members(facts, facts.keys, object)?;
    check_pairs(facts, object)
}

/// Go decodes every spelling of a key, whichever counts in the end.
fn check_members(
    facts: &'static Facts,
    known: &'static [Key],
    object: &Map<String, Value>,
) -> Result<(), ConfigError> {
    object.iter().filter(|(_, value)| !value.is_null()).try_for_each(|(name, value)| {
        match known.iter().find(|key| keys::is_same(name, key.name)) {
            Some(key) => check_value(facts, key.name, key.shape, value),
            None => Ok(()),
        }
    })
}

fn check_value(
    facts: &'static Facts,
    key: &'static str,
    shape: Shape,
    value: &Value,
) -> Result<(), ConfigError> {
    match shape {
        Shape::Object(known) => check_members_of(facts, key, known, value),
        Shape::VlanTrunk(known) => {
            check_list(facts, key, value, &|entry| check_members_of(facts, key, known, entry))
        }
        Shape::List(item) => {
            check_list(facts, key, value, &|entry| check_value(facts, key, *item, entry))
        }
        Shape::Ranges(known) => {
            check_list(facts, key, value, &|set| check_range_set(facts, key, known, set))
        }
        Shape::Sysctls => check_sysctls(facts, key, value),
        _ => rule_against(shape, value).map_or(Ok(()), |rule| Err(wrong(facts, key, value, rule))),
    }
}

fn check_members_of(
    facts: &'static Facts,
    key: &'static str,
    known: &'static [Key],
    value: &Value,
) -> Result<(), ConfigError> {
    match value {
        Value::Object(object) => check_members(facts, known, object),
        Value::Null => Ok(()),
        _ => Err(wrong(facts, key, value, "an object".to_owned())),
    }
}

fn check_list(
    facts: &'static Facts,
    key: &'static str,
    value: &Value,
    check: &dyn Fn(&Value) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    match value {
        Value::Array(list) => list.iter().try_for_each(check),
        _ => Err(wrong(facts, key, value, "a list, in brackets".to_owned())),
    }
}

/// A set of ranges, each of which has a subnet.
fn check_range_set(
    facts: &'static Facts,
    key: &'static str,
    known: &'static [Key],
    set: &Value,
) -> Result<(), ConfigError> {
    if set.as_array().is_some_and(Vec::is_empty) {
        return Err(ConfigError::NoSubnet(facts.kind));
    }
    check_list(facts, key, set, &|range| {
        check_members_of(facts, key, known, range)?;
        let range = range.as_object().ok_or(ConfigError::NoSubnet(facts.kind))?;
        keys::get(range, "subnet").ok_or(ConfigError::NoSubnet(facts.kind))?;
        check_range(facts, range)
    })
}

fn check_sysctls(
    facts: &'static Facts,
    key: &'static str,
    value: &Value,
) -> Result<(), ConfigError> {
    let Value::Object(sysctls) = value else {
        return Err(wrong(facts, key, value, "an object of names and texts".to_owned()));
    };
    match sysctls.iter().find(|(_, value)| !value.is_null() && !value.is_string()) {
        Some((name, value)) => {
            Err(wrong(facts, name, value, "the value in quotes, such as \"1\"".to_owned()))
        }
        None => Ok(()),
    }
}

fn wrong(facts: &'static Facts, key: &str, value: &Value, rule: String) -> ConfigError {
    ConfigError::Value {
        plugin: facts.kind,
        key: key.to_owned(),
        value: Quoted::value(value),
        rule,
    }
}

/// What to write instead of a value that is not of the shape; `None` if it is.
fn rule_against(shape: Shape, value: &Value) -> Option<String> {
    let text = value.as_str();
    let number = value.as_i64();
    match shape {
        Shape::Boolean => (!value.is_boolean()).then(|| "true or false, without quotes".to_owned()),
        Shape::Integer(first, last) => outside(number, first, last),
        Shape::Vlan => outside(number, 0, 4094),
        Shape::Mtu => (!number.is_some_and(|mtu| (0..=i64::from(i32::MAX)).contains(&mtu)))
            .then(|| "a whole number of bytes, without quotes, such as 1500".to_owned()),
        Shape::Word { words, .. } => (!text.is_some_and(|text| words.contains(&text))).then(|| {
            let words =
                words.iter().filter(|word| !word.is_empty()).map(|word| format!("\"{word}\""));
            format!("one of {}", words.collect::<Vec<_>>().join(", "))
        }),
        Shape::Address => (!text
            .is_some_and(|text| text.is_empty() || text.parse::<IpAddr>().is_ok()))
        .then(|| "an IP address without a prefix length, such as \"10.0.0.1\"".to_owned()),
        Shape::Interface => text
            .and_then(with_prefix)
            .is_none()
            .then(|| "an address with its prefix length, such as \"10.0.0.5/24\"".to_owned()),
        Shape::Destination => destination_rule(text),
        Shape::Subnet => subnet_rule(text),
        Shape::Text | Shape::HostInterface | Shape::Addresses => {
            text.is_none().then(|| "a text, in quotes".to_owned())
        }
        _ => None,
    }
}

fn outside(number: Option<i64>, first: i64, last: i64) -> Option<String> {
    let is_inside = number.is_some_and(|number| (first..=last).contains(&number));
    let bound =
        if last == i64::MAX { format!("from {first}") } else { format!("from {first} to {last}") };
    (!is_inside).then(|| format!("a whole number {bound}, without quotes"))
}

/// A network or an address with a prefix length, as Go's `ParseCIDR` takes it: a mask is none.
fn with_prefix(text: &str) -> Option<IpNetwork> {
    let (_, prefix) = text.split_once('/')?;
    prefix.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The kernel takes no IPv4 route whose destination has bits behind its prefix; of IPv6 it leaves
/// them out.
fn destination_rule(text: Option<&str>) -> Option<String> {
    let Some(network) = text.and_then(with_prefix) else {
        let rule = "a network with its prefix length, such as \"10.1.0.0/16\", or \"0.0.0.0/0\" \
                    for the default route";
        return Some(rule.to_owned());
    };
    (network.is_ipv4() && network.ip() != network.network()).then(|| {
        format!("\"{}/{}\", the network's own address", network.network(), network.prefix())
    })
}

/// host-local gives out addresses of a network that is written as one, and has four addresses or
/// more.
fn subnet_rule(text: Option<&str>) -> Option<String> {
    let Some(subnet) = text.and_then(with_prefix) else {
        return Some("a network with its prefix length, such as \"10.0.0.0/24\"".to_owned());
    };
    let longest = if subnet.is_ipv4() { 30 } else { 126 };
    if subnet.prefix() > longest {
        return Some(format!(
            "a network with a prefix length of {longest} or less: it gives out addresses of it"
        ));
    }
    (subnet.ip() != subnet.network())
        .then(|| format!("\"{}/{}\", the network's own address", subnet.network(), subnet.prefix()))
}

/// Whether a range's ends are in its subnet, the start before the end.
fn check_range(facts: &'static Facts, range: &Map<String, Value>) -> Result<(), ConfigError> {
    let text = |key: &str| keys::get(range, key).and_then(Value::as_str);
    let Some(subnet) = text("subnet").and_then(with_prefix) else { return Ok(()) };
    let end = |key: &str| text(key).and_then(|text| text.parse::<IpAddr>().ok());
    let (first, last) = (end("rangeStart"), end("rangeEnd"));
    let outside = |key, value: Option<IpAddr>| {
        value.filter(|it| !subnet.contains(*it)).map(|it| (key, it, ""))
    };
    let reversed = first.zip(last).filter(|(first, last)| first > last);
    let problem =
        outside("rangeStart", first).or_else(|| outside("rangeEnd", last)).or_else(|| {
            reversed.map(|(first, _)| ("rangeStart", first, " that is not behind \"rangeEnd\""))
        });
    match problem {
        Some((key, value, order)) => {
            Err(ConfigError::Outside { plugin: facts.kind, key, value, subnet, order })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
