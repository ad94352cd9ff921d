//! `CNI_ARGS` as plugins read it: pairs of which every key is known, unless `IgnoreUnknown` is
//! true.

use std::net::IpAddr;

use cni::error::Error;
use cni::plugin::Call;
use cni::quoted::Quoted;

use super::fields::{self, Fields, invalid};

/// Makes sure that the keys of `CNI_ARGS` are among `known`, or may be passed over.
///
/// An empty item, as behind a trailing semicolon, is no pair and does no harm.
///
/// # Errors
/// Code 7 for an item that is no pair, an `IgnoreUnknown` that is no truth value, and unknown keys.
pub(crate) fn check(call: &Call, known: &[&str]) -> Result<(), Error> {
    let args = call.sandbox.as_ref().map_or("", |sandbox| sandbox.args.as_str());
    let mut unknown = Vec::new();
    let mut ignored = false;
    for item in args.split(';').filter(|item| !item.is_empty()) {
        let Some((key, value)) = item.split_once('=') else {
            return Err(invalid(format!("CNI_ARGS: {} must be KEY=VALUE", Quoted::text(item))));
        };
        match key {
            "IgnoreUnknown" => ignored = truth(value)?,
            key if known.contains(&key) => {}
            key => unknown.push(key),
        }
    }
    match unknown.first() {
        Some(first) if !ignored => {
            let shown = Quoted::text(first);
            Err(invalid(format!(
                "CNI_ARGS: key {shown} is not known; IgnoreUnknown=1 passes it over"
            )))
        }
        _ => Ok(()),
    }
}

fn truth(value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(invalid(format!(
            "CNI_ARGS: IgnoreUnknown must be 1 or 0, not {}",
            Quoted::text(value)
        ))),
    }
}

/// The value of `key`, which may be empty.
pub(crate) fn get<'c>(call: &'c Call, key: &str) -> Option<&'c str> {
    call.sandbox.as_ref()?.args.get(key)
}

/// The addresses that a pod asks for in `args.cni.ips` and in the capability `ips`.
pub(crate) fn read_ips(
    root: &Fields<'_>,
    runtime_config: Option<&Fields<'_>>,
) -> Result<Vec<IpAddr>, Error> {
    let cni_args = root.child("args")?.map(|args| args.child("cni")).transpose()?.flatten();
    let mut ips = Vec::new();
    for source in cni_args.as_ref().into_iter().chain(runtime_config) {
        for (path, text) in source.texts("ips")? {
            ips.push(parse_ip(text, &path)?);
        }
    }
    Ok(ips)
}

/// An address that a pod asks for. A prefix length may stand behind it; that of the range is used.
pub(crate) fn parse_ip(text: &str, path: &str) -> Result<IpAddr, Error> {
    if text.contains('/') {
        return fields::parse_cidr(text, path).map(|network| network.ip());
    }
    fields::parse_ip(text, path)
}
