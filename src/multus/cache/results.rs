//! libcni's memory of an ADD, which Multus has below its own: what the plugins were given beside
//! their configuration, and what came of it. Without it portmap would leave its rules on DEL.
//!
//! A file that is not whole is as good as none: DEL works without a result, and must not fail for
//! ever.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Remembered;
use crate::device::DEVICE_INFO_CAPABILITY;
use crate::plan::Attachment;
use cni::request::{CniArgs, ContainerId, Sandbox};
use cni::result::AttachmentResult;
use linux::file::read_regular;

/// The mark of the form that libcni has written since 0.8.
pub(super) const KIND: &str = "cniCacheV1";

/// A file of libcni's.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cached {
    pub(super) kind: String,
    pub(super) container_id: String,
    /// The chain, base64 of JSON.
    pub(super) config: String,
    pub(super) if_name: String,
    pub(super) network_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) netns: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cni_args: Option<Vec<(String, String)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) capability_args: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
}

/// The name of the file of an attachment.
pub(super) fn file_name(container: &ContainerId, attachment: &Attachment) -> String {
    format!("{}-{container}-{}", attachment.network.name, attachment.interface)
}

pub(super) fn directory(cache: &Path) -> PathBuf {
    cache.join("results")
}

/// The attachment with what libcni remembers of it.
pub(super) fn complete(cache: &Path, sandbox: &Sandbox, attachment: Attachment) -> Remembered {
    let path = directory(cache).join(file_name(&sandbox.container, &attachment));
    let Some(value) = read(&path) else { return Remembered { attachment, result: None } };
    let (attachment, result) = match serde_json::from_value::<Cached>(value.clone()) {
        Ok(cached) if cached.kind == KIND => (with_arguments(attachment, &cached), cached.result),
        // Before 0.8 the file was the result alone.
        _ => (attachment, Some(value)),
    };
    let result = result.and_then(|result| in_version(result, &attachment));
    Remembered { attachment, result }
}

fn read(path: &Path) -> Option<Value> {
    if !path.exists() {
        return None;
    }
    let read = read_regular(path, super::MAX_BYTES).map_err(|error| error.to_string());
    match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
        Ok(value) => Some(value),
        Err(problem) => {
            log::warn!("the result that multus kept in {} is left out: {problem}", path.display());
            None
        }
    }
}

fn with_arguments(attachment: Attachment, cached: &Cached) -> Attachment {
    let runtime_config = cached.capability_args.clone().unwrap_or_default();
    let device_info_file = runtime_config.get(DEVICE_INFO_CAPABILITY).and_then(Value::as_str);
    Attachment {
        args: cached.cni_args.as_deref().map_or_else(|| attachment.args.clone(), joined),
        device_info_file: device_info_file.map(PathBuf::from),
        runtime_config,
        ..attachment
    }
}

fn joined(pairs: &[(String, String)]) -> CniArgs {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    CniArgs::from(pairs.join(";").as_str())
}

/// Plugins refuse a result in another version than their own.
fn in_version(result: Value, attachment: &Attachment) -> Option<Value> {
    let version = attachment.network.version;
    if result.get("cniVersion").and_then(Value::as_str) == Some(version.as_str()) {
        return Some(result);
    }
    AttachmentResult::read_lenient(&result, version).ok().map(|result| result.write(version))
}

pub(super) fn remove(cache: &Path, container: &ContainerId, attachment: &Attachment) {
    let path = directory(cache).join(file_name(container, attachment));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            log::warn!("cannot remove multus's result {}: {error}", path.display());
        }
        _ => {}
    }
}
