//! GC (CNI 1.1.0, section 2): tears down recorded attachments that the runtime no longer has, then lets
//! the networks clean up behind them.
//!
//! Only records of the request's own network are touched: a node may have several conflists, and each
//! is collected with a list of its own.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{Session, del, leftovers};
use crate::attach;
use crate::config::ValidAttachment;
use crate::ledger::{LedgerError, Record};
use crate::multus_cache;
use crate::plan::Role;
use crate::primary;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::{NetworkConfig, NetworkName};

pub(super) fn gc(session: &mut Session<'_>) -> Result<(), Error> {
    session.config.require(&["cni.dev/valid-attachments"])?;
    let Some(valid) = session.config.valid_attachments.clone() else {
        let problem = "GC without \"cni.dev/valid-attachments\" would take every attachment for a stale one; nothing was done";
        return Err(Error::new(Code::CONFIG, problem));
    };
    let deadline = Deadline::after(super::limit::OTHER);
    let mut failures: Vec<Error> = Vec::new();
    let (records, unreadable) = read_records(session)?;
    failures.extend(unreadable);
    failures.extend(tear_down_stale(session, &records, &valid, deadline));
    leftovers::tear_down_elsewhere(session, &records, deadline);
    failures.extend(retry_orphans(session, deadline));
    failures.extend(collect_networks(session, &records, &valid, deadline));
    session.ledger.sweep();
    session.definitions().copies.sweep();
    leftovers::report_addresses(session, &records);
    if failures.is_empty() {
        return Ok(());
    }
    let sentences: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let code = if let [only] = failures.as_slice() { only.code } else { Code::TEARDOWN };
    Err(Error::new(code, sentences.join("; ")))
}

fn read_records(session: &Session<'_>) -> Result<(Vec<Record>, Vec<Error>), Error> {
    let mut records = Vec::new();
    let mut unreadable = Vec::new();
    for record in session.ledger.all()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(Error::from(error)),
        }
    }
    Ok((records, unreadable))
}

fn tear_down_stale(
    session: &mut Session<'_>,
    records: &[Record],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let valid: HashSet<(&str, &str)> = valid
        .iter()
        .map(|attachment| (attachment.container.as_str(), attachment.interface.as_str()))
        .collect();
    let is_stale = |record: &&Record| {
        let key = &record.plan.key;
        record.plan.network == session.config.network
            && !valid.contains(&(key.container.as_str(), key.interface.as_str()))
    };
    let stale: Vec<&Record> = records.iter().filter(is_stale).collect();
    let count = stale.len();
    let outcomes = stale
        .into_iter()
        .enumerate()
        .map(|(done, record)| tear_down_one(session, record, deadline.share(count - done)));
    outcomes.filter_map(Result::err).collect()
}

