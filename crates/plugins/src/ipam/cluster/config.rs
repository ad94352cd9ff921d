//! The configuration of a call, from all the places that give a part of it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use cni::error::Error;
use cni::family::Family;
use cni::keys;
use cni::plugin::Call;
use cni::quoted::Quoted;
use cni::result::{MOST_IPS, Route};

use super::choice::Allocation;
use super::flat_file;
use super::name;
use super::range::{Range, parse_address};
use super::store::ApiAccess;
use crate::ipam::Fields;
use crate::ipam::arguments;
use crate::ipam::fields::{invalid, parse_ip};
use crate::ipam::result::{Dns, Lease, check_families, read_routes};

/// Keys of `ipam` that say nothing to the plan and the policy, those included that have no meaning
/// for a writer without a lock.
const OTHER_KEYS: &[&str] = &[
    "dns",
    "addresses",
    "network_name",
    "node_slice_size",
    "kubernetes",
    "configuration_path",
    "datastore",
    "log_file",
    "log_level",
    "leader_lease_duration",
    "leader_renew_deadline",
    "leader_retry_period",
    "sleep_for_race",
    "reconciler_cron_expression",
];
const ARGUMENTS: &[&str] = &[
    "IP",
    "GATEWAY",
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_UID",
    "K8S_POD_INFRA_CONTAINER_ID",
];
/// Where the node's journal is unless `dataDir` says otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/cni/braid/addresses";
/// The longest that an address waits for a pod of its name.
const MOST_STICKY: Duration = Duration::from_hours(24 * 365);

/// What a call asks for.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The ranges in their order; an attachment gets one address of each.
    pub(crate) ranges: Vec<Range>,
    /// The addresses that the pod asks for.
    pub(crate) requested: Vec<IpAddr>,
    /// Addresses of the configuration, on top of those of the ranges.
    pub(crate) addresses: Vec<Lease>,
    /// The gateway of every address of its family.
    pub(crate) gateway: Option<IpAddr>,
    /// Gateways that the pod asks for, each for the addresses whose subnet it is in.
    pub(crate) gateways: Vec<IpAddr>,
    /// The routes of the result.
    pub(crate) routes: Vec<Route>,
    /// The DNS of the result.
    pub(crate) dns: Dns,
    /// What names of objects begin with (`network_name`).
    pub(crate) network: Option<String>,
    /// Whether an address must be unique over all ranges.
    pub(crate) overlapping: bool,
    /// The `NodeSlicePool`, if each node allocates from a part of the range.
    pub(crate) slices: Option<String>,
    /// The node's name.
    pub(crate) node: String,
    /// Where the API is.
    pub(crate) access: ApiAccess,
    /// Where the search for an address begins.
    pub(crate) allocation: Allocation,
    /// How long an address outlives its pod for one of the same name.
    pub(crate) sticky: Option<Duration>,
    /// The `IPAMClaim` that the pod names.
    pub(crate) claim: Option<String>,
    /// Where the node's journal is.
    pub(crate) directory: PathBuf,
}

impl Config {
    /// Reads the configuration, the flat file included.
    ///
    /// # Errors
    /// Code 7 for whatever is wrong with it, and for one without ranges and addresses.
    pub(crate) fn read(call: &Call) -> Result<Self, Error> {
        let config = Self::read_for_status(call)?;
        if config.ranges.is_empty() && config.addresses.is_empty() {
            return Err(invalid(
                "no range is configured: whereabouts needs \"ipam.range\" or \"ipam.ipRanges\"",
            ));
        }
        Ok(config)
    }

