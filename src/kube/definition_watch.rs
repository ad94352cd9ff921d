//! All definitions of a cluster, and each change of them: a list in pages, then a watch, again
//! whenever that breaks off.

use futures_util::{Stream, StreamExt};
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};

use super::answer::{self, Definition};
use super::definitions::ClusterDefinition;
use crate::pod::name::{DefinitionName, Namespace};
use cni::error::one_line;

/// Definitions of a page: each may have a mebibyte.
const PAGE: u32 = 32;
/// The annotations that mean something; others, `kubectl`'s copy of the object say, can be larger
/// than all else.
const KEPT: [&str; 2] = ["braid.io/", "k8s.v1.cni.cncf.io/"];

/// What has become known.
#[derive(Debug)]
pub(crate) enum DefinitionChange {
    /// A list begins: what was known may be out of date.
    ListBegins,
    /// One of the list.
    Listed(ClusterDefinition),
    /// The list is complete.
    ListEnds,
    /// One is new, or has changed.
    Put(ClusterDefinition),
    /// One is gone.
    Removed(Namespace, DefinitionName),
}

/// The changes, without an end; an error is one that was waited out, or is about one object.
pub(crate) fn watch_definitions(
    client: kube::Client,
) -> impl Stream<Item = Result<DefinitionChange, String>> {
    let definitions: Api<Definition> = Api::all(client);
    let events = watch(definitions, watcher::Config::default().page_size(PAGE)).default_backoff();
    events.map(|event| match event {
        Ok(event) => change(event),
        Err(error) => Err(one_line(&with_cause(&error), 400)),
    })
}

fn change(event: Event<Definition>) -> Result<DefinitionChange, String> {
    Ok(match event {
        Event::Init => DefinitionChange::ListBegins,
        Event::InitApply(object) => DefinitionChange::Listed(read(object)?),
        Event::InitDone => DefinitionChange::ListEnds,
        Event::Apply(object) => DefinitionChange::Put(read(object)?),
        Event::Delete(object) => {
            let gone = read(object)?;
            DefinitionChange::Removed(gone.namespace, gone.name)
        }
    })
}

fn read(object: Definition) -> Result<ClusterDefinition, String> {
    use kube::ResourceExt;
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let mut definition = answer::definition(&namespace, &name, object)
        .map_err(|error| format!("definition {namespace}/{name}: {error}"))?;
    definition.annotations.retain(|key, _| KEPT.iter().any(|kept| key.starts_with(kept)));
    Ok(definition)
}

/// The error with what caused it, which kube's errors leave to their sources.
fn with_cause(error: &watcher::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}
