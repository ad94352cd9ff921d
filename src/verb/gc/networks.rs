//! GC of the networks themselves: what their plugins keep of attachments that are in no list.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::read_records;
use crate::attach;
use crate::config::ValidAttachment;
use crate::ledger::{LedgerError, Listed, Record};
use crate::multus::cache;
use crate::plan::Role;
use crate::prepare::primary;
use crate::verb::{Session, del, leftovers};
use cni::deadline::Deadline;
use cni::error::Error;
use cni::netconf::{Missing, NetworkConfig, NetworkName};

/// As many bytes of configurations as are kept of records that GC has torn down.
const MAX_GONE_BYTES: usize = 16 << 20;

/// Networks of records that are gone, whose plugins are to have GC: each with the time of its
/// record, and its configuration as text, which takes a tenth of the room.
#[derive(Default)]
pub(super) struct GoneNetworks {
    networks: BTreeMap<NetworkName, (u64, String)>,
    bytes: usize,
}

impl GoneNetworks {
    pub(super) fn keep(&mut self, record: &Record) {
        let extras =
            record.plan.attachments.iter().filter(|attachment| attachment.role == Role::Extra);
        for network in
            extras.map(|attachment| &attachment.network).filter(|network| network.has_gc())
        {
            let newer = |(created, _): &(u64, String)| *created > record.plan.created;
            if self.networks.get(&network.name).is_some_and(newer) {
                continue;
            }
            let text = network.to_value().to_string();
            self.bytes += text.len();
            if self.bytes > MAX_GONE_BYTES {
                return log::warn!(
                    "network \"{}\" of a pod that is gone is not collected: too many are",
                    network.name
                );
            }
            self.networks.insert(network.name.clone(), (record.plan.created, text));
        }
    }
}

/// GC of the primary with the runtime's list, and of each extra network with the whole list that
/// the ledger holds for it.
pub(super) fn collect(
    session: &mut Session<'_>,
    known: Vec<Listed>,
    gone: GoneNetworks,
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let (live, unreadable) = match read_records(session, known, deadline.share(2)) {
        Ok(records) => records,
        Err(error) => return vec![error],
    };
    let mut extras = Extras::of(&live, gone, &session.config.network);
    let attached = Attached::of(&live);
    let mut failures = Vec::new();
    match primary_network(session) {
        Ok(Some(network)) => {
            failures.extend(collect_primary(session, &network, &attached, valid, deadline));
            extras.remove(&network.name);
        }
        Ok(None) => {}
        Err(error) => failures.push(error),
    }
    match unknown_attachments(session, &unreadable) {
        Some(problem) if !extras.is_empty() => {
            log::warn!("extra networks are not collected: {problem}");
        }
        _ => failures.extend(collect_extras(session, extras, &attached, valid, deadline)),
    }
    leftovers::report_addresses(session, &live, deadline);
    failures
}

fn collect_primary(
    session: &mut Session<'_>,
    network: &NetworkConfig,
    attached: &Attached,
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let list = of_runtime(valid).chain(attached.to(&network.name));
    let failed =
        attach::gc(&mut session.delegates, network, &to_value(list.collect()), deadline.share(2));
    failed.into_iter().map(Error::from).collect()
}

/// The extra networks of the request's records whose plugins are to have GC, in the newest
/// configuration of each.
struct Extras<'r> {
    /// Those that a record still holds: the record, and their positions in it.
    recorded: BTreeMap<NetworkName, (&'r Listed, usize)>,
    gone: BTreeMap<NetworkName, (u64, String)>,
}

impl<'r> Extras<'r> {
    fn of(live: &'r [Listed], gone: GoneNetworks, network: &NetworkName) -> Self {
        let mut ours: Vec<&Listed> =
            live.iter().filter(|record| record.header().network == *network).collect();
        ours.sort_by_key(|record| record.header().created);
        let mut newest: BTreeMap<&NetworkName, (&Listed, usize, bool)> = BTreeMap::new();
        for record in ours {
            let attachments = record.header().attachments.iter().enumerate();
            for (at, attachment) in
                attachments.filter(|(_, attachment)| attachment.role == Role::Extra)
            {
                newest.insert(&attachment.network, (record, at, attachment.has_gc));
            }
        }
        let mut extras = Self { recorded: BTreeMap::new(), gone: gone.networks };
        for (name, (record, at, has_gc)) in newest {
            if extras.gone.get(name).is_some_and(|(created, _)| *created > record.header().created)
            {
                continue;
            }
            extras.gone.remove(name);
            if has_gc {
                extras.recorded.insert(name.clone(), (record, at));
            }
        }
        extras
    }

