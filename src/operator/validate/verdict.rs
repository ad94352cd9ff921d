//! All that is wrong, and how much was checked.

use serde::Serialize;

use super::format::{github, sarif};
use super::{Problem, Severity};
use crate::operator::console::{Exit, Format, OutputStyle, Tone, View};

/// What came of the files.
#[derive(Debug, Serialize)]
pub(in crate::operator) struct Verdict {
    #[serde(skip)]
    strict: bool,
    files: usize,
    /// How many of the files hold something that is checked.
    pub(super) checked: usize,
    pub(super) problems: Vec<Problem>,
}

impl View for Verdict {
    fn text(&self, style: &OutputStyle) -> String {
        let line = |problem: &Problem| {
            let word = match problem.severity {
                Severity::Error => style.paint(Tone::Bad, "error"),
                Severity::Warning => style.paint(Tone::Odd, "warning"),
            };
            let Problem { file, line, column, message, .. } = problem;
            format!("{}:{line}:{column}: {word}: {message}\n", file.display())
        };
        let lines: String = self.problems.iter().map(line).collect();
        lines + &self.summary(style)
    }

    fn exit(&self) -> Exit {
        let bad = |problem: &Problem| self.strict || problem.severity == Severity::Error;
        // Files that hold nothing to check were probably not the ones that were meant.
        let is_empty = self.checked == 0 && self.problems.is_empty();
        if is_empty || self.problems.iter().any(bad) { Exit::Failed } else { Exit::Done }
    }

    fn in_format(&self, format: Format) -> Option<String> {
        match format {
            Format::Github => Some(github(&self.problems)),
            Format::Sarif => Some(format!("{:#}\n", sarif(&self.problems))),
            _ => None,
        }
    }
}

impl Verdict {
    pub(super) const fn new(strict: bool, files: usize) -> Self {
        Self { strict, files, checked: 0, problems: Vec::new() }
    }

    /// The last line.
    fn summary(&self, style: &OutputStyle) -> String {
        if self.checked == 0 && self.problems.is_empty() {
            return "nothing to check: no network configuration, no definition and no pod\n"
                .to_owned();
        }
        let silent = self.files.saturating_sub(self.checked);
        let rest =
            if silent == 0 { String::new() } else { format!(", {silent} with nothing to check") };
        format!("{}: {} checked{rest}\n", self.outcome(style), self.checked)
    }

    fn outcome(&self, style: &OutputStyle) -> String {
        let of = |wanted: Severity| self.problems.iter().filter(|it| it.severity == wanted).count();
        let count = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{count} {word}s")),
        };
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let found: Vec<String> =
            [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
        match (errors, warnings) {
            (0, 0) => style.paint(Tone::Good, "valid"),
            (0, _) => style.paint(Tone::Odd, found.join(", ")),
            _ => style.paint(Tone::Bad, found.join(", ")),
        }
    }
}
