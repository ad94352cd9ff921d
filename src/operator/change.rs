//! Changes to a node's files: planned, shown as a diff, then made, each file whole or not at all.

mod diff;
mod renewal;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::console::{OutputStyle, Tone};
use super::runtime::below;

/// One change. Paths are the node's own.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A directory is there.
    Directory(PathBuf),
    /// A file has these contents.
    File { path: PathBuf, contents: Vec<u8>, mode: u32 },
    /// A file has another name; what bore it before is gone.
    Moved { from: PathBuf, to: PathBuf },
    /// A symbolic link leads there; what bore its name before is gone.
    Link { path: PathBuf, target: PathBuf },
    /// A file is kept under another name, too.
    Kept { from: PathBuf, to: PathBuf },
    /// A file or an empty directory is gone.
    Gone(PathBuf),
    /// A directory is gone with all that is in it.
    AllGone(PathBuf),
    /// A runtime reads `file` again, and with it the files of the directory `chain`, which it does
    /// not watch: due after a change in `chain`, of this run or of an earlier one that was broken
    /// off.
    Renewed { file: PathBuf, chain: PathBuf },
}

/// A change that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(super) struct ChangeError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A change as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    action: &'static str,
    path: PathBuf,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<PathBuf>,
    #[serde(skip_serializing_if = "String::is_empty")]
    diff: String,
}

impl Change {
    /// A file with a JSON document, as people write one.
    pub(super) fn document(path: PathBuf, document: &Value) -> Self {
        let text = serde_json::to_string_pretty(document).unwrap_or_default() + "\n";
        Self::File { path, contents: text.into_bytes(), mode: 0o644 }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Directory(path)
            | Self::File { path, .. }
            | Self::Link { path, .. }
            | Self::Kept { from: path, .. }
            | Self::Moved { from: path, .. }
            | Self::Renewed { file: path, .. }
            | Self::Gone(path)
            | Self::AllGone(path) => path,
        }
    }

    /// The file below `root`. A change of a directory's entry is one of a link, and not of what it
    /// leads to.
    fn place(&self, root: &Path) -> PathBuf {
        match self {
            Self::Link { .. } | Self::Kept { .. } | Self::Moved { .. } | Self::Gone(_) => {
                entry(root, self.path())
            }
            _ => below(root, self.path()),
        }
    }

    /// Whether the node differs from it, after the changes `before` of the same run.
    fn is_due(&self, root: &Path, before: &[Shown]) -> bool {
        let path = self.place(root);
        match self {
            Self::Renewed { chain, .. } => {
                before.iter().any(|change| change.path.starts_with(chain))
                    || renewal::is_behind(&path, &below(root, chain))
            }
            Self::Directory(_) => !path.is_dir(),
            Self::Link { target, .. } => std::fs::read_link(&path).ok().as_ref() != Some(target),
            Self::Kept { to, .. } => !is_same_file(&path, &entry(root, to)),
            Self::Moved { .. } | Self::Gone(_) | Self::AllGone(_) => {
                path.symlink_metadata().is_ok()
            }
            Self::File { contents, mode, .. } => {
                let same_mode =
                    path.metadata().is_ok_and(|it| it.permissions().mode() & 0o7777 == *mode);
                !same_mode || std::fs::read(&path).ok().as_ref() != Some(contents)
            }
        }
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the file is then as it was.
    pub(super) fn make(&self, root: &Path) -> Result<(), ChangeError> {
        let path = self.place(root);
        let (action, made) = match self {
            Self::Directory(_) => ("make", std::fs::create_dir_all(&path)),
            Self::Moved { to, .. } => ("rename", rename(&path, &entry(root, to))),
            Self::Gone(_) if path.is_dir() => ("remove", std::fs::remove_dir(&path)),
            Self::Gone(_) => ("remove", std::fs::remove_file(&path)),
            Self::AllGone(_) => ("remove", std::fs::remove_dir_all(&path)),
            Self::File { contents, mode, .. } => ("write", write(&path, contents, *mode)),
            Self::Renewed { .. } => ("renew", renewal::renew(&path)),
            Self::Link { target, .. } => ("link", link(target, &path)),
            Self::Kept { to, .. } => ("keep", keep(&path, &entry(root, to))),
        };
        made.map_err(|source| ChangeError { action, path, source })
    }

    /// What only root may read is not shown in a log.
    fn is_secret(&self, root: &Path) -> bool {
        let is_secret = |mode: u32| mode & 0o077 == 0;
        let there = below(root, self.path()).metadata();
        there.is_ok_and(|it| it.is_file() && is_secret(it.permissions().mode()))
            || matches!(self, Self::File { mode, .. } if is_secret(*mode))
    }

    /// How the node differs from it.
    fn shown(&self, root: &Path) -> Shown {
        let path = self.path().to_owned();
        let before = match self {
            Self::Gone(_) | Self::File { .. } => read(&self.place(root)),
            _ => Vec::new(),
        };
        let (action, diff) = match self {
            Self::Directory(_) => ("make", String::new()),
            Self::Moved { .. } => ("rename", String::new()),
            Self::Gone(_) => ("remove", diff(&before, b"")),
            Self::AllGone(_) => ("remove", String::new()),
            Self::Renewed { .. } => ("renew", String::new()),
            Self::Link { .. } => ("link", String::new()),
            Self::Kept { .. } => ("keep", String::new()),
            Self::File { contents, .. } => ("write", diff(&before, contents)),
        };
        let to = match self {
            Self::Moved { to, .. } | Self::Kept { to, .. } | Self::Link { target: to, .. } => {
                Some(to.clone())
            }
            _ => None,
        };
        let diff = if self.is_secret(root) { String::new() } else { diff };
        Shown { action, path, to, diff }
    }
}

