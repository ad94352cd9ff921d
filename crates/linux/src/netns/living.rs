//! Which namespaces are in use: a process that lives in one, or a mount that keeps one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Netns, NetnsCookie, NetnsError, NetnsId};

/// The namespaces that are alive, as far as this process is let look: by their inodes, since a
/// process' link tells no more.
#[derive(Debug, Default)]
pub struct Living {
    /// Those that a process is in, and where one of them shows its namespace.
    inhabited: HashMap<u64, PathBuf>,
    /// Those that are mounted, and where.
    mounted: HashMap<u64, HashSet<PathBuf>>,
    /// Whether something could not be looked at.
    is_partial: bool,
}

impl Living {
    /// Looks at every process, and at the mounts of this one and of the node's first. A container
    /// with a copy of the node's mounts of its own keeps namespaces that no sandbox has any more.
    pub fn scan() -> Self {
        Self::scan_in(Path::new("/proc"))
    }

    fn scan_in(proc: &Path) -> Self {
        let mut living = Self::default();
        living.add_mounts(&proc.join("self"), Path::new("/"));
        living.add_mounts(&proc.join("1"), &proc.join("1/root"));
        let Ok(entries) = fs::read_dir(proc) else { return Self { is_partial: true, ..living } };
        for process in entries.flatten().filter(|entry| is_process(&entry.file_name())) {
            living.add_process(&process.path());
        }
        living
    }

    fn add_process(&mut self, process: &Path) {
        let file = process.join("ns/net");
        match fs::read_link(&file) {
            Ok(link) => {
                let Some(inode) = inode_of(&link.to_string_lossy()) else { return };
                // The oldest is the likeliest to be there still when it is asked.
                self.inhabited.entry(inode).or_insert(file);
            }
            // If root is denied, the process has more rights than root here: no pod's has.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                self.is_partial |= !nix::unistd::geteuid().is_root();
            }
            // It has ended meanwhile.
            Err(_) => {}
        }
    }

    /// The fourth field of a mount is its root, `net:[4026532008]` for a namespace, and the fifth
    /// where it is, as the process sees it whose files are below `root`.
    fn add_mounts(&mut self, process: &Path, root: &Path) {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(3);
            let Some((inode, place)) = fields.next().and_then(inode_of).zip(fields.next()) else {
                continue;
            };
            let place = root.join(place.trim_start_matches('/'));
            self.mounted.entry(inode).or_default().insert(place);
        }
    }

    /// Whether the namespace may be in use that was mounted at `path` once. Its cookie tells, if
    /// it is known and the inode is in use. If sandboxes are not seen at all, in a container
    /// without the host's directories, every other one may be alive.
    pub fn may_hold(&self, id: NetnsId, cookie: Option<NetnsCookie>, path: &Path) -> bool {
        let is_the_one = cookie.and_then(|then| Some(self.cookie(id)? == then));
        is_the_one
            .unwrap_or_else(|| self.is_partial || self.holds(id, path) || !shows_sandboxes(path))
    }

    /// The cookie of the one namespace that has this inode now.
    fn cookie(&self, id: NetnsId) -> Option<NetnsCookie> {
        let places = self.mounted.get(&id.inode).into_iter().flatten();
        let mut places = places.chain(self.inhabited.get(&id.inode));
        places.find_map(|place| Netns::open(place).ok().filter(|netns| netns.id() == id)?.cookie())
    }

    /// The kernel gives the inode of a namespace that is gone to the next one: one that is mounted
    /// under another name alone is another sandbox's, and so are the processes in it.
    fn holds(&self, id: NetnsId, path: &Path) -> bool {
        match self.mounted.get(&id.inode) {
            Some(places) => places.iter().any(|place| place.file_name() == path.file_name()),
            None => self.inhabited.contains_key(&id.inode),
        }
    }
}

/// Whether the place of a namespace looks as it does when namespaces are mounted: the directory is
/// there, and at the path is a namespace or nothing. An empty file is what a mount covers
/// elsewhere.
fn shows_sandboxes(path: &Path) -> bool {
    let is_there = path.parent().is_some_and(Path::is_dir);
    is_there && matches!(Netns::open(path), Ok(_) | Err(NetnsError::Missing(_)))
}

fn is_process(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
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
        assert!(Living::scan().may_hold(netns.id(), None, &path));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(!Living::scan().may_hold(netns.id(), None, &path), "a descriptor alone is no pod");
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
        let mounted = Living::scan();
        run("umount", &[path.to_str().unwrap()]);
        fs::remove_file(&path).unwrap();
        assert!(
            mounted.may_hold(netns.id(), None, &path)
                && mounted.may_hold(netns.id(), None, elsewhere)
        );
        assert!(!Living::scan().may_hold(netns.id(), None, &path));
    }

    #[test]
    fn an_inode_that_was_given_to_another_sandbox_is_no_sign_of_life() {
        let (_directory, path) = nowhere();
        let id = NetnsId { device: 4, inode: 7 };
        let mut living = Living::default();
        living.inhabited.insert(7, "/nowhere/1/ns/net".into());
        assert!(
            living.may_hold(id, None, &path),
            "a process is in it, and nothing says that it is another's"
        );
        living.mounted.entry(7).or_default().insert("/nowhere/another".into());
        assert!(!living.may_hold(id, None, &path));
        living.mounted.entry(7).or_default().insert("/nowhere/netns".into());
        assert!(living.may_hold(id, None, &path));
    }

    #[test]
    fn a_cookie_tells_a_namespace_from_the_next_one_with_its_inode() {
        let (directory, path) = nowhere();
        let netns = sandbox();
        let mut sleeper = netns.run(|| Command::new("sleep").arg("60").spawn().unwrap()).unwrap();
        let living = Living { is_partial: true, ..Living::scan() };
        let may_hold = |cookie| living.may_hold(netns.id(), cookie, &path);
        let cookie = netns.cookie().expect("these tests want Linux 5.14");
        assert!(may_hold(Some(cookie)) && may_hold(None));
        assert!(
            !may_hold(Some(NetnsCookie::for_test(u64::MAX))),
            "another sandbox has the inode now"
        );
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(!may_hold(Some(NetnsCookie::for_test(u64::MAX))), "wherever it was");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(
            may_hold(Some(NetnsCookie::for_test(u64::MAX))),
            "no namespace has the inode, and not all is seen"
        );
    }

    #[test]
    fn where_sandboxes_are_not_seen_every_one_may_live() {
        let (directory, path) = nowhere();
        let living = Living::default();
        let id = sandbox().id();
        assert!(!living.may_hold(id, None, &path), "the directory is there, and nothing in it");
        fs::write(&path, "").unwrap();
        assert!(living.may_hold(id, None, &path), "a file that a mount may cover elsewhere");
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(living.may_hold(id, None, &path), "not even the directory is there");
        assert!(Living { is_partial: true, ..living }.may_hold(id, None, &path));
        assert!(Living::scan_in(Path::new("/nowhere")).is_partial);
    }
}
