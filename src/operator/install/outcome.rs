//! What an installation has changed, or would, and why the node cannot work all the same.

use serde::Serialize;

use super::NOTHING_TO_CHANGE;
use super::reading::Reading;
use crate::operator::change::Shown;
use crate::operator::console::{Exit, OutputStyle, Tone, View};
use crate::operator::installation::InstallMode;
use crate::operator::runtime::Runtime;

/// What was changed, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::operator) struct Installed {
    pub(super) dry_run: bool,
    pub(super) mode: InstallMode,
    pub(super) runtime: Runtime,
    pub(super) changes: Vec<Shown>,
    /// Why the node cannot work all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
    /// Whether time alone may solve them all.
    #[serde(skip)]
    pub(super) may_pass: bool,
    /// What could not be found out, and how a person can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

impl Installed {
    /// Whether nothing had to be changed, and nothing is to be said.
    pub(in crate::operator) fn is_unchanged(&self) -> bool {
        self.changes.is_empty() && self.notes.is_empty()
    }

    pub(super) fn learn(&mut self, reading: Reading) {
        match reading {
            Reading::Done => {}
            Reading::NotRead(problem) => {
                self.problems.push(problem);
                self.may_pass = false;
            }
            Reading::Unknown(note) => self.notes.push(note),
        }
    }

    /// What was changed alone.
    pub(in crate::operator) fn without_problems(self) -> Self {
        Self { problems: Vec::new(), ..self }
    }

    /// Why the node cannot work all the same, in one line.
    pub(in crate::operator) fn problem(&self) -> Option<String> {
        (!self.problems.is_empty()).then(|| self.problems.join("; "))
    }
}

impl View for Installed {
    fn text(&self, style: &OutputStyle) -> String {
        let mut text: String =
            self.changes.iter().map(|change| change.text(style, self.dry_run)).collect();
        if text.is_empty() {
            text.push_str(NOTHING_TO_CHANGE);
        }
        let problems = self.problems.iter();
        text.extend(problems.map(|it| format!("{}: {it}\n", style.paint(Tone::Bad, "error"))));
        text.extend(self.notes.iter().map(|note| format!("{note}\n")));
        text
    }

    fn exit(&self) -> Exit {
        match (self.problems.is_empty(), self.may_pass) {
            (true, _) => Exit::Done,
            (false, true) => Exit::NotYet,
            (false, false) => Exit::Failed,
        }
    }
}
