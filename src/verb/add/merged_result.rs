//! The one result of an ADD: the primary's, and what the extra networks add to it.

use serde_json::Value;

use super::Addition;
use crate::attach::default_route::RouteChange;
use crate::attach::snapshot::{SeenRoute, Snapshot};
use crate::config::ResultScope;
use crate::plan::{Attachment, Role};
use cni::family::Family;
use cni::result::AttachmentResult;

impl Addition<'_, '_> {
    /// The result in the request's version: the primary's, then what each extra network adds, if
    /// `resultScope` is `all`.
    pub(super) fn merge(
        &self,
        results: Vec<AttachmentResult>,
        changes: &Option<(&Attachment, Vec<RouteChange>)>,
        snapshot: &Snapshot,
    ) -> Value {
        let version = self.session.config.version;
        let mut results: Vec<_> = self.plan.attachments.iter().zip(results).collect();
        let is_primary = |attachment: &Attachment| attachment.role == Role::Primary;
        let mut merged = match (&self.chained, results.first()) {
            (Some(result), _) => result.clone(),
            (None, Some((first, _))) if is_primary(first) => results.remove(0).1,
            (None, _) => AttachmentResult::default(),
        };
        // Before 0.3.0 an address has no interface: an extra's would be taken for the pod's.
        if self.session.config.result_scope == ResultScope::All && version.has_interfaces() {
            for (attachment, mut extra) in results {
                extra.routes.retain(|route| !snapshot.has_removed(&attachment.interface, route));
                add_default_routes(&mut merged, attachment, &extra, snapshot);
                merged.append(extra, attachment.interface.as_str(), &self.sandbox.netns);
            }
        }
        for change in changes.iter().flat_map(|(_, changes)| changes) {
            merged.replace_default_routes(change.family, &change.hops);
        }
        merged.write(version)
    }
}

/// A default route that an extra network brought if there was none: the kernel has it, so the
/// result shows it.
fn add_default_routes(
    merged: &mut AttachmentResult,
    attachment: &Attachment,
    extra: &AttachmentResult,
    snapshot: &Snapshot,
) {
    for family in Family::ALL {
        let ours =
            |route: &SeenRoute| route.family == family && route.is_through(&attachment.interface);
        if merged.default_hops(family).is_empty() && snapshot.default_routes.iter().any(ours) {
            merged.replace_default_routes(family, &extra.default_hops(family));
        }
    }
}
