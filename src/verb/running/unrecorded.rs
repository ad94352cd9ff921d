//! Pods behind a chained Braid that have asked for nothing so far have no record. What the runtime
//! has kept of their ADD says where they are: libcni's cache (`/var/lib/cni/results`, beside
//! `cniDir`), which containerd and CRI-O write once a pod's whole chain has succeeded.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Target;
use super::held::gone;
use crate::attach::snapshot::Snapshot;
use crate::config::Config;
use crate::ledger::{Key, LAYOUT, Mode, Record, RecordPlan, RecordedNetns};
use crate::pod::Pod;
use crate::verb::add::read_snapshot;
use crate::verb::{Session, boot_id, netns_at, now};
use cni::error::{Code, Error};
use cni::name::InterfaceName;
use cni::request::{CniArgs, ContainerId};
use cni::result::AttachmentResult;
use cni::version::Version;
use linux::directory;
use linux::netlink::Inside;
use plugins::kernel::kernel_error;

/// The largest file of the cache that is read: libcni keeps the configuration and the result in it.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// As many files as are looked at.
const MAX_FILES: usize = 4096;

/// A sandbox as the runtime's cache has it.
#[derive(Clone, Debug)]
pub(crate) struct CachedSandbox {
    /// Container and interface.
    pub(crate) key: Key,
    /// Where its namespace was.
    netns: String,
    /// `CNI_ARGS` of the ADD.
    args: CniArgs,
    /// The result of the whole chain.
    result: Value,
}

impl CachedSandbox {
    /// The pod, as `namespace/name`.
    pub(crate) fn pod(&self) -> String {
        Pod::from_args(&self.args).map(|pod| pod.to_string()).unwrap_or_default()
    }

    /// The pod's UID, if the runtime says it.
    pub(crate) fn uid(&self) -> Option<&str> {
        self.args.get("K8S_POD_UID")
    }
}

/// A file of the cache (libcni, `cachedInfo`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    container_id: ContainerId,
    if_name: InterfaceName,
    network_name: String,
    /// Since libcni 1.2.
    #[serde(default)]
    netns: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    result: Value,
}

/// The sandboxes of Braid's network in the runtime's cache. A file that cannot be read is passed
/// over: it is the runtime's.
pub(crate) fn cached_sandboxes(config: &Config) -> Vec<CachedSandbox> {
    let Some(directory) = config.state_dir.parent().map(|parent| parent.join("results")) else {
        return Vec::new();
    };
    if config.is_delegating() || !is_trusted(&directory) {
        return Vec::new();
    }
    let prefix = format!("{}-", config.network);
    let files = fs::read_dir(&directory).into_iter().flatten().flatten().map(|file| file.path());
    let is_ours = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(&prefix))
    };
    let read = |path: PathBuf| read(&path, config.network.as_str());
    files.filter(is_ours).take(MAX_FILES).filter_map(read).collect()
}

fn is_trusted(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| directory::distrust(&metadata).is_none())
}

fn read(path: &Path, network: &str) -> Option<CachedSandbox> {
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES || metadata.uid() != 0 {
        return None;
    }
    let cached: Cached = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let args: Vec<String> =
        cached.cni_args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let key = Key { container: cached.container_id, interface: cached.if_name };
    let netns = if cached.netns.is_empty() {
        sandbox_of(&cached.result, key.interface.as_str()).unwrap_or_default()
    } else {
        cached.netns
    };
    (cached.network_name == network).then(|| CachedSandbox {
        key,
        netns,
        args: args.join(";").as_str().into(),
        result: cached.result,
    })
}

/// The namespace's path as the result has it.
fn sandbox_of(result: &Value, interface: &str) -> Option<String> {
    let interfaces = result.get("interfaces")?.as_array()?;
    let is_it = |it: &&Value| it.get("name").and_then(Value::as_str) == Some(interface);
    Some(interfaces.iter().find(is_it)?.get("sandbox")?.as_str()?.to_owned())
}

/// The record that a pod without one would have: it has asked for nothing so far.
///
/// # Errors
/// [`Error`] if nothing is known of it.
pub(super) fn record(session: &Session<'_>, target: &Target) -> Result<Record, Error> {
    if session.config.is_delegating() {
        let problem = format!(
            "container {} has no record: braid could not write it when the pod was started, or the \
             pod is older than braid's installation; delete the pod to have it attached anew",
            target.key.container
        );
        return Err(Error::new(Code::UNKNOWN_CONTAINER, problem));
    }
    let cached = target.cached.as_ref().ok_or_else(|| gone(&target.key))?;
    let netns = netns_at(&cached.netns).map_err(kernel_error)?;
    let netns = netns.ok_or_else(|| gone(&target.key))?;
    let mut inside = Inside::new(&netns);
    let netlink = inside.netlink().map_err(kernel_error)?;
    let snapshot: Snapshot = read_snapshot(netlink).map_err(kernel_error)?;
    let recorded = RecordedNetns {
        boot: boot_id(),
        id: netns.id(),
        cookie: netlink.netns_cookie(),
        path: cached.netns.clone(),
    };
    let primary = AttachmentResult::read_lenient(&cached.result, session.config.version);
    let plan = RecordPlan {
        layout: LAYOUT,
        key: target.key.clone(),
        network: session.config.network.clone(),
        mode: Mode::Chained,
        netns: recorded,
        pod: cached.pod(),
        args: cached.args.clone(),
        created: now(),
        attachments: Vec::new(),
        primary: primary.ok().map(|result| result.write(Version::NEWEST)),
        declined: Vec::new(),
    };
    Ok(Record::new(plan, snapshot))
}
