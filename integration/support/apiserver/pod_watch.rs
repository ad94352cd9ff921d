//! The pods of every namespace, listed page by page and watched, as an API server does it:
//! selected by their node, compressed if both sides want it, with bookmarks, and forgetful of old
//! versions when it is told to be.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::connection::Body;
use super::identity::User;
use super::objects::{metadata_only, status};
use super::rbac::Right;
use super::{ApiServer, Shared};

/// How often the objects are compared with what a watch has told.
const LOOK: Duration = Duration::from_millis(20);
/// How often a watch has a bookmark.
const BOOKMARK: Duration = Duration::from_millis(500);

/// How the server's watches behave.
#[derive(Default)]
pub(crate) struct Watches {
    is_compressed: AtomicBool,
    /// Versions up to here are too old to watch from.
    forgotten: AtomicU64,
    /// Watches of an earlier generation end.
    generation: AtomicU64,
    /// How many have begun.
    begun: AtomicU64,
}

impl ApiServer {
    /// Lists and watches of pods are compressed from now on.
    pub(crate) fn compress_pods(&self) {
        self.shared.watches.is_compressed.store(true, Ordering::SeqCst);
    }

    /// Every watch ends, and none goes on from where it was (410).
    pub(crate) fn forget_versions(&self) {
        let now = version(&self.objects().all("pods"));
        self.shared.watches.forgotten.store(now, Ordering::SeqCst);
        self.end_watches();
    }

    /// Every watch ends as at its timeout.
    pub(crate) fn end_watches(&self) {
        self.shared.watches.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// How many watches have begun so far.
    pub(crate) fn watches(&self) -> u64 {
        self.shared.watches.begun.load(Ordering::SeqCst)
    }
}

fn version(pods: &[Value]) -> u64 {
    let versions = pods.iter().map(version_of);
    versions.max().unwrap_or(1)
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// The answer to a request about the pods of a node; `None` to any other.
pub(super) fn answer(
    shared: &Arc<Shared>,
    parts: &http::request::Parts,
    user: Option<&User>,
) -> Option<Response<Body>> {
    let path = parts.uri.path().strip_prefix(shared.prefix.as_str())?;
    let query = Query(parts.uri.query().unwrap_or_default().to_owned());
    let is_of_a_node = path == "/api/v1/pods" && query.node().is_some();
    let user = user.filter(|_| is_of_a_node)?;
    let verb = if query.get("watch").is_some() { "watch" } else { "list" };
    let right = Right { verb: verb.to_owned(), group: String::new(), resource: "pods".to_owned() };
    let is_allowed = {
        let mut objects = shared.objects.lock().unwrap();
        let is_allowed = objects.rbac.allows(user, &right, "", None);
        objects.rights.push((right, is_allowed));
        is_allowed
    };
    if !is_allowed {
        let message = format!(
            "pods is forbidden: User \"{}\" cannot {verb} resource \"pods\" in API group \"\" at \
             the cluster scope",
            user.name
        );
        return Some(plain(status(403, "Forbidden", &message, Some(json!({"kind": "pods"})))));
    }
    let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap());
    assert!(
        header("accept").unwrap_or_default().contains("as=PartialObjectMetadata"),
        "whole pods are asked for"
    );
    let accepts = header("accept-encoding").is_some_and(|encodings| encodings.contains("gzip"));
    let is_compressed = accepts && shared.watches.is_compressed.load(Ordering::SeqCst);
    Some(match verb {
        "list" => list(shared, &query, is_compressed),
        _ => watch(shared, &query, is_compressed),
    })
}

/// The query of a request.
struct Query(String);

impl Query {
    fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
    }

    /// The node whose pods are selected, if they are those of a node.
    fn node(&self) -> Option<&str> {
        self.get("fieldSelector")?.strip_prefix("spec.nodeName%3D")
    }
}

fn selected(shared: &Shared, node: &str) -> Vec<Value> {
    let mut pods = shared.objects.lock().unwrap().all("pods");
    pods.retain(|pod| pod["spec"]["nodeName"] == node);
    pods
}

