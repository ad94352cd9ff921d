//! How far `braid uninstall` came, and how it is told.

use serde::Serialize;

use crate::operator::change::Shown;
use crate::operator::console::{Exit, OutputStyle, Tone, View};

/// How far it came.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::operator) struct Left {
    pub(super) dry_run: bool,
    /// Whether nothing of Braid is left in the runtime's way.
    pub(super) done: bool,
    /// Whether new extra networks are refused on this node.
    pub(super) drains: bool,
    pub(super) changes: Vec<Shown>,
    /// The pods that still have extra networks.
    pub(super) waiting_for: Vec<String>,
    /// The containers for which a call is at work, which may attach one yet.
    pub(super) calls_at_work: Vec<String>,
    /// What was left on purpose, and what to do with it.
    pub(super) notes: Vec<String>,
    /// Whether the caller repeats it until it is done.
    #[serde(skip)]
    pub(super) is_repeated: bool,
}

impl Left {
    /// The pods that still have extra networks.
    pub(in crate::operator) fn waiting_for(&self) -> &[String] {
        &self.waiting_for
    }
}

impl Left {
    fn is_free(&self) -> bool {
        self.waiting_for.is_empty() && self.calls_at_work.is_empty()
    }

    /// What holds it up, and what ends that.
    fn waiting(&self, style: &OutputStyle) -> String {
        let word = style.paint(Tone::Odd, "waiting");
        let mut text = String::new();
        if self.drains && !self.is_free() {
            let word = if self.dry_run { "would be" } else { "are" };
            text.push_str(&format!("new extra networks {word} refused on this node from now on\n"));
        }
        for pod in &self.waiting_for {
            text.push_str(&format!("{word}: {pod} has extra networks\n"));
        }
        for container in &self.calls_at_work {
            text.push_str(&format!("{word}: a call for container {container} is at work\n"));
        }
        text
    }
}

impl View for Left {
    fn text(&self, style: &OutputStyle) -> String {
        let mut text: String =
            self.changes.iter().map(|change| change.text(style, self.dry_run)).collect();
        text.push_str(&self.waiting(style));
        if !self.waiting_for.is_empty() {
            text.push_str(if self.is_repeated {
                "move these pods to other nodes (kubectl drain): braid leaves by itself when they \
                 are gone\n"
            } else {
                "move these pods to other nodes (kubectl drain), then run this again, or with \
                 --wait; braid install takes it back\n"
            });
        }
        text.extend(self.notes.iter().map(|note| format!("{note}\n")));
        if text.is_empty() { "braid is not installed here\n".to_owned() } else { text }
    }

    fn exit(&self) -> Exit {
        if self.is_free() { Exit::Done } else { Exit::NotYet }
    }
}
