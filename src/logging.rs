//! Logs: to stderr, to a file that is rotated, or both; never to stdout, which is the protocol.
//!
//! Levels are named as Multus names them. Logging must not hold up a pod: a log file that cannot be
//! opened, written or rotated costs its lines and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use file_rotate::compression::Compression;
use file_rotate::suffix::{AppendTimestamp, FileLimit};
use file_rotate::{ContentLimit, FileRotate};
use log::{LevelFilter, Log, Metadata, Record};
use nix::fcntl::{Flock, FlockArg, OFlag};

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

/// A level that nobody has heard of.
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

/// Where logs go and how much of them.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// How much (`logLevel`).
    pub level: Level,
    /// The log file (`logFile`).
    pub file: Option<PathBuf>,
    /// The file for decisions about tenants (`auditLog`); rotated as the log file is.
    pub audit: Option<PathBuf>,
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
    fn max_bytes(&self) -> u64 {
        u64::from(self.max_size_mib.filter(|size| *size > 0).unwrap_or(100)) << 20
    }

    fn max_age(&self) -> Duration {
        Duration::from_hours(24) * self.max_age_days.unwrap_or(5)
    }

    fn max_backups(&self) -> usize {
        usize::try_from(self.max_backups.unwrap_or(5)).unwrap_or(5)
    }
}

/// The target of records that go to the audit log alone, as they are and whatever the level.
pub const AUDIT_TARGET: &str = "braid::audit";

/// Starts logging. Called once; a second call changes nothing. A file that cannot be opened is a warning in
/// what is left of the log.
pub fn start(config: &LogConfig) {
    let mut problems = Vec::new();
    let mut opened = |what: &str, path: &Option<PathBuf>| {
        let path = path.as_deref()?;
        let unusable = |error| problems.push(unwritten(what, path, &error));
        open(path, &config.rotation).map_err(unusable).ok()
    };
    let file = opened("log", &config.file);
    let audit = opened("audit log", &config.audit);
    let logger = Logger { to_stderr: config.to_stderr, file, audit };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(LevelFilter::from(config.level));
    }
    for problem in problems {
        log::warn!("{problem}");
    }
}

/// The sentence for lines that are lost.
pub(crate) fn unwritten(what: &str, path: &Path, error: &io::Error) -> String {
    format!("the {what} {} cannot be written: {error}", path.display())
}

struct Logger {
    to_stderr: bool,
    file: Option<File>,
    audit: Option<File>,
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target() == AUDIT_TARGET {
            if let Some(mut audit) = self.audit.as_ref() {
                let _ = audit.write_all(format!("{}\n", record.args()).as_bytes());
            }
            return;
        }
        // Ours alone: what a library logs about its own work is nobody's concern here.
        if !record.target().starts_with("braid") {
            return;
        }
        let line = format_line(record);
        if self.to_stderr {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        // One write for each line: files opened to append keep lines of several processes whole.
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn format_line(record: &Record<'_>) -> String {
    let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "verbose",
        log::Level::Debug | log::Level::Trace => "debug",
    };
    format!(
        "{time} [{level}] braid[{}]: {}\n",
        std::process::id(),
        one_line(&record.args().to_string(), 16_384)
    )
}

/// Opens a log to append to it, and sets it aside before where it is full. Others are not followed into it:
/// neither a link nor anything that is no file is opened.
///
/// # Errors
/// What the system says.
pub(crate) fn open(path: &Path, rotation: &Rotation) -> io::Result<File> {
    let file = append(path)?;
    if file.metadata()?.len() < rotation.max_bytes() {
        return Ok(file);
    }
    rotate(file, path, rotation);
    append(path)
}

/// Only a regular file, never through a symbolic link as the last step.
fn append(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Sets the file aside, unless another process is doing so.
fn rotate(file: File, path: &Path, rotation: &Rotation) {
    let Ok(locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return };
    let is_current = || {
        use std::os::unix::fs::MetadataExt;
        Some(locked.metadata().ok()?.ino() == std::fs::metadata(path).ok()?.ino())
    };
    if is_current() != Some(true) {
        return;
    }
    let compression = if rotation.compress { Compression::OnRotate(0) } else { Compression::None };
    let keep = AppendTimestamp::default(FileLimit::MaxFiles(rotation.max_backups()));
    let mut rotated = FileRotate::new(path, keep, ContentLimit::None, compression, None);
    let _ = rotated.rotate();
    for old in rotated.log_paths().iter().filter(|old| age(old) > rotation.max_age()) {
        let _ = std::fs::remove_file(old);
    }
}

fn age(path: &Path) -> Duration {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_as_multus_spells_them() {
        assert_eq!("DEBUG".parse(), Ok(Level::Debug));
        assert_eq!("loud".parse::<Level>(), Err(UnknownLevel("loud".to_owned())));
    }

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("braid.log");
        let rotation = Rotation { max_size_mib: Some(1), max_backups: Some(2), ..Rotation::default() };
        for _ in 0..4 {
            std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
            assert_eq!(open(&path, &rotation).unwrap().metadata().unwrap().len(), 0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link.log");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open(&link, &Rotation::default()).is_err());
        assert!(open(&dir.path().join("absent/x.log"), &Rotation::default()).is_err());
    }
}