    /// Reads a configuration whose ranges may come with each pod.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub(crate) fn read_for_status(call: &Call) -> Result<Self, Error> {
        let root = Fields::root(call.object());
        let ipam = root.child("ipam")?.ok_or_else(|| invalid("\"ipam\" is missing"))?;
        ipam.warn_of_unknown(&super::FACTS, OTHER_KEYS);
        let flat = flat_file::read(ipam.text("configuration_path")?)?;
        let node = flat_file::node_name(ipam.text("configuration_path")?);
        Self::merged(call, &flat, node)
    }

    /// The configuration with the values of the flat file for those that are not set.
    fn merged(call: &Call, flat: &Map<String, Value>, node: String) -> Result<Self, Error> {
        let whole = with_defaults(call.object(), flat);
        let root = Fields::root(&whole);
        let ipam = root.child("ipam")?.ok_or_else(|| invalid("\"ipam\" is missing"))?;
        let runtime_config = root.child("runtimeConfig")?;
        let network = ipam.text("network_name")?.map(str::to_owned);
        let config = Self {
            ranges: read_ranges(&ipam)?,
            requested: read_requested(call, &root, runtime_config.as_ref())?,
            addresses: ipam.objects("addresses")?.iter().map(address).collect::<Result<_, _>>()?,
            gateway: ipam
                .text("gateway")?
                .map(|it| parse_address(it, "ipam.gateway"))
                .transpose()?,
            gateways: read_gateways(call)?,
            routes: read_routes(&ipam)?,
            dns: Dns::read(&ipam)?,
            overlapping: ipam.boolean("enable_overlapping_ranges")?.unwrap_or(true),
            slices: slices(call, &ipam, network.as_deref())?,
            network,
            node,
            access: access(&ipam)?,
            allocation: allocation(&ipam)?,
            sticky: ipam.text("sticky")?.map(|it| duration(it, "ipam.sticky")).transpose()?,
            claim: claim(call)?,
            directory: directory(&ipam)?,
        };
        config.check(call)?;
        Ok(config)
    }

    fn check(&self, call: &Call) -> Result<(), Error> {
        if self.ranges.len().saturating_add(self.addresses.len()) > MOST_IPS {
            return Err(invalid(format!(
                "more than {MOST_IPS} ranges and addresses are configured"
            )));
        }
        if let Some(name) = self.network.as_ref().filter(|name| !name::is_valid(name)) {
            let shown = Quoted::text(name);
            return Err(invalid(format!(
                "\"ipam.network_name\" cannot start an object's name: {shown}"
            )));
        }
        let statics = self.addresses.iter().map(|lease| Family::of(lease.address.ip()));
        check_families(self.ranges.iter().map(Range::family).chain(statics), call.version)
    }
}

/// The whole configuration, with an `ipam` in which nothing is missing that the flat file has.
fn with_defaults(object: &Map<String, Value>, flat: &Map<String, Value>) -> Map<String, Value> {
    let mut whole = object.clone();
    let ipam = whole.iter_mut().find(|(key, _)| keys::is_same(key, "ipam"));
    if let Some(Value::Object(ipam)) = ipam.map(|(_, value)| value) {
        merge(ipam, flat);
    }
    whole
}

