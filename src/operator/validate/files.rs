//! The files that are meant: those that are named, and those in directories that are named.

use std::path::{Path, PathBuf};

/// The names' ends of files that may hold something to check.
const EXTENSIONS: [&str; 5] = ["conf", "conflist", "json", "yaml", "yml"];
/// The most files, and how deep a directory is looked into.
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 32;

/// Why the files of a directory are not known.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum FilesError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It holds more than is read.
    #[error("{} holds more than {MAX_FILES} files, or is deeper than {MAX_DEPTH}: name parts of \
             it", .0.display())]
    TooMany(PathBuf),
}

/// What is named, with the files of a directory in its place, by name. Links in it are not
/// followed, and names that begin with a period are passed over.
///
/// # Errors
/// [`FilesError`].
pub(super) fn below(named: &[PathBuf]) -> Result<Vec<PathBuf>, FilesError> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            collect(path, 0, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), FilesError> {
    let failed = |source| FilesError::Directory { path: directory.to_owned(), source };
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && !is_hidden {
            if depth == MAX_DEPTH {
                return Err(FilesError::TooMany(directory.to_owned()));
            }
            collect(&path, depth + 1, files)?;
        } else if kind.is_file() && !is_hidden && is_meant(&path) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(FilesError::TooMany(directory.to_owned()));
        }
    }
    Ok(())
}

fn is_meant(path: &Path) -> bool {
    path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_directory_stand_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["b/2.yaml", "b/1.conflist", "a.json", "a.md", ".git/x.yaml", "b/.x.yaml"] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
        let found = below(&["-".into(), root.to_owned(), root.join("a.md")]).unwrap();
        let expected = ["a.json", "b/1.conflist", "b/2.yaml", "a.md"].map(|name| root.join(name));
        assert_eq!(found, [vec![PathBuf::from("-")], expected.to_vec()].concat());
    }
}
