//! Logs: to stderr, to a file that is rotated, or both; never to stdout, which is the protocol.
//!
//! Levels are named as Multus names them. Logging must not hold up a pod: a log file that cannot be
//! opened, written or rotated costs its lines and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use file_rotate::compression::Compression;
use file_rotate::suffix::{AppendTimestamp, FileLimit};
use file_rotate::{ContentLimit, FileRotate};
use log::{LevelFilter, Log, Metadata, Record};
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde_json::json;

use crate::config::{LogConfig, LogFormat, Rotation};
use cni::error::one_line;

/// How long a message is, in characters.
const MAX_MESSAGE_CHARS: usize = 16_384;

/// The target of records that go to the audit log alone, as they are and whatever the level.
pub(crate) const AUDIT_TARGET: &str = "braid::audit";

/// Starts logging. Called once; a second call changes nothing. A file that cannot be opened is a
/// warning in what is left of the log.
pub(crate) fn start(config: &LogConfig) {
    let mut problems = Vec::new();
    let mut opened = |what: &str, path: &Option<PathBuf>| {
        let path = path.as_deref()?;
        let unusable = |error| problems.push(unwritten(what, path, &error));
        open(path, &config.rotation).map_err(unusable).ok()
    };
    let file = opened("log", &config.file);
    let audit = opened("audit log", &config.audit);
    let logger = Logger { to_stderr: config.to_stderr, format: config.format, file, audit };
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

/// Whether a record is from one of Braid's crates.
fn is_of_braid(target: &str) -> bool {
    let of_crate = target.split("::").next().unwrap_or_default();
    ["braid", "cni", "linux", "plugins"].contains(&of_crate)
}

struct Logger {
    to_stderr: bool,
    format: LogFormat,
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
        // What a library logs of its own work is of no use here.
        if !is_of_braid(record.target()) {
            return;
        }
        let line = self.format_line(record);
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

impl Logger {
    fn format_line(&self, record: &Record<'_>) -> String {
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let (level, pid) = (word(record.level()), std::process::id());
        let message = one_line(&record.args().to_string(), MAX_MESSAGE_CHARS);
        match self.format {
            LogFormat::Text => format!("{time} [{level}] braid[{pid}]: {message}\n"),
            LogFormat::Json => {
                let line = json!({"time": time, "level": level, "pid": pid, "message": message});
                format!("{line}\n")
            }
        }
    }
}

/// A level as Multus names it.
const fn word(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "verbose",
        log::Level::Debug | log::Level::Trace => "debug",
    }
}

/// Opens a log to append to it, and sets it aside before if it is full. Others are not followed
/// into it: neither a link nor anything that is no file is opened.
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
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
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
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("braid.log");
        let rotation =
            Rotation { max_size_mib: Some(1), max_backups: Some(2), ..Rotation::default() };
        for _ in 0..4 {
            std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
            assert_eq!(open(&path, &rotation).unwrap().metadata().unwrap().len(), 0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_line_is_text_or_an_object() {
        let line = |format| {
            let logger = Logger { to_stderr: false, format, file: None, audit: None };
            let message = format_args!("a \"word\"\nand more");
            let record = Record::builder().level(log::Level::Warn).args(message).build();
            logger.format_line(&record)
        };
        let text = line(LogFormat::Text);
        assert!(text.contains(" [warning] braid[") && text.matches('\n').count() == 1, "{text}");
        let object: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!(
            (&object["level"], &object["pid"]),
            (&json!("warning"), &json!(std::process::id()))
        );
        assert!(object["message"].as_str().unwrap().starts_with("a \"word\""), "{object}");
        assert_eq!(object["time"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
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
