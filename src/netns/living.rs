//! Which namespaces somebody holds: a process that lives in one, or a mount that keeps one.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use super::{Netns, NetnsError, NetnsId};

/// The namespaces that are alive, as far as this process is let look.
#[derive(Debug, Default)]
pub struct Living {
    /// Those that a process is in.
    inhabited: HashSet<u64>,
    /// Those that are mounted, with the names that they are mounted under.
    mounted: HashMap<u64, HashSet<OsString>>,
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
        let mut living = Self::default();
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
            Ok(link) => self.inhabited.extend(inode_of(&link.to_string_lossy())),
            // Where root is denied, the process has more rights than root here: no pod's has.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                self.is_partial |= !nix::unistd::geteuid().is_root();
            }
            // It has ended meanwhile.
            Err(_) => {}
        }
    }

    /// The fourth field of a mount is its root, `net:[4026532008]` for a namespace, and the fifth where it is.
    fn add_mounts(&mut self, process: &Path) {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(3);
            let Some((inode, place)) = fields.next().and_then(inode_of).zip(fields.next()) else { continue };
            let name = Path::new(place).file_name().unwrap_or_default();
            self.mounted.entry(inode).or_default().insert(name.to_owned());
        }
    }

    /// Whether somebody may hold the namespace that was mounted at `path` once. Where sandboxes are not seen at
    /// all, in a container without the host's directories, every one may be alive.
    pub fn may_hold(&self, id: NetnsId, path: &Path) -> bool {
        self.is_partial || self.holds(id, path) || !shows_sandboxes(path)
    }

    /// The kernel gives the inode of a namespace that is gone to the next one: one that is mounted under another
    /// name alone is another sandbox's, and so are the processes in it.
    fn holds(&self, id: NetnsId, path: &Path) -> bool {
        match self.mounted.get(&id.inode) {
            Some(names) => path.file_name().is_some_and(|name| names.contains(name)),
            None => self.inhabited.contains(&id.inode),
        }
    }
}

/// Whether the place of a namespace looks as it does where namespaces are mounted: the directory is there,
/// and at the path is a namespace or nothing. An empty file is what a mount covers elsewhere.
fn shows_sandboxes(path: &Path) -> bool {
    let is_there = path.parent().is_some_and(Path::is_dir);
    is_there && matches!(Netns::open(path), Ok(_) | Err(NetnsError::Missing(_)))
}

fn is_process(name: &OsStr) -> bool {
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
        fs::write(&path, "").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
        };
        run("mount", &["--bind", &link, path.to_str().unwrap()]);
        // Seen elsewhere, `/run` is called `/var/run`, or `/host/run`.
        let elsewhere = Path::new("/tmp/netns");
        let mounted = Living::look();
        run("umount", &[path.to_str().unwrap()]);
        fs::remove_file(&path).unwrap();
        assert!(mounted.may_hold(netns.id(), &path) && mounted.may_hold(netns.id(), elsewhere));
        assert!(!Living::look().may_hold(netns.id(), &path));
    }

    #[test]
    fn an_inode_that_was_given_to_another_sandbox_is_no_sign_of_life() {
        let (_directory, path) = nowhere();
        let id = NetnsId { device: 4, inode: 7 };
        let mut living = Living::default();
        living.inhabited.insert(7);
        assert!(living.may_hold(id, &path), "a process is in it, and nothing says that it is another's");
        living.mounted.entry(7).or_default().insert("another".into());
        assert!(!living.may_hold(id, &path));
        living.mounted.entry(7).or_default().insert("netns".into());
        assert!(living.may_hold(id, &path));
    }

    #[test]
    fn where_sandboxes_are_not_seen_every_one_may_live() {
        let (directory, path) = nowhere();
        let living = Living::default();
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
