//! The event that tells a pod's owner why its network could not be made.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::PodReference;

/// The `reportingController`.
const CONTROLLER: &str = "braid";
/// The longest note, in bytes (events.k8s.io/v1).
const MAX_NOTE_BYTES: usize = 1024;
/// The longest reason and reporting instance, in bytes.
const MAX_WORD_BYTES: usize = 128;
/// The longest name of an event, in bytes, less a dot and the digest.
const MAX_NAME_BYTES: usize = 253 - 17;

/// A warning about `pod`. Its name is derived from its content, so that a sandbox that keeps
/// failing in the same way makes one event, for as long as the server keeps it.
pub(super) fn warning(pod: &PodReference, reason: &str, message: &str, node: &str) -> Event {
    event("Warning", pod, reason, message, node)
}

/// What has changed of `pod`. Its name has the time in it: a change may come again.
pub(super) fn note(pod: &PodReference, reason: &str, message: &str, node: &str) -> Event {
    let mut event = event("Normal", pod, reason, message, node);
    let time = Timestamp::now().as_microsecond();
    event.metadata.name = Some(name(pod, reason, &format!("{message} {time}")));
    event
}

fn event(kind: &str, pod: &PodReference, reason: &str, message: &str, node: &str) -> Event {
    let note = &shortened(message, MAX_NOTE_BYTES);
    Event {
        metadata: ObjectMeta {
            name: Some(name(pod, reason, note)),
            namespace: Some(pod.namespace.to_string()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        action: Some("AttachNetworks".to_owned()),
        reason: Some(cut(reason, MAX_WORD_BYTES).to_owned()),
        note: Some(note.to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(&format!("{CONTROLLER}-{node}"), MAX_WORD_BYTES).to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.clone()),
            uid: pod.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

fn name(pod: &PodReference, reason: &str, note: &str) -> String {
    let mut digest = DefaultHasher::new();
    (&pod.uid, reason, note).hash(&mut digest);
    // A name may not have a dot or a dash before the next dot.
    let prefix = cut(&pod.name, MAX_NAME_BYTES).trim_end_matches(['.', '-']);
    format!("{prefix}.{:016x}", digest.finish())
}

/// `text`, or its beginning and an ellipsis.
fn shortened(text: &str, limit: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= limit {
        text.to_owned()
    } else {
        cut(text, limit - MORE.len()).to_owned() + MORE
    }
}

/// The longest beginning of `text` with at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    let end =
        (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodReference {
        PodReference {
            namespace: "team-a".parse().unwrap(),
            name: "web".to_owned(),
            uid: Some(uid.to_owned()),
        }
    }

    #[test]
    fn the_same_failure_has_the_same_name() {
        let name =
            |uid, note: &str| warning(&pod(uid), "Refused", note, "n1").metadata.name.unwrap();
        assert_eq!(name("u1", "a"), name("u1", "a"));
        assert_ne!(name("u1", "a"), name("u1", "b"));
        assert_ne!(name("u1", "a"), name("u2", "a"));
        assert_eq!(name("u1", "a").len(), "web.".len() + 16);
    }

    #[test]
    fn texts_are_cut_to_the_limits_of_the_server() {
        let mut pod = pod("u");
        pod.name = format!("{}-{}", "a".repeat(235), "b".repeat(17));
        let event = warning(&pod, &"r".repeat(200), &"ä".repeat(1000), &"n".repeat(200));
        let note = event.note.unwrap();
        assert!((1022..=1024).contains(&note.len()) && note.ends_with("ä…"), "{note}");
        assert_eq!(event.reason.unwrap().len(), 128);
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && name.parse::<crate::pod::name::DefinitionName>().is_ok());
        assert!(!name.contains("-."), "{name}");
    }
}
