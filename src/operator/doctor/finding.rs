//! What `braid doctor` has found, and how it is told.

use serde::Serialize;

use crate::operator::console::{Exit, OutputStyle, Tone, View};

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What was found.
    pub(super) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Finding {
    Finding { check, level: Level::Ok, message: message.into(), advice: None }
}

pub(super) fn warn(
    check: &'static str,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { check, level: Level::Warn, message: message.into(), advice: Some(advice.into()) }
}

pub(super) fn fail(
    check: &'static str,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { check, level: Level::Fail, message: message.into(), advice: Some(advice.into()) }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(in crate::operator) struct Diagnosis {
    #[serde(skip)]
    pub(super) strict: bool,
    pub(super) findings: Vec<Finding>,
}

impl View for Diagnosis {
    fn text(&self, style: &OutputStyle) -> String {
        self.findings.iter().map(|finding| line(finding, style)).collect()
    }

    fn exit(&self) -> Exit {
        let bad = |finding: &Finding| {
            finding.level == Level::Fail || (self.strict && finding.level == Level::Warn)
        };
        if self.findings.iter().any(bad) { Exit::Failed } else { Exit::Done }
    }
}

fn line(finding: &Finding, style: &OutputStyle) -> String {
    /// Where messages begin.
    const MARGIN: usize = 20;
    let level = match finding.level {
        Level::Ok => style.paint(Tone::Good, "ok  "),
        Level::Warn => style.paint(Tone::Odd, "warn"),
        Level::Fail => style.paint(Tone::Bad, "fail"),
    };
    let mut text =
        format!("{level}  {:<14}{}\n", finding.check, style.wrap(MARGIN, &finding.message));
    if let Some(advice) = &finding.advice {
        text.push_str(&format!("{:MARGIN$}{}\n", "", style.wrap(MARGIN, advice)));
    }
    text
}