    fn remove(&mut self, name: &NetworkName) {
        self.recorded.remove(name);
        self.gone.remove(name);
    }

    fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.gone.is_empty()
    }

    /// What is read at once: the positions of one record's.
    fn by_record(&self) -> Vec<(&'r Listed, Vec<usize>)> {
        let mut records: BTreeMap<String, (&'r Listed, Vec<usize>)> = BTreeMap::new();
        for (record, at) in self.recorded.values() {
            records.entry(record.name()).or_insert_with(|| (record, Vec::new())).1.push(*at);
        }
        records.into_values().collect()
    }
}

/// The configurations of one record are in memory at a time.
fn collect_extras(
    session: &mut Session<'_>,
    extras: Extras<'_>,
    attached: &Attached,
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let mut failures = Vec::new();
    let missing = Missing { name: None, version: session.config.version };
    for text in extras.gone.values().map(|(_, text)| text) {
        match NetworkConfig::parse(text, &missing) {
            Ok(network) => {
                failures.extend(collect_extra(session, &network, attached, valid, deadline))
            }
            Err(error) => log::warn!("{error}"),
        }
    }
    for (record, positions) in extras.by_record() {
        match session.ledger.attachments(record, &positions) {
            Ok(attachments) => failures.extend(attachments.iter().flat_map(|attachment| {
                collect_extra(session, &attachment.network, attached, valid, deadline)
            })),
            Err(error) => failures.push(error.into()),
        }
    }
    failures
}

fn collect_extra(
    session: &mut Session<'_>,
    network: &NetworkConfig,
    attached: &Attached,
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    if deadline.remaining().is_zero() {
        log::warn!("network \"{}\" is not collected: there was no time for it", network.name);
        return Vec::new();
    }
    let mut list: Vec<_> = attached.to(&network.name).collect();
    // Behind a chained Braid, a definition may bear the name of the runtime's own network.
    if network.name == session.config.network {
        list.extend(of_runtime(valid));
    }
    let failed = attach::gc(&mut session.delegates, network, &to_value(list), deadline.share(4));
    failed.into_iter().map(Error::from).collect()
}

/// What the runtime says is alive.
fn of_runtime(valid: &[ValidAttachment]) -> impl Iterator<Item = (String, String)> {
    valid.iter().map(|attachment| (attachment.container.clone(), attachment.interface.clone()))
}

/// Why the list of an extra network's attachments may lack living ones, whose addresses would be
/// freed.
fn unknown_attachments(session: &Session<'_>, unreadable: &[LedgerError]) -> Option<String> {
    if let Some(error) = unreadable.first() {
        return Some(error.to_string());
    }
    if session.ledger.has_set_aside() {
        return Some(
            "a record was set aside: look at it, then remove it from \"aside\"".to_owned(),
        );
    }
    let directory = cache::any(&session.config.state_dir)?;
    Some(format!(
        "multus remembers containers in {}, which may be on them still",
        directory.display()
    ))
}

fn primary_network(session: &Session<'_>) -> Result<Option<NetworkConfig>, Error> {
    let config = session.config;
    config.require(&del::PRIMARY_KEYS)?;
    let Some(source) = &config.primary else { return Ok(None) };
    config.require(source.places())?;
    match primary::resolve(source, config, &mut session.definitions()) {
        Ok(resolved) => Ok(Some(resolved.network)),
        Err(error) if error.is_transient() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the ledger holds of each network, in every record: containers and interfaces.
struct Attached(HashMap<NetworkName, Vec<(String, String)>>);

impl Attached {
    fn of(records: &[Listed]) -> Self {
        let mut networks: HashMap<NetworkName, Vec<(String, String)>> = HashMap::new();
        for record in records {
            let container = &record.header().key.container;
            for (_, attachment) in record.remaining() {
                let one = (container.to_string(), attachment.interface.to_string());
                networks.entry(attachment.network.clone()).or_default().push(one);
            }
        }
        Self(networks)
    }

    fn to(&self, network: &NetworkName) -> impl Iterator<Item = (String, String)> {
        self.0.get(network).into_iter().flatten().cloned()
    }
}

fn to_value(mut list: Vec<(String, String)>) -> Value {
    list.sort();
    list.dedup();
    list.into_iter()
        .map(|(container, interface)| json!({"containerID": container, "ifname": interface}))
        .collect()
}
