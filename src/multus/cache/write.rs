//! A record of Braid's as Multus and libcni would have written it, so that Multus tears the pod
//! down.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::results::{self, Cached};
use crate::ledger::{LedgerError, Record};
use crate::plan::{Attachment, Role};
use cni::request::CniArgs;
use linux::directory::{prepare, write_and_sync};

/// Writes what is left of `record` into Multus's directory: the results first, since the list of
/// delegates is what Multus looks for. Returns whether it could be said in Multus's words: its list
/// begins with the primary, which a chained record has not, and one that is half torn down may have
/// lost. It is on the disk then.
///
/// # Errors
/// [`LedgerError`] if the directory cannot be used or a file cannot be written.
pub fn write(directory: &Path, record: &Record) -> Result<bool, LedgerError> {
    let remaining: Vec<_> = record.remaining().collect();
    if remaining.first().is_none_or(|(_, attachment, _)| attachment.role != Role::Primary) {
        return Ok(false);
    }
    let container = &record.plan.key.container;
    let beside = results::directory(directory);
    prepare(directory, &beside)?;
    for (_, attachment, result) in &remaining {
        let name = results::file_name(container, attachment);
        // Multus's name for it can be longer than a file's may be; it does without a result then.
        if let (Some(result), true) = (result, name.len() < 255) {
            let cached = json!(cached(record, attachment, result));
            write_and_sync(&beside, &name, cached.to_string().as_bytes())?;
        }
    }
    let delegates: Vec<Value> =
        remaining.iter().map(|(_, attachment, _)| delegate(attachment)).collect();
    write_and_sync(directory, container.as_str(), json!(delegates).to_string().as_bytes())?;
    Ok(true)
}

/// A delegate. Multus takes one with `ConfList.plugins` for a chain, and runs what is in `Bytes`.
/// The empty text asks for no interface in particular.
fn delegate(attachment: &Attachment) -> Value {
    let list = attachment.network.to_value();
    let asked = if attachment.role == Role::Extra { attachment.interface.as_str() } else { "" };
    json!({
        "Conf": {"cniVersion": attachment.network.version.as_str(), "name": attachment.network.name},
        "ConfList": list,
        "Name": attachment.network.name,
        "ifnameRequest": asked,
        "Bytes": STANDARD.encode(list.to_string()),
    })
}

fn cached(record: &Record, attachment: &Attachment, result: &Value) -> Cached {
    Cached {
        kind: results::KIND.to_owned(),
        container_id: record.plan.key.container.to_string(),
        config: STANDARD.encode(attachment.network.to_value().to_string()),
        if_name: attachment.interface.to_string(),
        network_name: attachment.network.name.to_string(),
        netns: record.plan.netns.path.clone(),
        cni_args: Some(pairs(&attachment.args)),
        capability_args: Some(attachment.runtime_config.clone()),
        result: Some(result.clone()),
    }
}

fn pairs(args: &CniArgs) -> Vec<(String, String)> {
    let pairs = args.as_str().split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
