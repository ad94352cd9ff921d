//! Networks that running pods get and lose during the walk.

use serde_json::json;

use super::walk::Walk;
use super::weather::Weather;

impl Walk<'_> {
    /// Whether the networks of a pod may be changed: a plugin that hangs would hold the change up
    /// for longer than a round.
    pub(super) fn is_changeable(&self, at: usize) -> bool {
        let sandbox = &self.sandboxes[at];
        let is_calm = !matches!(self.weather, Weather::Hanging | Weather::Full);
        is_calm && sandbox.has_netns && sandbox.is_recorded() && sandbox.changes < 8
    }

    /// Where the commands for people find what the calls are sent.
    pub(super) fn write_conflist(&self) {
        let mut entry = self.node.call("ADD", self.primary.clone()).config();
        for key in ["runtimeConfig", "name", "cniVersion", "capabilities"] {
            entry.as_object_mut().unwrap().remove(key);
        }
        entry["type"] = json!("braid");
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
        self.node.write("tool.d/00-braid.conflist", &conflist.to_string());
    }
}