/// Adds the values that are not set: not of `type`, nor of `enable_overlapping_ranges`, which the
/// definition alone decides, as for whereabouts.
fn merge(object: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    for (key, value) in defaults {
        if ["type", "enable_overlapping_ranges"].iter().any(|own| keys::is_same(own, key)) {
            continue;
        }
        let set = object.iter_mut().find(|(name, _)| keys::is_same(name, key));
        match set.map(|(_, set)| set) {
            Some(Value::Object(inner)) => {
                if let Value::Object(defaults) = value {
                    merge(inner, defaults);
                }
            }
            Some(set) if is_unset(set) => *set = value.clone(),
            Some(_) => {}
            None => drop(object.insert(key.clone(), value.clone())),
        }
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// `range`, then those of `ipRanges`.
fn read_ranges(ipam: &Fields<'_>) -> Result<Vec<Range>, Error> {
    let mut ranges: Vec<Range> = Range::read(ipam)?.into_iter().collect();
    for fields in ipam.objects("ipRanges")? {
        let missing = || invalid(format!("\"{}\" is missing", fields.path_of("range")));
        ranges.push(Range::read(&fields)?.ok_or_else(missing)?);
    }
    Ok(ranges)
}

/// The addresses of `CNI_ARGS`, `args.cni.ips` and the capability `ips` together, each once.
fn read_requested(
    call: &Call,
    root: &Fields<'_>,
    runtime_config: Option<&Fields<'_>>,
) -> Result<Vec<IpAddr>, Error> {
    arguments::check(call, ARGUMENTS)?;
    let mut ips = Vec::new();
    for item in items(call, "IP") {
        ips.push(arguments::parse_ip(item, "CNI_ARGS: IP")?);
    }
    ips.extend(arguments::read_ips(root, runtime_config)?);
    let mut distinct = Vec::with_capacity(ips.len());
    for ip in ips {
        if !distinct.contains(&ip) {
            distinct.push(ip);
        }
    }
    Ok(distinct)
}

fn read_gateways(call: &Call) -> Result<Vec<IpAddr>, Error> {
    items(call, "GATEWAY").map(|item| parse_ip(item, "CNI_ARGS: GATEWAY")).collect()
}

fn items<'c>(call: &'c Call, key: &str) -> impl Iterator<Item = &'c str> {
    let text = arguments::get(call, key).unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn address(entry: &Fields<'_>) -> Result<Lease, Error> {
    let missing = || invalid(format!("\"{}\" is missing", entry.path_of("address")));
    let address = entry.cidr("address")?.ok_or_else(missing)?;
    Ok(Lease { address, gateway: entry.ip("gateway")? })
}

/// The name of the `NodeSlicePool`: the controller names it after `network_name`, else after the
/// network.
fn slices(call: &Call, ipam: &Fields<'_>, network: Option<&str>) -> Result<Option<String>, Error> {
    let size = ipam.text("node_slice_size")?;
    Ok(size.map(|_| network.unwrap_or(call.network.as_str()).to_owned()))
}

fn directory(ipam: &Fields<'_>) -> Result<PathBuf, Error> {
    let path = PathBuf::from(ipam.text("dataDir")?.unwrap_or(DATA_DIR));
    if path.is_absolute() {
        return Ok(path);
    }
    let shown = Quoted::text(&path.to_string_lossy());
    Err(invalid(format!("\"ipam.dataDir\" must be an absolute path, not {shown}")))
}

fn access(ipam: &Fields<'_>) -> Result<ApiAccess, Error> {
    let Some(kubernetes) = ipam.child("kubernetes")? else { return Ok(ApiAccess::default()) };
    Ok(ApiAccess {
        kubeconfig: kubernetes.text("kubeconfig")?.map(PathBuf::from),
        server: kubernetes.text("k8s_api_root")?.map(str::to_owned),
    })
}

fn allocation(ipam: &Fields<'_>) -> Result<Allocation, Error> {
    match ipam.text("allocation")? {
        None | Some("lowest") => Ok(Allocation::Lowest),
        Some("spread") => Ok(Allocation::Spread),
        Some(other) => Err(invalid(format!(
            "\"ipam.allocation\" must be \"lowest\" or \"spread\", not {}",
            Quoted::text(other)
        ))),
    }
}

/// A duration such as `10m`: a whole number of seconds, minutes, hours or days.
fn duration(text: &str, path: &str) -> Result<Duration, Error> {
    let wrong = || {
        let shown = Quoted::text(text);
        invalid(format!(
            "\"{path}\" must be a duration such as \"30s\", \"10m\" or \"24h\", not {shown}"
        ))
    };
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
    let duration = Duration::from_secs(number.saturating_mul(unit));
    if duration.is_zero() || duration > MOST_STICKY {
        return Err(invalid(format!("\"{path}\" must be between a second and a year")));
    }
    Ok(duration)
}

/// The claim that the pod's selection names (NPWG 1.3, `ipam-claim-reference`).
fn claim(call: &Call) -> Result<Option<String>, Error> {
    match call.cni_arg("ipam-claim-reference") {
        None => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name::is_valid(name) => Ok(Some(name.clone())),
        Some(other) => Err(invalid(format!(
            "\"ipam-claim-reference\" must be the name of an IPAMClaim, not {}",
            Quoted::value(other)
        ))),
    }
}

#[cfg(test)]
mod tests;