/// Makes those of `changes` that are due, in order, or only shows them if it is a rehearsal.
///
/// # Errors
/// [`ChangeError`] for the first that cannot be made; those before it stay made.
pub(super) fn make_due(
    changes: &[Change],
    root: &Path,
    is_rehearsal: bool,
) -> Result<Vec<Shown>, ChangeError> {
    let mut shown = Vec::new();
    for change in changes {
        if !change.is_due(root, &shown) {
            continue;
        }
        shown.push(change.shown(root));
        if !is_rehearsal {
            change.make(root)?;
        }
    }
    Ok(shown)
}

/// Runtimes look at any time, and a binary that runs cannot be written: so a new file takes its
/// place.
fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let mut file = beside(path)?;
    file.write_all(contents)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failure| failure.error)?;
    std::fs::File::open(directory)?.sync_all()
}

/// A new file in the directory of `path`, under a name that no runtime reads.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file = tempfile::Builder::new().prefix(".braid-").suffix(".new").tempfile_in(directory);
    // Its own words end with the name of a file that is never seen.
    file.map_err(|error| io::Error::from(error.kind()))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    std::fs::File::open(to.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// An entry of a directory below `root`; a link is not followed.
pub(super) fn entry(root: &Path, path: &Path) -> PathBuf {
    let (parent, name) = (path.parent(), path.file_name());
    let directory = below(root, parent.unwrap_or(Path::new("/")));
    name.map_or(directory.clone(), |name| directory.join(name))
}

/// The contents of a regular file; a link has none of its own.
fn read(path: &Path) -> Vec<u8> {
    let is_file = path.symlink_metadata().is_ok_and(|it| it.is_file());
    if is_file { std::fs::read(path).unwrap_or_default() } else { Vec::new() }
}

/// A runtime that looks meanwhile finds what was there before, or the link.
fn link(target: &Path, path: &Path) -> io::Result<()> {
    take_place(path, |new| std::os::unix::fs::symlink(target, new))
}

fn keep(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to.parent().unwrap_or(Path::new("/")))?;
    take_place(to, |new| std::fs::hard_link(from, new))
}

/// Makes a file under a name that no runtime reads, and then gives it the name of `path`.
fn take_place(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let place = path.parent().unwrap_or(Path::new("/"));
    let directory = tempfile::Builder::new().prefix(".braid-").tempdir_in(place)?;
    let new = directory.path().join("new");
    make(&new)?;
    rename(&new, path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.symlink_metadata().map(|it| (it.dev(), it.ino())).ok();
    identity(one).is_some_and(|id| identity(other) == Some(id))
}

fn diff(before: &[u8], after: &[u8]) -> String {
    match (str::from_utf8(before), str::from_utf8(after)) {
        (Ok(before), Ok(after)) => diff::unified(before, after),
        _ => format!("{} bytes become {}\n", before.len(), after.len()),
    }
}

impl Shown {
    pub(super) fn text(&self, style: &OutputStyle, with_diff: bool) -> String {
        let to = self.to.as_ref().map(|to| format!(" to {}", to.display())).unwrap_or_default();
        let mut text =
            format!("{} {}{to}\n", style.paint(Tone::Strong, self.action), self.path.display());
        for line in self.diff.lines().filter(|_| with_diff) {
            let tone = match line.bytes().next() {
                Some(b'+') => Some(Tone::Good),
                Some(b'-') => Some(Tone::Bad),
                _ => None,
            };
            let line = tone.map_or_else(|| line.to_owned(), |tone| style.paint(tone, line));
            text.push_str(&format!("  {line}\n"));
        }
        text
    }
}
