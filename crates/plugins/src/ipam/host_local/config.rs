//! The configuration of `host-local`, from all the places that give a part of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni::error::Error;
use cni::plugin::Call;
use cni::result::{MOST_IPS, Route};

use super::range::{Range, RangeSet};
use crate::ipam::Fields;
use crate::ipam::arguments;
use crate::ipam::fields::invalid;
use crate::ipam::result::{check_families, read_routes};

const ARGUMENTS: &[&str] = &["IP"];
/// Where addresses are reserved unless `dataDir` says otherwise.
const DATA_DIR: &str = "/var/lib/cni/networks";

/// What a call asks for.
#[derive(Debug)]
pub(crate) struct Config {
    /// The sets in the order of their index; an attachment gets one address of each.
    pub(crate) sets: Vec<RangeSet>,
    /// The addresses that the pod asks for.
    pub(crate) requested: Vec<IpAddr>,
    /// The routes of the result.
    pub(crate) routes: Vec<Route>,
    /// The file that the result's DNS is read from.
    pub(crate) resolv_conf: Option<PathBuf>,
    /// Where the network's addresses are reserved.
    pub(crate) directory: PathBuf,
}

/// The directory of the network's reservations.
///
/// # Errors
/// Code 7 for a `dataDir` that is no text.
pub(crate) fn directory(call: &Call) -> Result<PathBuf, Error> {
    let ipam = Fields::root(call.object()).child("ipam")?;
    let data_dir = ipam.map(|ipam| ipam.text("dataDir")).transpose()?.flatten();
    Ok(Path::new(data_dir.unwrap_or(DATA_DIR)).join(call.network.as_str()))
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Code 7 for whatever is wrong with it, and for one without ranges.
    pub(crate) fn read(call: &Call) -> Result<Self, Error> {
        let config = Self::read_for_status(call)?;
        if config.sets.is_empty() {
            return Err(invalid(
                "no range is configured: host-local needs \"ipam.ranges\", \"ipam.subnet\", or the \
                 capability \"ipRanges\"",
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
        ipam.warn_of_unknown(&super::FACTS, &[]);
        let runtime_config = root.child("runtimeConfig")?;
        let sets = read_sets(&ipam, runtime_config.as_ref())?;
        check_families(sets.iter().map(RangeSet::family), call.version)?;
        Ok(Self {
            sets,
            requested: read_requested(call, &root, runtime_config.as_ref())?,
            routes: read_routes(&ipam)?,
            resolv_conf: ipam.text("resolvConf")?.map(PathBuf::from),
            directory: directory(call)?,
        })
    }
}

/// The sets of the capability `ipRanges`, then the range beside the other keys, then `ranges`.
pub(super) fn read_sets(
    ipam: &Fields<'_>,
    runtime_config: Option<&Fields<'_>>,
) -> Result<Vec<RangeSet>, Error> {
    let lists = |fields: &Fields<'_>, key: &str| -> Result<Vec<RangeSet>, Error> {
        let lists = fields.lists_of_objects(key)?.into_iter().enumerate();
        lists
            .map(|(at, ranges)| RangeSet::read(&ranges, &format!("{}[{at}]", fields.path_of(key))))
            .collect()
    };
    let mut sets = runtime_config.map_or(Ok(Vec::new()), |fields| lists(fields, "ipRanges"))?;
    if let Some(range) = Range::read(ipam)? {
        sets.push(RangeSet::of(vec![range], "ipam")?);
    }
    sets.extend(lists(ipam, "ranges")?);
    if sets.len() > MOST_IPS {
        return Err(invalid(format!("more than {MOST_IPS} range sets are configured")));
    }
    for (at, set) in sets.iter().enumerate() {
        if let Some(other) = sets.iter().take(at).find(|other| other.overlaps(set)) {
            return Err(invalid(format!(
                "{other} and {set} overlap: an address belongs to one set"
            )));
        }
    }
    Ok(sets)
}

/// The addresses of `CNI_ARGS`, `args.cni.ips` and the capability `ips` together.
fn read_requested(
    call: &Call,
    root: &Fields<'_>,
    runtime_config: Option<&Fields<'_>>,
) -> Result<Vec<IpAddr>, Error> {
    arguments::check(call, ARGUMENTS)?;
    let argument = arguments::get(call, "IP").map(|text| arguments::parse_ip(text, "CNI_ARGS: IP"));
    let mut ips: Vec<IpAddr> = argument.transpose()?.into_iter().collect();
    ips.extend(arguments::read_ips(root, runtime_config)?);
    Ok(ips)
}
