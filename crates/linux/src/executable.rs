//! Whether a file is the executable that runs: the same file, or a copy of it.

mod elf;

use std::cell::OnceCell;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::file::open_regular;

pub use elf::build_id;

/// The kernel's link to the executable that runs, which works when its file is gone, too.
const OWN: &str = "/proc/self/exe";

/// The executable that runs.
///
/// A file is known by device and inode, and else by the build ID that the linker has put into it: a
/// copy has another inode, and an upgrade leaves hard links with the old one behind.
#[derive(Debug)]
pub struct OwnExecutable {
    file: Option<(u64, u64)>,
    build_id: OnceCell<Option<Vec<u8>>>,
}

impl OwnExecutable {
    /// That of this process. Without `/proc` no file is.
    pub fn of_process() -> Self {
        Self { file: fs::metadata(OWN).ok().as_ref().map(identity), build_id: OnceCell::new() }
    }

    /// Whether the file at `path` is this executable. One that cannot be read is not.
    pub fn is_at(&self, path: &Path) -> bool {
        let Some(own) = self.file else { return false };
        let Ok(other) = fs::metadata(path) else { return false };
        identity(&other) == own || self.is_copied_to(path)
    }

    fn is_copied_to(&self, path: &Path) -> bool {
        let own = self.build_id.get_or_init(|| elf::build_id(&File::open(OWN).ok()?));
        let Some(own) = own else { return false };
        open_regular(path).ok().and_then(|file| elf::build_id(&file)).is_some_and(|id| id == *own)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_copies_of_the_executable_are_known() {
        let own = OwnExecutable::of_process();
        let path = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink(&path, at("link")).unwrap();
        fs::hard_link(&path, at("hard")).unwrap();
        fs::copy(&path, at("copy")).unwrap();
        assert!(elf::build_id(&File::open(&path).unwrap()).is_some(), "the linker gives no ID");
        for name in ["link", "hard", "copy"] {
            assert!(own.is_at(&at(name)), "{name}");
        }
    }

    #[test]
    fn no_other_file_is_the_executable() {
        let own = OwnExecutable::of_process();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("text"), "#!/bin/sh\n").unwrap();
        for path in [dir.path().join("text"), "/bin/sh".into(), "/absent".into(), "/dev".into()] {
            assert!(!own.is_at(&path), "{}", path.display());
        }
    }
}
