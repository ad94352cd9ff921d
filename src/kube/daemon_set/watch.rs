//! A watch of the DaemonSet, begun while its pod has the right to. An API server checks rights when
//! a watch begins and not later, so the DaemonSet's end is known even if everything is deleted at
//! once and the rights go first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::ACCEPT;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::Seen;
use crate::kube::access::{Access, Source};
use crate::kube::api_request::{ApiRequest, DAEMON_SETS};
use crate::kube::connection::Connection;
use crate::kube::session::Session;
use crate::kube::{Cluster, ClusterConfig, exec};
use crate::pod::name::NamespacedName;
use cni::request::Environment;

/// For how long the server is asked to keep the watch.
const LIFETIME: Duration = Duration::from_secs(1800);
/// A watch that says nothing for longer than its life has died unnoticed.
const SILENCE: Duration = Duration::from_secs(1900);
/// The wait before the next watch, after one that has ended or could not begin.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest event: only metadata is asked for.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What a watch has said so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Known {
    /// Whether a watch is open.
    is_open: bool,
    /// Whether the DaemonSet was gone, or being deleted, when it was last heard of.
    is_leaving: bool,
}

/// A watch on a thread of its own, for as long as the process lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaemonSetWatch {
    known: Arc<Mutex<Known>>,
}

/// An event (Kubernetes API concepts, "Efficient detection of changes").
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

impl DaemonSetWatch {
    /// Begins to watch, with the credential of the pod that this runs in. It never fails: a watch
    /// that cannot be opened is tried again.
    pub(crate) fn start(daemon_set: &NamespacedName) -> Self {
        let watch = Self::default();
        let (daemon_set, told) = (daemon_set.clone(), watch.clone());
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            loop {
                if let Err(problem) = told.follow(&daemon_set) {
                    log::debug!("the watch of DaemonSet {daemon_set} has ended: {problem}");
                }
                told.set(|known| known.is_open = false);
                std::thread::sleep(PAUSE);
            }
        });
        if let Err(error) = started {
            log::warn!("cannot watch the DaemonSet: {error}");
        }
        watch
    }

    /// Whether a watch is open, so that the DaemonSet's end will be heard of.
    pub(crate) fn is_open(&self) -> bool {
        self.known().is_open
    }

    /// Whether the DaemonSet was gone, or being deleted, when it was last heard of.
    pub(crate) fn is_leaving(&self) -> bool {
        self.known().is_leaving
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads the DaemonSet as it is now, and then what becomes of it, until the watch ends.
    fn follow(&self, daemon_set: &NamespacedName) -> Result<(), String> {
        let (config, environment) = (ClusterConfig::default(), Environment::of_process());
        let no_api = || "there is no API to ask".to_owned();
        let mut cluster = Cluster::configured(&config, &environment).ok_or_else(no_api)?;
        let seen = cluster.daemon_set(daemon_set).map_err(|error| error.to_string())?;
        self.set(|known| known.is_leaving = !seen.stays);
        let source = Source::in_cluster(&environment, &config.service_account);
        let source = source.ok_or_else(no_api)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let variables = exec::variables(&environment, &[]);
            let access = Access::open(&source, &variables, config.timeout).await;
            let access = access.map_err(|error| error.to_string())?;
            let session = Session::new(Arc::new(access), Arc::default(), config.timeout);
            let body = open(&session, daemon_set, &seen).await?;
            self.set(|known| known.is_open = true);
            self.read(body).await
        })
    }

    async fn read(&self, mut body: Incoming) -> Result<(), String> {
        let mut text = Vec::new();
        loop {
            let frame = timeout(SILENCE, body.frame()).await.map_err(|_| "it is silent")?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| error.to_string())?;
            text.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes.as_ref()));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let is_leaving = leaving(&line)?;
                self.set(|known| known.is_leaving = is_leaving);
            }
            if text.len() > MAX_LINE_BYTES {
                return Err("an event is larger than 1 MiB".to_owned());
            }
        }
    }
}

/// Opens the watch from what was seen; its body.
async fn open(
    session: &Session,
    daemon_set: &NamespacedName,
    seen: &Seen,
) -> Result<Incoming, String> {
    let request = ApiRequest::about("watch", DAEMON_SETS, "DaemonSet", daemon_set);
    // Names of Kubernetes' need no escape.
    let path = format!(
        "/apis/apps/v1/namespaces/{}/daemonsets?watch=true&fieldSelector=metadata.name%3D{}&resourceVersion={}&timeoutSeconds={}",
        daemon_set.namespace,
        daemon_set.name,
        seen.version,
        LIFETIME.as_secs()
    );
    let outgoing = Request::get(path)
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let outgoing = session.prepare(&request, &outgoing).await.map_err(|error| error.to_string())?;
    let access = session.access();
    let beginning = async {
        let connection = Connection::open(access, session.timeout(), None).await?;
        connection.begin(outgoing, access).await
    };
    let response = timeout(session.timeout(), beginning).await.map_err(|_| "no answer")?;
    let response = response.map_err(|error| format!("{error:?}"))?;
    if !response.status().is_success() {
        return Err(format!("the API answers with status {}", response.status()));
    }
    Ok(response.into_body())
}

/// Whether an event says that the DaemonSet is gone, or being deleted.
///
/// # Errors
/// What is wrong with the event, or what the server reports in its place.
fn leaving(line: &[u8]) -> Result<bool, String> {
    let event: Event = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match event.kind.as_str() {
        "DELETED" => Ok(true),
        "ADDED" | "MODIFIED" => Ok(event.object.metadata.deletion_timestamp.is_some()),
        kind => Err(format!("an event of type {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_say_whether_the_daemonset_goes() {
        let event = |kind: &str, metadata: &str| {
            leaving(
                format!(r#"{{"type": "{kind}", "object": {{"metadata": {metadata}}}}}"#).as_bytes(),
            )
        };
        assert_eq!(event("ADDED", "{}"), Ok(false));
        assert_eq!(event("MODIFIED", r#"{"deletionTimestamp": "2026-01-01T00:00:00Z"}"#), Ok(true));
        assert_eq!(event("DELETED", "{}"), Ok(true));
        assert!(event("ERROR", "{}").is_err(), "the place is too old: it is read anew");
        assert!(leaving(b"{").is_err());
    }
}