/// A container whose lock is held is being added or deleted right now, and none of GC's business.
pub(super) fn tear_down_one(
    session: &mut Session<'_>,
    record: &Record,
    deadline: Deadline,
) -> Result<(), Error> {
    let key = &record.plan.key;
    let now = Deadline::after(std::time::Duration::ZERO);
    let _lock = match session.hold(&key.container, now) {
        Ok(lock) => lock,
        Err(LedgerError::Busy(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Read again: it may have gone, or come anew, since the list was read.
    match session.ledger.read(key)? {
        Some(current) if current == *record => {
            log::info!("container {} is gone: its networks are torn down", key.container);
            del::tear_down(session, &current, "", deadline)
                .map_err(|error| error.about(format!("pod {}", record.plan.pod)))
        }
        _ => Ok(()),
    }
}

fn retry_orphans(session: &mut Session<'_>, deadline: Deadline) -> Vec<Error> {
    let mut failures = Vec::new();
    let mut ours = Vec::new();
    for orphan in session.ledger.all_orphans().unwrap_or_else(|error| vec![Err(error)]) {
        match orphan {
            Ok((path, record)) if record.plan.network == session.config.network => ours.push((path, record)),
            Ok(_) => {}
            Err(error) => failures.push(Error::from(error)),
        }
    }
    for (path, record) in ours {
        let place =
            attach::Place { container: &record.plan.key.container, netns: &del::living_netns(&record, "") };
        let mut attacher = session.attacher(place);
        let failed: Vec<_> = record
            .remaining()
            .flat_map(|(_, attachment, result)| attacher.del(attachment, result, deadline.share(4)))
            .collect();
        if failed.is_empty() {
            failures.extend(session.ledger.remove_orphan(&path).err().map(Error::from));
        }
        failures.extend(failed.into_iter().map(Error::from));
    }
    failures
}

/// GC of the primary with the runtime's list, and of each extra network with the whole list that the
/// ledger holds for it.
fn collect_networks(
    session: &mut Session<'_>,
    torn_down: &[Record],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let (live, unreadable) = match read_records(session) {
        Ok(records) => records,
        Err(error) => return vec![error],
    };
    let mut extras = extra_networks(torn_down, &session.config.network);
    let mut failures = Vec::new();
    match primary_network(session) {
        Ok(Some(network)) => {
            failures.extend(collect_primary(session, &network, &live, valid, deadline));
            extras.remove(&network.name);
        }
        Ok(None) => {}
        Err(error) => failures.push(error),
    }
    match unknown_attachments(session, !unreadable.is_empty()) {
        Some(problem) if !extras.is_empty() => {
            log::warn!("extra networks are not collected: {problem}");
        }
        _ => failures.extend(collect_extras(session, extras, &live, valid, deadline)),
    }
    failures
}

fn collect_primary(
    session: &mut Session<'_>,
    network: &NetworkConfig,
    live: &[Record],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let list = of_runtime(valid).chain(attachments_of(&network.name, live));
    let failed = attach::gc(&mut session.delegates, network, &to_value(list.collect()), deadline.share(2));
    failed.into_iter().map(Error::from).collect()
}

fn collect_extras(
    session: &mut Session<'_>,
    networks: BTreeMap<NetworkName, NetworkConfig>,
    live: &[Record],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> Vec<Error> {
    let mut failures = Vec::new();
    for (name, network) in networks {
        let mut list: Vec<_> = attachments_of(&name, live).collect();
        // Behind a chained Braid, a definition may bear the name of the runtime's own network.
        if name == session.config.network {
            list.extend(of_runtime(valid));
        }
        let failed = attach::gc(&mut session.delegates, &network, &to_value(list), deadline.share(4));
        failures.extend(failed.into_iter().map(Error::from));
    }
    failures
}

/// What the runtime says is alive.
fn of_runtime(valid: &[ValidAttachment]) -> impl Iterator<Item = (String, String)> {
    valid.iter().map(|attachment| (attachment.container.clone(), attachment.interface.clone()))
}

/// Why the list of an extra network's attachments may lack living ones, whose addresses would be freed.
fn unknown_attachments(session: &Session<'_>, unreadable: bool) -> Option<String> {
    if unreadable {
        return Some("a record cannot be read".to_owned());
    }
    if session.ledger.has_set_aside() {
        return Some("a record was set aside: look at it, then remove it from \"aside\"".to_owned());
    }
    let directory = multus_cache::any(&session.config.state_dir)?;
    Some(format!("multus remembers containers in {}, which may be on them still", directory.display()))
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

/// The extra networks of the request's records, the newest configuration of each.
fn extra_networks(records: &[Record], network: &NetworkName) -> BTreeMap<NetworkName, NetworkConfig> {
    let mut ours: Vec<&Record> = records.iter().filter(|record| record.plan.network == *network).collect();
    ours.sort_by_key(|record| record.plan.created);
    let attachments = ours.into_iter().flat_map(|record| &record.plan.attachments);
    let extras = attachments.filter(|attachment| attachment.role == Role::Extra);
    extras.map(|attachment| (attachment.network.name.clone(), attachment.network.clone())).collect()
}

/// What the ledger holds for a network, whoever's record it is in.
fn attachments_of(name: &NetworkName, records: &[Record]) -> impl Iterator<Item = (String, String)> {
    let remaining = records
        .iter()
        .flat_map(|record| record.remaining().map(move |(_, attachment, _)| (record, attachment)));
    let of_network = remaining.filter(move |(_, attachment)| attachment.network.name == *name);
    of_network
        .map(|(record, attachment)| (record.plan.key.container.to_string(), attachment.interface.to_string()))
}

fn to_value(mut list: Vec<(String, String)>) -> Value {
    list.sort();
    list.dedup();
    list.into_iter()
        .map(|(container, interface)| json!({"containerID": container, "ifname": interface}))
        .collect()
}