fn list(shared: &Shared, query: &Query, is_compressed: bool) -> Response<Body> {
    let all = shared.objects.lock().unwrap().all("pods");
    let pods = selected(shared, query.node().unwrap());
    let from: usize = query.get("continue").and_then(|text| text.parse().ok()).unwrap_or(0);
    let limit: usize = query.get("limit").and_then(|text| text.parse().ok()).unwrap();
    let mut metadata = json!({"resourceVersion": version(&all).to_string()});
    if from + limit < pods.len() {
        metadata["continue"] = json!((from + limit).to_string());
    }
    let items: Vec<Value> = pods.into_iter().skip(from).take(limit).collect();
    let list = metadata_only(json!({"metadata": metadata, "items": items})).to_string();
    let mut response = Response::builder().header("content-type", "application/json");
    let bytes = if is_compressed {
        response = response.header("content-encoding", "gzip");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(list.as_bytes()).unwrap();
        encoder.finish().unwrap()
    } else {
        list.into_bytes()
    };
    response.body(Full::from(bytes).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

fn plain((code, value): (u16, Value)) -> Response<Body> {
    let body = Full::from(value.to_string()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn expired() -> (u16, Value) {
    status(410, "Expired", "too old resource version", None)
}

/// A watch under way.
struct Watch {
    shared: Arc<Shared>,
    node: String,
    /// The versions that were told of, by UID.
    told: BTreeMap<String, (u64, Value)>,
    generation: u64,
    bookmark: Instant,
    encoder: Option<GzEncoder<Vec<u8>>>,
    has_ended: bool,
}

fn watch(shared: &Arc<Shared>, query: &Query, is_compressed: bool) -> Response<Body> {
    let from: u64 = query.get("resourceVersion").unwrap().parse().unwrap();
    assert_eq!(query.get("allowWatchBookmarks"), Some("true"));
    assert!(query.get("timeoutSeconds").is_some());
    if from <= shared.watches.forgotten.load(Ordering::SeqCst) {
        return plain(expired());
    }
    shared.watches.begun.fetch_add(1, Ordering::SeqCst);
    let node = query.node().unwrap().to_owned();
    let known = selected(shared, &node).into_iter().filter(|pod| version_of(pod) <= from);
    let watch = Watch {
        told: known.map(|pod| (uid(&pod), (version_of(&pod), pod))).collect(),
        shared: shared.clone(),
        node,
        generation: shared.watches.generation.load(Ordering::SeqCst),
        bookmark: Instant::now(),
        encoder: is_compressed.then(|| GzEncoder::new(Vec::new(), Compression::default())),
        has_ended: false,
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let events = watch.next().await?;
        Some((Ok(Frame::data(watch.encode(&events))), watch))
    });
    let mut response = Response::builder().header("content-type", "application/json");
    if is_compressed {
        response = response.header("content-encoding", "gzip");
    }
    response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

impl Watch {
    /// The next events; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Value>> {
        loop {
            if self.has_ended {
                return None;
            }
            if self.shared.watches.generation.load(Ordering::SeqCst) != self.generation {
                self.has_ended = true;
                let told = self.told.values().map(|(version, _)| *version).max().unwrap_or(1);
                let is_old = told <= self.shared.watches.forgotten.load(Ordering::SeqCst);
                return is_old.then(|| vec![json!({"type": "ERROR", "object": expired().1})]);
            }
            let mut events = self.changes();
            if events.is_empty() && self.bookmark.elapsed() >= BOOKMARK {
                self.bookmark = Instant::now();
                let version = version(&self.shared.objects.lock().unwrap().all("pods"));
                let metadata =
                    json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
                events.push(json!({"type": "BOOKMARK", "object": {"kind": "PartialObjectMetadata", "metadata": metadata}}));
            }
            if !events.is_empty() {
                return Some(events);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn changes(&mut self) -> Vec<Value> {
        let pods = selected(&self.shared, &self.node);
        let event =
            |kind: &str, pod: &Value| json!({"type": kind, "object": metadata_only(pod.clone())});
        let mut events = Vec::new();
        let now: Vec<String> = pods.iter().map(uid).collect();
        self.told.retain(|uid, (_, pod)| {
            let is_there = now.contains(uid);
            if !is_there {
                events.push(event("DELETED", pod));
            }
            is_there
        });
        for pod in pods {
            let version = version_of(&pod);
            let kind = match self.told.get(&uid(&pod)) {
                None => "ADDED",
                Some((told, _)) if *told < version => "MODIFIED",
                Some(_) => continue,
            };
            events.push(event(kind, &pod));
            self.told.insert(uid(&pod), (version, pod));
        }
        events
    }

    /// One line for each event, flushed: they can be read before the next come.
    fn encode(&mut self, events: &[Value]) -> Bytes {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        match &mut self.encoder {
            None => lines.into(),
            Some(encoder) => {
                encoder.write_all(lines.as_bytes()).unwrap();
                encoder.flush().unwrap();
                std::mem::take(encoder.get_mut()).into()
            }
        }
    }
}
