//! A watch: each change of what a path lists, as long as the client reads. It begins with all that
//! is there, as one from an old version does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::request::Parts;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::Shared;
use super::connection::Body;
use super::identity::User;
use super::objects::{Key, Target};

/// How often the objects are compared.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client knows.
struct Watch {
    shared: Arc<Shared>,
    target: Target,
    known: BTreeMap<Key, Value>,
}

impl Watch {
    /// The lines for what has changed; waits until something has.
    async fn next(&mut self) -> Bytes {
        loop {
            let now = self.shared.objects.lock().unwrap().listed(&self.target);
            let known = std::mem::replace(&mut self.known, now);
            let gone = known.iter().filter(|(key, _)| !self.known.contains_key(*key));
            let gone = gone.map(|(_, object)| ("DELETED", object));
            let put = self.known.iter().filter_map(|(key, object)| match known.get(key) {
                None => Some(("ADDED", object)),
                Some(before) if before != object => Some(("MODIFIED", object)),
                Some(_) => None,
            });
            let line = |(kind, object)| json!({"type": kind, "object": object}).to_string() + "\n";
            let lines: String = gone.chain(put).map(line).collect();
            if !lines.is_empty() {
                return lines.into();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The body of the answer to a request that asks to watch, and may.
pub(super) fn start(shared: &Arc<Shared>, parts: &Parts, user: Option<&User>) -> Option<Body> {
    let asks = parts.uri.query().unwrap_or_default().split('&').any(|pair| pair == "watch=true");
    let path = parts.uri.path().strip_prefix(shared.prefix.as_str())?;
    let target = Target::parse(path).filter(|target| asks && target.name.is_none())?;
    shared.objects.lock().unwrap().may_watch(user?, &target).ok()?;
    let watch = Watch { shared: shared.clone(), target, known: BTreeMap::new() };
    let frames = stream::unfold(watch, |mut watch| async {
        let lines = watch.next().await;
        Some((Ok::<_, std::io::Error>(Frame::data(lines)), watch))
    });
    Some(StreamBody::new(frames).boxed_unsync())
}
