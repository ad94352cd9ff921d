//! Marks: files that say which attachments have rules of a plugin, made before the first rule and
//! removed behind the last one.
//!
//! ```text
//! /run/cni/rules/<namespace>/<plugin>/<network>/<container ID>:<interface>
//! ```
//!
//! Rules cannot say who has made them: their comments are those of the reference plugins, which
//! have no word for it. GC needs to know, and DEL without an earlier result needs the addresses.
//! Rules are gone at the node's next start, and so are the files. The namespace is that of the
//! rules, by its cookie.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cni::error::{Code, Error};
use cni::plugin::{Call, ValidAttachment};
use ipnetwork::IpNetwork;
use linux::netns::NetnsCookie;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::owner::Owner;
use crate::caller::is_braid;
use crate::mark::listed_at;

const DIRECTORY: &str = "/run/cni/rules";

/// The most bytes of a file.
const MAX_BYTES: u64 = 64 << 10;

/// The most files that GC looks at.
const MAX_FILES: usize = 100_000;

/// How often a file is written if its directory goes in between.
const TRIES: usize = 100;

/// What is known of an attachment's rules.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Mark {
    /// The program that keeps them; none if it is not known.
    #[serde(default)]
    pub(crate) backend: Option<Backend>,
    /// The addresses that they are about, with the prefix of their subnets.
    #[serde(default)]
    pub(crate) addresses: Vec<IpNetwork>,
    /// The zone of firewalld that has the addresses; none if rules are there for them.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// Whether a Braid has called, and not a runtime or a plugin on its own.
    #[serde(default)]
    pub(crate) nested: bool,
}

/// The marks of a plugin's rules in a network.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    directory: PathBuf,
    network: String,
    nested: bool,
}

impl Marks {
    /// Those of the call's network. `plugin` is a name of our own.
    pub(crate) fn of(plugin: &str, call: &Call) -> Self {
        let cookie = NetnsCookie::of_thread().map_or(0, NetnsCookie::number);
        let network = call.network.as_str().to_owned();
        let place = Path::new(DIRECTORY).join(cookie.to_string()).join(plugin);
        Self { directory: place.join(&network), network, nested: is_braid(&call.environment) }
    }

    /// Those of every network on the host, for a plugin's rules that name no network.
    pub(crate) fn of_all_networks(plugin: &str) -> Vec<Self> {
        let cookie = NetnsCookie::of_thread().map_or(0, NetnsCookie::number);
        let place = Path::new(DIRECTORY).join(cookie.to_string()).join(plugin);
        let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
        let of_network = |entry: fs::DirEntry| {
            let network = entry.file_name().into_string().ok()?;
            Some(Self { directory: entry.path(), network, nested: false })
        };
        entries.flatten().take(MAX_FILES).filter_map(of_network).collect()
    }

    /// Says that the attachment is about to have rules.
    pub(crate) fn put(&self, owner: &Owner, mark: &Mark) -> Result<(), Error> {
        let mark = Mark { nested: self.nested, ..mark.clone() };
        let text = serde_json::to_vec(&mark).map_err(|error| Error::new(Code::IO, error))?;
        // What cannot be read again would say nothing to DEL.
        if text.len() as u64 > MAX_BYTES {
            let count = mark.addresses.len();
            let problem = format!("rules for {count} addresses of one attachment are too many");
            return Err(Error::new(Code::CONFIG, problem));
        }
        self.write(owner, &text).map_err(|error| self.fault("written", &error))
    }

