//! What a migration has changed, and what it waits for.

use serde::Serialize;

use crate::operator::change::Shown;
use crate::operator::console::{Exit, OutputStyle, Tone, View};
use crate::operator::install;

/// What was changed, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::operator) struct Migrated {
    pub(in crate::operator) dry_run: bool,
    pub(in crate::operator) changes: Vec<Shown>,
    /// The pods whose records Multus has got.
    pub(in crate::operator) handed_over: Vec<String>,
    /// The pods that Multus could not tear down.
    pub(in crate::operator) waiting_for: Vec<String>,
    /// What else there is to do.
    pub(in crate::operator) notes: Vec<String>,
}

impl View for Migrated {
    fn text(&self, style: &OutputStyle) -> String {
        let mut text: String =
            self.changes.iter().map(|change| change.text(style, self.dry_run)).collect();
        for pod in &self.handed_over {
            text.push_str(&format!("{} {pod}\n", style.paint(Tone::Strong, "hand over")));
        }
        for pod in &self.waiting_for {
            text.push_str(&format!("{}: {pod}\n", style.paint(Tone::Odd, "waiting")));
        }
        if !self.waiting_for.is_empty() {
            text.push_str(
                "multus could not tear these pods down: move them to other nodes (kubectl drain), \
                 then run this again\n",
            );
        }
        let note = |note: &String| {
            format!("{}: {}\n", style.paint(Tone::Odd, "note"), style.wrap(6, note))
        };
        text.extend(self.notes.iter().map(note));
        if text.is_empty() { install::NOTHING_TO_CHANGE.to_owned() } else { text }
    }

    fn exit(&self) -> Exit {
        if self.waiting_for.is_empty() { Exit::Done } else { Exit::NotYet }
    }
}
