//! Which running sandbox a person means, or a pod of the API is in.

use super::CommandError;
use super::list::{NoRecord, Selected};
use super::node::Node;
use super::records::Records;
use crate::ledger::{Key, Listed};
use crate::verb::leftovers::StaleSandboxDetector;
use crate::verb::running::{CachedSandbox, Target, cached_sandboxes};

/// The one running sandbox of a pod (`[namespace/]name`) or of a container's ID, or enough of its
/// beginning.
///
/// # Errors
/// [`NoRecord`] if there is none, or several.
pub(super) fn find(node: &Node, word: &Word) -> Result<Target, CommandError> {
    let wanted = word.text();
    let records = Records::read(&node.ledger())?;
    let recorded = Selected::of(&wanted, &records);
    if let Err(error @ NoRecord::Several(..)) = recorded {
        return Err(error.into());
    }
    let recorded = recorded.as_ref().map(|found| found.live.as_slice()).unwrap_or_default();
    let mut keys: Vec<Key> = living(recorded).map(|listed| listed.header().key.clone()).collect();
    let is_meant = |cached: &CachedSandbox| match word {
        Word::Pod(pod) => cached.pod() == *pod,
        Word::Container(id) => cached.key.container.as_str().starts_with(id),
    };
    let mut cached = cached_sandboxes(&node.config);
    cached.retain(|cached| is_meant(cached) && !keys.contains(&cached.key));
    if keys.len() == 1 && (cached.is_empty() || matches!(word, Word::Pod(_))) {
        return Ok(Target { key: keys.remove(0), cached: None });
    }
    match (keys.as_slice(), cached.pop(), cached.is_empty()) {
        ([], Some(only), true) => Ok(Target { key: only.key.clone(), cached: Some(only) }),
        ([], None, _) => match Selected::of(&wanted, &records) {
            Err(error) => Err(error.into()),
            Ok(_) => Err(NoRecord::Gone(wanted).into()),
        },
        (_, last, _) => {
            let more = last.into_iter().chain(cached).map(|cached| cached.key);
            let names = keys.into_iter().chain(more).map(|key| key.file_name());
            Err(NoRecord::Several(wanted, names.collect::<Vec<_>>().join(", ")).into())
        }
    }
}

/// The running sandbox of a pod with this UID; nothing if there is none (yet).
///
/// # Errors
/// [`CommandError`] if the ledger cannot be read.
pub(super) fn find_by_uid(
    node: &Node,
    pod: &str,
    uid: &str,
) -> Result<Option<Target>, CommandError> {
    let records = Records::read(&node.ledger())?;
    let of_pod = records.only(|listed| listed.header().pod == pod);
    for listed in living(&of_pod.live) {
        let Some(record) = records.open(listed)? else { continue };
        if record.plan.args.get("K8S_POD_UID") == Some(uid) {
            return Ok(Some(Target { key: record.plan.key, cached: None }));
        }
    }
    let cached = cached_sandboxes(&node.config).into_iter();
    let mut cached = cached.filter(|cached| cached.pod() == pod && cached.uid() == Some(uid));
    Ok(cached.next().map(|cached| Target { key: cached.key.clone(), cached: Some(cached) }))
}

/// The records whose sandbox is not gone.
fn living(records: &[Listed]) -> impl Iterator<Item = &Listed> {
    let mut detector = StaleSandboxDetector::default();
    records.iter().filter(move |listed| !detector.is_gone(&listed.header().netns))
}

/// What a sandbox is meant by.
#[derive(Debug)]
pub(super) enum Word {
    /// `namespace/name` of its pod.
    Pod(String),
    /// The beginning of the container's ID.
    Container(String),
}

impl Word {
    /// A pod as `[namespace/]name`; without a namespace it is `default`, as for kubectl.
    pub(super) fn pod(text: &str) -> Self {
        Self::Pod(if text.contains('/') { text.to_owned() } else { format!("default/{text}") })
    }

    fn text(&self) -> String {
        match self {
            Self::Pod(text) | Self::Container(text) => text.clone(),
        }
    }
}
