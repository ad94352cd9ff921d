//! Which namespaces somebody holds: a process that lives in one, or a mount that keeps one.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::{Netns, NetnsError, NetnsId};

/// The namespaces that are alive, as far as this process is let look.
#[derive(Debug)]
pub struct Living {
    inodes: HashSet<u64>,
    /// Whether something could not be looked at.
    is_partial: bool,
}

impl Living {
    /// Looks at every process, and at the mounts of this one and of the node's first. A container with a copy of
    /// the node's mounts of its own keeps namespaces that no sandbox has any more.
    pub fn look() -> Self {
        Self::look_in(Path::new("/proc"))
    }

    fn look_in(proc: &Path) -> Self {
        let mut living = Self { inodes: HashSet::new(), is_partial: false };
        living.add_mounts(&proc.join("self"));
        living.add_mounts(&proc.join("1"));
        let Ok(entries) = fs::read_dir(proc) else { return Self { is_partial: true, ..living } };
        for process in entries.flatten().filter(|entry| is_process(&entry.file_name())) {
            living.add_process(&process.path());
        }
        living
    }

    fn add_process(&mut self, process: &Path) {
        match fs::read_link(process.join("ns/net")) {
            Ok(link) => self.inodes.extend(inode_of(&link.to_string_lossy())),
            // Where root is denied, the process has more rights than root here: no pod's has.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                self.is_partial |= !nix::unistd::geteuid().is_root();
            }
            // It has ended meanwhile.
            Err(_) => {}
        }
    }

    /// The fourth field of a mount is its root: `net:[4026532008]` for a namespace.
    fn add_mounts(&mut self, process: &Path) {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        self.inodes.extend(mounts.lines().filter_map(|line| inode_of(line.split(' ').nth(3)?)));
    }

    /// Whether somebody may hold the namespace that was at `path` once. Where sandboxes are not seen at all,
    /// in a container without the host's directories, every one may be alive.
    pub fn may_hold(&self, id: NetnsId, path: &Path) -> bool {
        self.is_partial || self.inodes.contains(&id.inode) || !shows_sandboxes(path)
    }
}

/// Whether the place of a namespace looks as it does where namespaces are mounted: the directory is there,
/// and at the path is a namespace or nothing. An empty file is what a mount covers elsewhere.
fn shows_sandboxes(path: &Path) -> bool {
    let is_there = path.parent().is_some_and(Path::is_dir);
    is_there && matches!(Netns::open(path), Ok(_) | Err(NetnsError::Missing(_)))
}

fn is_process(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::sandbox;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::process::Command;

    fn nowhere() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netns");
        (directory, path)
    }

    #[test]
    fn a_namespace_lives_as_long_as_a_process_is_in_it() {
        let (_directory, path) = nowhere();
        let netns = sandbox();
        let mut sleeper = netns.run(|| Command::new("sleep").arg("60").spawn().unwrap()).unwrap();
        assert!(Living::look().may_hold(netns.id(), &path));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(!Living::look().may_hold(netns.id(), &path), "a descriptor alone is no pod");
    }

    #[test]
    fn a_namespace_lives_as_long_as_it_is_mounted() {
        let (_directory, path) = nowhere();
        let netns = sandbox();
        let link = format!("/proc/{}/fd/{}", std::process::id(), netns.file.as_raw_fd());
        let file = path.with_file_name("mounted");
        fs::write(&file, "").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
        };
        run("mount", &["--bind", &link, file.to_str().unwrap()]);
        let mounted = Living::look().may_hold(netns.id(), &path);
        run("umount", &[file.to_str().unwrap()]);
        assert!(mounted);
        assert!(!Living::look().may_hold(netns.id(), &path));
    }

    #[test]
    fn where_sandboxes_are_not_seen_every_one_may_live() {
        let (directory, path) = nowhere();
        let living = Living { inodes: HashSet::new(), is_partial: false };
        let id = sandbox().id();
        assert!(!living.may_hold(id, &path), "the directory is there, and nothing in it");
        fs::write(&path, "").unwrap();
        assert!(living.may_hold(id, &path), "a file that a mount may cover elsewhere");
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(living.may_hold(id, &path), "not even the directory is there");
        assert!(Living { is_partial: true, ..living }.may_hold(id, &path));
        assert!(Living::look_in(Path::new("/nowhere")).is_partial);
    }
}