    /// Once more if another call has removed the directory, which was empty, in between.
    fn write(&self, owner: &Owner, text: &[u8]) -> io::Result<()> {
        let mut outcome = self.write_once(owner, text);
        for _ in 1..TRIES {
            let Err(error) = &outcome else { break };
            // The directory goes before the file is made in it, or while it is found to be there.
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) {
                break;
            }
            outcome = self.write_once(owner, text);
        }
        outcome
    }

    fn write_once(&self, owner: &Owner, text: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let file_name = file_name(owner);
        let begun = self.directory.join(format!(".{file_name}"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&begun)?.write_all(text)?;
        fs::rename(&begun, self.directory.join(file_name))
    }

    /// What is known of the attachment's rules; none if a mark is missing.
    pub(crate) fn get(&self, owner: &Owner) -> Option<Mark> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(self.directory.join(file_name(owner)))
            .ok()?;
        Some(read(&file).unwrap_or_default())
    }

    /// Says that the attachment has no rules any more.
    pub(crate) fn remove(&self, owner: &Owner) -> Result<(), Error> {
        match fs::remove_file(self.directory.join(file_name(owner))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.fault("removed", &error))
            }
            _ => {
                // The network's directory goes with its last attachment; it stays if it has others.
                let _ = fs::remove_dir(&self.directory);
                Ok(())
            }
        }
    }

    fn fault(&self, attempt: &str, error: &io::Error) -> Error {
        let directory = self.directory.display();
        let problem = format!("the mark of rules in {directory} cannot be {attempt}: {error}");
        Error::new(Code::IO, problem)
    }

    /// Every attachment of the network with a mark, and when that was made.
    pub(crate) fn all(&self) -> Vec<(Owner, Mark, SystemTime)> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        entries.flatten().take(MAX_FILES).filter_map(|entry| self.entry(&entry)).collect()
    }

    /// Whether another interface of the container has rules in the network, too.
    pub(crate) fn has_sibling(&self, owner: &Owner) -> bool {
        let is_sibling = |other: &Owner| {
            other.container == owner.container && other.interface != owner.interface
        };
        self.all().iter().any(|(other, ..)| is_sibling(other))
    }

    /// The addresses that attachments of other containers have, or other interfaces.
    pub(crate) fn addresses_of_others(&self, owner: &Owner) -> Vec<IpAddr> {
        let others = self.all().into_iter().filter(|(other, ..)| other != owner);
        others.flat_map(|(_, mark, _)| mark.addresses).map(|address| address.ip()).collect()
    }

    fn entry(&self, entry: &fs::DirEntry) -> Option<(Owner, Mark, SystemTime)> {
        let file_name = entry.file_name().into_string().ok()?;
        let (container, interface) = file_name.split_once(':')?;
        if container.starts_with('.') {
            return None;
        }
        let (container, interface) = (container.to_owned(), interface.to_owned());
        let owner = Owner { network: self.network.clone(), container, interface };
        let made = entry.metadata().ok()?.modified().ok()?;
        let mark = self.get(&owner)?;
        Some((owner, mark, made))
    }

    /// GC: the attachments that are gone. They carry the mark of a call from where this one comes
    /// from, are older than the list of valid attachments, and not on it.
    pub(crate) fn stale(&self, call: &Call) -> Result<Vec<(Owner, Mark)>, Error> {
        let listed_at = listed_at(call, SystemTime::now());
        let Some(valid) = call.valid_attachments()? else { return Ok(Vec::new()) };
        let is_valid = |owner: &Owner| {
            let is_it = |it: &ValidAttachment| {
                it.container == owner.container && it.interface == owner.interface
            };
            valid.iter().any(is_it)
        };
        let stale = self.all().into_iter().filter(|(owner, mark, made)| {
            mark.nested == is_braid(&call.environment) && *made < listed_at && !is_valid(owner)
        });
        Ok(stale.map(|(owner, mark, _)| (owner, mark)).collect())
    }
}

/// Neither a container's ID nor an interface's name has a colon or a slash.
fn file_name(owner: &Owner) -> String {
    format!("{}:{}", owner.container, owner.interface)
}

fn read(file: &File) -> Option<Mark> {
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(directory: &Path) -> Marks {
        Marks { directory: directory.join("net"), network: "net".to_owned(), nested: true }
    }

    fn owner(container: &str) -> Owner {
        let text = str::to_owned;
        Owner { network: text("net"), container: text(container), interface: text("eth0") }
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let place = tempfile::tempdir().unwrap();
        let marks = marks(place.path());
        let address: IpNetwork = "fd00:1111:2222:3333:4444:5555:6666:7777/128".parse().unwrap();
        let with = |count| Mark { addresses: vec![address; count], ..Mark::default() };
        marks.put(&owner("c1"), &with(1000)).unwrap();
        assert_eq!(marks.get(&owner("c1")).unwrap().addresses.len(), 1000);
        let error = marks.put(&owner("c2"), &with(2000)).unwrap_err();
        assert_eq!(error.msg, "rules for 2000 addresses of one attachment are too many");
        assert_eq!(marks.get(&owner("c2")), None);
    }

    #[test]
    fn the_directory_goes_with_its_last_mark() {
        let place = tempfile::tempdir().unwrap();
        let marks = marks(place.path());
        for container in ["c1", "c2"] {
            marks.put(&owner(container), &Mark::default()).unwrap();
        }
        marks.remove(&owner("c1")).unwrap();
        assert!(marks.get(&owner("c2")).is_some());
        marks.remove(&owner("c2")).unwrap();
        marks.remove(&owner("c2")).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn marks_are_made_while_others_take_the_directory_away() {
        let place = tempfile::tempdir().unwrap();
        let marks = marks(place.path());
        let attach_and_detach = |container: &str| {
            for _ in 0..500 {
                marks.put(&owner(container), &Mark::default()).unwrap();
                assert!(marks.get(&owner(container)).is_some());
                marks.remove(&owner(container)).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for container in ["c1", "c2", "c3", "c4"] {
                scope.spawn(move || attach_and_detach(container));
            }
        });
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
