//! How to log: level, files and their rotation, named as Multus names them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;

use cni::error::one_line;

/// How much is logged, each level with all that stands above it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// Nothing: Braid does not panic.
    Panic,
    /// What failed.
    Error,
    /// What an administrator should know.
    #[default]
    Warning,
    /// Each call and its outcome.
    Verbose,
    /// The plan, and each delegate with its duration.
    Debug,
}

/// A text that is no level.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown logLevel \"{0}\": use panic, error, warning, verbose or debug")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "panic" => Ok(Self::Panic),
            "error" => Ok(Self::Error),
            "warning" => Ok(Self::Warning),
            "verbose" => Ok(Self::Verbose),
            "debug" => Ok(Self::Debug),
            _ => Err(UnknownLevel(one_line(text, 32))),
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Panic => Self::Off,
            Level::Error => Self::Error,
            Level::Warning => Self::Warn,
            Level::Verbose => Self::Info,
            Level::Debug => Self::Debug,
        }
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Where logs go and how much of them.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// How much (`logLevel`).
    pub level: Level,
    /// How lines are written (`logFormat`).
    pub format: LogFormat,
    /// The log file (`logFile`).
    pub file: Option<PathBuf>,
    /// The file for decisions about tenants (`auditLog`); rotated as the log file is.
    pub audit: Option<PathBuf>,
    /// The file in which each call leaves a line of JSON (`eventLog`).
    pub events: Option<PathBuf>,
    /// The file in which calls are counted, for node-exporter's textfile collector (`metricsFile`).
    pub metrics: Option<PathBuf>,
    /// Whether stderr gets the lines too (`logToStderr`).
    pub to_stderr: bool,
    /// When the file is set aside (`logOptions`).
    pub rotation: Rotation,
}

/// When a log file is set aside, and how long it is kept; what is missing is as in Multus.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// The size in MiB at which it is set aside; 100.
    pub max_size_mib: Option<u32>,
    /// How many days it is kept; 5.
    pub max_age_days: Option<u32>,
    /// How many are kept; 5.
    pub max_backups: Option<u32>,
    /// Whether those set aside are compressed.
    pub compress: bool,
}

impl Rotation {
    /// The size in bytes at which the file is set aside.
    pub(crate) fn max_bytes(&self) -> u64 {
        u64::from(self.max_size_mib.filter(|size| *size > 0).unwrap_or(100)) << 20
    }

    /// How long a file is kept that was set aside.
    pub(crate) fn max_age(&self) -> Duration {
        Duration::from_hours(24) * self.max_age_days.unwrap_or(5)
    }

    /// How many files are kept that were set aside.
    pub(crate) fn max_backups(&self) -> usize {
        usize::try_from(self.max_backups.unwrap_or(5)).unwrap_or(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_as_multus_spells_them() {
        assert_eq!("DEBUG".parse(), Ok(Level::Debug));
        assert_eq!("loud".parse::<Level>(), Err(UnknownLevel("loud".to_owned())));
    }
}
