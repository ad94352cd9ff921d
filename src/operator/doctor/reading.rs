//! Whether the runtime that runs has read Braid's configuration, and whether pods have started
//! without it: no file tells that.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Finding, fail, ok, warn};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::operator::installation::{InstallMode, Installation};
use crate::operator::records::Records;
use crate::operator::runtime::{Runtime, Sandbox};
use crate::pod::NETWORKS_ANNOTATION;

/// How many sandboxes without a record are asked for, each by a request of its own.
const MAX_ASKED: usize = 50;
/// How many of them a line names.
const NAMED: usize = 5;

/// What the runtime says.
pub(super) fn check(
    runtime: &Runtime,
    root: &Path,
    place: &Installation,
    config: &Config,
) -> Vec<Finding> {
    // Before an installation there is nothing to be read.
    if !place.file.exists() {
        return Vec::new();
    }
    let pods = pods_without_braid(runtime, root, place, config);
    loaded(runtime, root, place).into_iter().chain(pods).collect()
}

fn loaded(runtime: &Runtime, root: &Path, place: &Installation) -> Option<Finding> {
    let file = place.file.display();
    match runtime.has_loaded(root, place.network()) {
        Ok(true) => Some(ok("loaded", "the runtime has read braid's entry")),
        Ok(false) if place.stance == InstallMode::ChainedFile => Some(fail(
            "loaded",
            format!(
                "the runtime has not read {file}: pods start without the networks that they ask \
                 for, silently"
            ),
            "run braid install, which makes the runtime read its directory, or restart the runtime",
        )),
        Ok(false) => Some(fail(
            "loaded",
            format!("the runtime has not read braid's entry in {file}"),
            "see why in the runtime's log, or restart it",
        )),
        // Only a file of a chain can be there and not be read.
        Err(error) if place.stance == InstallMode::ChainedFile => Some(warn(
            "loaded",
            format!("whether the runtime has read {file} is not known: {error}"),
            "start a pod with an extra network, and see whether it has it",
        )),
        Err(_) => None,
    }
}

/// Pods that ask for networks, have started since Braid's configuration was written, and have no
/// record.
fn pods_without_braid(
    runtime: &Runtime,
    root: &Path,
    place: &Installation,
    config: &Config,
) -> Option<Finding> {
    let since = place.file.metadata().ok()?.ctime();
    let records = Records::read(&Ledger::new(&config.state_dir)).ok()?;
    // A record that cannot be read may be any pod's.
    if !records.unreadable.is_empty() {
        return None;
    }
    let known: HashSet<String> =
        records.live.iter().map(|listed| listed.header().key.container.to_string()).collect();
    let sandboxes = runtime.sandboxes(root).ok()?.into_iter();
    let suspects =
        sandboxes.filter(|it| it.runs_since(since) && asks(it) && !known.contains(&it.id));
    let without: Vec<String> = suspects
        .take(MAX_ASKED)
        .filter(|it| runtime.has_own_network(root, &it.id).unwrap_or(false))
        .map(|it| it.pod())
        .collect();
    (!without.is_empty()).then(|| {
        let named = without.get(..NAMED).unwrap_or(&without).join(", ");
        let message = format!(
            "{} running pods ask for networks and have started without braid since it was \
             installed: {named}",
            without.len()
        );
        fail(
            "pods",
            message,
            "see \"loaded\" and \"order\" above, then delete these pods, which \
                               start anew",
        )
    })
}

fn asks(sandbox: &Sandbox) -> bool {
    let asked = sandbox.annotations.get(NETWORKS_ANNOTATION).map_or("", |text| text.trim());
    !matches!(asked, "" | "[]" | "null")
}
