//! Renewing a file: a copy of it is renamed over itself.
//!
//! containerd and CRI-O watch their directory of configurations and not its sub-directories, and a
//! changed time or mode is no event for them: a file of a chain that comes, changes or goes is read
//! only once something is written or renamed in the directory itself.

use std::fs::{Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Whether `chain`, a directory of chained files, has changed since `file` was put into its place.
pub(super) fn is_behind(file: &Path, chain: &Path) -> bool {
    let Some(placed) = file.symlink_metadata().ok().and_then(|it| placed_at(&it)) else {
        return false;
    };
    let entries =
        std::fs::read_dir(chain).into_iter().flatten().flatten().map(|entry| entry.path());
    let changed = |path: &Path| path.metadata().ok()?.modified().ok();
    // Renaming a file into a directory keeps the file's time, and changes the directory's.
    let newest = entries.filter_map(|path| changed(&path)).chain(changed(chain)).max();
    newest.is_some_and(|newest| newest > placed)
}

/// rename(2) sets the time of the last status change, which a copy cannot carry over from its
/// original.
fn placed_at(metadata: &Metadata) -> Option<SystemTime> {
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Renames a copy of `file`, with the same bytes, mode and owner, over it.
///
/// Writing the copy is an event already. So it is only removed again, and `file` left alone, if
/// `file` is a link, if its owner cannot be kept (the DaemonSet's container may not change owners),
/// or if another writer has changed it meanwhile, whose word must not be lost.
///
/// # Errors
/// The system's; `file` is then as it was.
pub(super) fn renew(file: &Path) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let before = file.symlink_metadata()?;
    let contents = std::fs::read(file)?;
    let mut copy = super::beside(file)?;
    copy.write_all(&contents)?;
    copy.as_file().set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    copy.as_file().sync_all()?;
    let may_replace = before.is_file() && keep_owner(copy.as_file(), &before).is_ok();
    if may_replace && file.symlink_metadata().is_ok_and(|now| is_same(&before, &now)) {
        copy.persist(file).map_err(|failure| failure.error)?;
    }
    std::fs::File::open(directory)?.sync_all()
}

fn keep_owner(copy: &std::fs::File, original: &Metadata) -> io::Result<()> {
    let made = copy.metadata()?;
    if (made.uid(), made.gid()) == (original.uid(), original.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(copy, Some(original.uid()), Some(original.gid()))?;
    // Changing the owner clears the set-user-ID bits.
    copy.set_permissions(Permissions::from_mode(original.mode() & 0o7777))
}

fn is_same(before: &Metadata, now: &Metadata) -> bool {
    let marks = |it: &Metadata| (it.dev(), it.ino(), it.size(), it.ctime(), it.ctime_nsec());
    marks(before) == marks(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const TEXT: &str = "{\"name\": \"primary\",\n \"plugins\": []}";

    /// A directory with a primary's file, and with the directory of its chain.
    fn directory() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (file, chain) =
            (directory.path().join("10-primary.conflist"), directory.path().join("primary"));
        fs::create_dir(&chain).unwrap();
        fs::write(&file, TEXT).unwrap();
        (directory, file, chain)
    }

    /// The clock that file systems have ticks a few times in a hundredth of a second.
    fn later() {
        std::thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn a_renewed_file_is_another_one_with_the_same_bytes_mode_and_owner() {
        let (directory, file, _) = directory();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&file, Some(12), Some(34)).unwrap();
        let before = file.metadata().unwrap();
        renew(&file).unwrap();
        let after = file.metadata().unwrap();
        assert_ne!(before.ino(), after.ino());
        assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o640, 12, 34));
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no copy is left behind");
    }

    #[test]
    fn a_link_stays_a_link() {
        let (directory, file, _) = directory();
        let link = directory.path().join("05-link.conflist");
        symlink(&file, &link).unwrap();
        renew(&link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "no copy is left behind");
        assert!(renew(&directory.path().join("absent")).is_err());
    }

    #[test]
    fn a_file_is_behind_whatever_has_changed_in_its_chain() {
        let (directory, file, chain) = directory();
        let entry = chain.join("braid.conf");
        assert!(!is_behind(&file, &directory.path().join("absent")), "there is no chain");
        let outside = directory.path().join("outside");
        fs::write(&outside, "old").unwrap();
        let changes: [(&str, &dyn Fn()); 4] = [
            ("a file comes", &|| fs::write(&entry, "{}").unwrap()),
            ("a file is written in its place", &|| fs::write(&entry, "{ }").unwrap()),
            ("an older file is renamed into it", &|| fs::rename(&outside, &entry).unwrap()),
            ("a file goes", &|| fs::remove_file(&entry).unwrap()),
        ];
        for (change, make) in changes {
            later();
            make();
            assert!(is_behind(&file, &chain), "{change}");
            later();
            renew(&file).unwrap();
            assert!(!is_behind(&file, &chain), "{change}, and was noticed");
        }
    }
}
