//! GC (CNI 1.1.0, section 2): tears down recorded attachments that the runtime no longer has, then
//! lets the networks clean up behind them.
//!
//! Only records of the request's own network are touched: a node may have several conflists, and
//! each is collected with a list of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Value, json};

use super::{Session, del, leftovers};
use crate::attach;
use crate::config::ValidAttachment;
use crate::ledger::{Depth, LedgerError, Listed, Record, RecordHeader, Sweep};
use crate::multus::cache;
use crate::plan::Role;
use crate::prepare::primary;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::{Missing, NetworkConfig, NetworkName};

/// As many bytes of configurations as are kept of records that GC has torn down.
const MAX_GONE_BYTES: usize = 16 << 20;

pub(super) fn gc(session: &mut Session<'_>) -> Result<(), Error> {
    session.config.require(&["cni.dev/valid-attachments"])?;
    let Some(valid) = session.config.from_runtime.valid_attachments.clone() else {
        let problem = "GC without \"cni.dev/valid-attachments\" would take every attachment for a stale one; nothing was done";
        return Err(Error::new(Code::CONFIG, problem));
    };
    let deadline = Deadline::after(super::limit::OTHER);
    let mut failures: Vec<Error> = Vec::new();
    let (records, unreadable) = read_records(session, Vec::new(), deadline.share(4))?;
    failures.extend(unreadable.into_iter().map(Error::from));
    let (gone, failed) = tear_down_stale(session, &records, &valid, deadline);
    failures.extend(failed);
    leftovers::tear_down_elsewhere(session, &records, deadline);
    failures.extend(retry_orphans(session, deadline));
    failures.extend(collect_networks(session, records, gone, &valid, deadline));
    session.ledger.sweep();
    session.definitions().copies.sweep();
    if failures.is_empty() {
        return Ok(());
    }
    let sentences: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let code = if let [only] = failures.as_slice() { only.code } else { Code::TEARDOWN };
    Err(Error::new(code, sentences.join("; ")))
}

/// Reads what each record says of itself, but for those of `known` that have not changed since.
fn read_records(
    session: &Session<'_>,
    known: Vec<Listed>,
    deadline: Deadline,
) -> Result<(Vec<Listed>, Vec<LedgerError>), Error> {
    let mut scan = session.ledger.scan(Sweep::Gc, Depth::Whole, deadline)?.knowing(known);
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for record in &mut scan {
        match record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(error),
        }
    }
    if scan.unread() > 0 {
        unreadable.push(LedgerError::NoTime(scan.unread()));
    }
    Ok((records, unreadable))
}

/// Networks of records that are gone, whose plugins are to have GC: each with the time of its
/// record, and its configuration as text, which takes a tenth of the room.
#[derive(Default)]
struct GoneNetworks {
    networks: BTreeMap<NetworkName, (u64, String)>,
    bytes: usize,
}

impl GoneNetworks {
    fn keep(&mut self, record: &Record) {
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

fn tear_down_stale(
    session: &mut Session<'_>,
    records: &[Listed],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> (GoneNetworks, Vec<Error>) {
    let valid: HashSet<(&str, &str)> = valid
        .iter()
        .map(|attachment| (attachment.container.as_str(), attachment.interface.as_str()))
        .collect();
    let is_stale = |record: &&Listed| {
        let RecordHeader { key, network, .. } = record.header();
        *network == session.config.network
            && !valid.contains(&(key.container.as_str(), key.interface.as_str()))
    };
    let stale: Vec<&Listed> = records.iter().filter(is_stale).collect();
    let (mut gone, mut failures) = (GoneNetworks::default(), Vec::new());
    for (done, record) in stale.iter().enumerate() {
        if deadline.remaining().is_zero() {
            failures.push(LedgerError::NoTime(stale.len() - done).into());
            break;
        }
        session.ledger.stopped_at(Sweep::Gc, &record.name());
        match tear_down_one(session, record, deadline.share(stale.len() - done)) {
            Ok(Some(record)) => gone.keep(&record),
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
    (gone, failures)
}

/// Tears down what a record holds, and returns it; nothing if it has gone, or come anew, since it
/// was listed. A container whose lock is held is being added or deleted right now, and none of GC's
/// business.
pub(super) fn tear_down_one(
    session: &mut Session<'_>,
    listed: &Listed,
    deadline: Deadline,
) -> Result<Option<Record>, Error> {
    let key = &listed.header().key;
    let now = Deadline::after(std::time::Duration::ZERO);
    let _lock = match session.hold(&key.container, now) {
        Ok(lock) => lock,
        Err(LedgerError::Busy(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !session.ledger.is_unchanged(listed) {
        return Ok(None);
    }
    let Some(record) = session.ledger.read(key)? else { return Ok(None) };
    log::info!("container {} is gone: its networks are torn down", key.container);
    del::tear_down(session, &record, "", deadline)
        .map_err(|error| error.about(format!("pod {}", record.plan.pod)))?;
    Ok(Some(record))
}

/// Tries orphans until a part of the time has gone, one of them in memory at a time. The next GC
/// begins behind the last one.
fn retry_orphans(session: &mut Session<'_>, deadline: Deadline) -> Vec<Error> {
    let ledger = session.ledger.clone();
    let orphans = match ledger.all_orphans() {
        Ok(orphans) => orphans,
        Err(error) => return vec![error.into()],
    };
    let (until, mut failures) = (deadline.share(2), Vec::new());
    for orphan in orphans {
        if until.remaining().is_zero() {
            log::warn!(
                "there was no time for every network that could not be torn down: the next GC goes on"
            );
            break;
        }
        match orphan {
            Ok((path, record)) if record.plan.network == session.config.network => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                ledger.stopped_at(Sweep::Orphans, &name);
                failures.extend(retry_orphan(session, &path, &record, until));
            }
            Ok(_) => {}
            Err(error) => failures.push(error.into()),
        }
    }
    failures
}

fn retry_orphan(
    session: &mut Session<'_>,
    path: &Path,
    record: &Record,
    deadline: Deadline,
) -> Vec<Error> {
    let place = attach::Place {
        container: &record.plan.key.container,
        netns: &del::living_netns(record, ""),
    };
    let mut attacher = session.attacher(place);
    let failed: Vec<_> = record
        .remaining()
        .flat_map(|(_, attachment, result)| attacher.del(attachment, result, deadline.share(4)))
        .collect();
    if failed.is_empty() {
        return session.ledger.remove_orphan(path).err().map(Error::from).into_iter().collect();
    }
    failed.into_iter().map(Error::from).collect()
}

/// GC of the primary with the runtime's list, and of each extra network with the whole list that
/// the ledger holds for it.
fn collect_networks(
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
