//! Addresses that host-local has given out under the other name of a network: a definition's own
//! before a policy scoped it, or the scoped one before the policy was taken back. Pods still have
//! them, so that they must not be given out again under the present name.
//!
//! ```text
//! <dataDir>/<other name>/<address>        given out before; its pod's DEL removes it
//! <dataDir>/<present name>/<address>      holds the address: a link to the next
//! <dataDir>/<present name>/.held-by-<other name>
//! ```
//!
//! host-local takes any file of an address's name for a reservation, and its DEL removes only those
//! that hold the container's ID. What is not needed any more is removed by the next call. Links
//! come and go whole, whenever a call is killed, and are no reservations themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{data_dir, host_local_ipams};
use cni::keys;
use cni::netconf::{NetworkConfig, NetworkName};

/// The most files of one directory that are looked at: a node has far fewer pods.
const MAX_FILES: usize = 65_536;
/// How the file is called to which links hold addresses, before the name of the network that has
/// given them out.
const HOLDER: &str = ".held-by-";

/// The addresses that are in use cannot be held.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct HoldError {
    /// The file or directory.
    path: PathBuf,
    /// What the system says.
    source: io::Error,
}

/// Holds the addresses of `network`'s subnets that host-local has given out under `other_name`, and
/// lets go of those that were given back since. Costs one look for a directory if there are none.
///
/// # Errors
/// [`HoldError`].
pub(crate) fn hold(network: &NetworkConfig, other_name: &NetworkName) -> Result<(), HoldError> {
    host_local_ipams(network).try_for_each(|ipam| {
        let data = data_dir(ipam);
        if !data.join(other_name.as_str()).exists() {
            return Ok(());
        }
        let pool = Pool { directory: data.join(network.name.as_str()), data };
        let mut given_out = given_out(&pool.data.join(other_name.as_str()))?;
        let subnets = subnets_of(ipam);
        given_out.retain(|address, _| subnets.iter().any(|subnet| subnet.contains(*address)));
        let mut present = addresses(&pool.directory)?;
        pool.let_go(&mut present)?;
        given_out.retain(|address, _| !present.contains_key(address));
        pool.hold(given_out.values(), other_name)
    })
}

/// The subnets that host-local gives out addresses of for this network.
pub(crate) fn subnets(network: &NetworkConfig) -> Vec<IpNetwork> {
    host_local_ipams(network).flat_map(subnets_of).collect()
}

fn subnets_of(ipam: &serde_json::Map<String, Value>) -> Vec<IpNetwork> {
    let sets = keys::get(ipam, "ranges").and_then(Value::as_array).into_iter().flatten();
    let ranges = sets.filter_map(Value::as_array).flatten().filter_map(Value::as_object);
    let all = std::iter::once(ipam).chain(ranges);
    all.filter_map(|range| keys::get(range, "subnet")?.as_str()?.parse().ok()).collect()
}

/// The reservations of a network in its data directory.
struct Pool {
    data: PathBuf,
    directory: PathBuf,
}

impl Pool {
    /// Holds these addresses, named as their files are.
    fn hold<'n>(
        &self,
        names: impl Iterator<Item = &'n OsString>,
        other_name: &NetworkName,
    ) -> Result<(), HoldError> {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return Ok(());
        }
        let holder = self.holder(other_name)?;
        names.try_for_each(|name| {
            let path = self.directory.join(name);
            match fs::hard_link(&holder, &path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    Err(HoldError { path, source })
                }
                _ => Ok(()),
            }
        })
    }

    /// The file to which the links of this name lead.
    fn holder(&self, other_name: &NetworkName) -> Result<PathBuf, HoldError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| HoldError { path, source }
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory);
        made.map_err(at(&self.directory))?;
        let path = self.directory.join(format!("{HOLDER}{other_name}"));
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            // Read by people alone, so that a call that is killed here leaves nothing wrong behind.
            Ok(mut file) => io::Write::write_all(
                &mut file,
                format!("braid: addresses of this name are held for network {other_name}\n")
                    .as_bytes(),
            )
            .map_err(at(&path))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&path)(error)),
        }
        Ok(path)
    }

    /// Removes the links that hold addresses which were given back, from the directory and from
    /// `present`.
    fn let_go(&self, present: &mut BTreeMap<IpAddr, OsString>) -> Result<(), HoldError> {
        for (other_name, inode) in holders(&self.directory) {
            let given_out = given_out(&self.data.join(&other_name))?;
            let is_over = |address: &IpAddr, name: &OsString| {
                !given_out.contains_key(address)
                    && inode_of(&self.directory.join(name)) == Some(inode)
            };
            let over = present.iter().filter(|(address, name)| is_over(address, name));
            let over: Vec<IpAddr> = over.map(|(address, _)| *address).collect();
            for name in over.iter().filter_map(|address| present.remove(address)) {
                let path = self.directory.join(name);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(HoldError { path, source });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The names for which addresses are held in a directory, each with the inode that the links share.
fn holders(directory: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_FILES);
    let holder = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str()?.strip_prefix(HOLDER)?.to_owned();
        // The name becomes a path.
        name.parse::<NetworkName>().ok()?;
        let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
        (metadata.nlink() > 1).then(|| (name, metadata.ino()))
    };
    entries.filter_map(holder).collect()
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// The addresses that host-local has given out of a directory, without those that are only held
/// there.
fn given_out(directory: &Path) -> Result<BTreeMap<IpAddr, OsString>, HoldError> {
    let mut found = addresses(directory)?;
    let held: Vec<u64> = holders(directory).into_iter().map(|(_, inode)| inode).collect();
    if !held.is_empty() {
        found.retain(|_, name| {
            inode_of(&directory.join(name)).is_none_or(|inode| !held.contains(&inode))
        });
    }
    Ok(found)
}

/// The files of a directory that are named by an address.
fn addresses(directory: &Path) -> Result<BTreeMap<IpAddr, OsString>, HoldError> {
    let failed = |source| HoldError { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries.take(MAX_FILES) {
        let name = entry.map_err(failed)?.file_name();
        if let Some(address) = name.to_str().and_then(|text| text.parse().ok()) {
            found.insert(address, name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;

    struct Data(tempfile::TempDir);

    impl Data {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A reservation of host-local's.
        fn reserve(&self, network: &str, address: &str) {
            fs::create_dir_all(self.0.path().join(network)).unwrap();
            fs::write(self.0.path().join(network).join(address), "c1\r\nnet1").unwrap();
        }

        fn release(&self, network: &str, address: &str) {
            fs::remove_file(self.0.path().join(network).join(address)).unwrap();
        }

        fn hold(&self, other_name: &str) {
            self.hold_in("team-a.lan", other_name);
        }

        fn hold_in(&self, name: &str, other_name: &str) {
            let ipam = json!({
                "type": "host-local", "dataDir": self.0.path(), "subnet": "10.9.0.0/24",
                "ranges": [[{"subnet": "fd09::/64"}]],
            });
            let value =
                json!({"cniVersion": "1.0.0", "name": name, "type": "bridge", "ipam": ipam});
            let network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
            hold(&network, &other_name.parse().unwrap()).unwrap();
        }

        /// The addresses that are not free in a network.
        fn reserved(&self, network: &str) -> Vec<String> {
            addresses(&self.0.path().join(network))
                .unwrap()
                .keys()
                .map(ToString::to_string)
                .collect()
        }
    }

    #[test]
    fn what_was_given_out_is_held_until_it_is_given_back() {
        let data = Data::new();
        data.hold("lan");
        assert!(!data.0.path().join("team-a.lan").exists(), "nothing to hold");
        for address in ["10.9.0.2", "fd09::2", "10.8.0.2", "lock", "last_reserved_ip.0"] {
            data.reserve("lan", address);
        }
        data.hold("lan");
        data.hold("lan");
        assert_eq!(data.reserved("team-a.lan"), ["10.9.0.2", "fd09::2"], "of its own subnets");
        data.reserve("team-a.lan", "10.9.0.3");
        data.release("lan", "10.9.0.2");
        data.hold("lan");
        assert_eq!(data.reserved("team-a.lan"), ["10.9.0.3", "fd09::2"]);
        data.release("lan", "fd09::2");
        data.hold("lan");
        assert_eq!(data.reserved("team-a.lan"), ["10.9.0.3"], "a reservation of its own stays");
    }

    #[test]
    fn a_definition_that_changes_its_name_holds_what_each_has_given_out() {
        let data = Data::new();
        data.reserve("lan", "10.9.0.2");
        data.hold("lan");
        data.reserve("wan", "10.9.0.3");
        data.hold("wan");
        assert_eq!(data.reserved("team-a.lan"), ["10.9.0.2", "10.9.0.3"]);
        data.release("lan", "10.9.0.2");
        data.hold("wan");
        assert_eq!(data.reserved("team-a.lan"), ["10.9.0.3"]);
    }

    /// Forth and back between two names, each holds what the other has given out, and no more: a
    /// link is no reservation, or both would hold an address for ever.
    #[test]
    fn a_policy_that_is_taken_back_holds_the_other_way() {
        let data = Data::new();
        data.reserve("lan", "10.9.0.2");
        data.hold("lan");
        data.reserve("team-a.lan", "10.9.0.3");
        data.hold_in("lan", "team-a.lan");
        assert_eq!(data.reserved("lan"), ["10.9.0.2", "10.9.0.3"]);
        data.release("lan", "10.9.0.2");
        data.release("team-a.lan", "10.9.0.3");
        data.hold_in("lan", "team-a.lan");
        data.hold("lan");
        assert_eq!((data.reserved("lan"), data.reserved("team-a.lan")), (vec![], vec![]));
    }

    #[test]
    fn a_held_address_is_no_containers() {
        let data = Data::new();
        data.reserve("lan", "10.9.0.2");
        data.hold("lan");
        let store = super::super::Store {
            network: "team-a.lan".to_owned(),
            directory: data.0.path().join("team-a.lan"),
        };
        assert_eq!(
            store
                .read(&mut 100, cni::deadline::Deadline::after(std::time::Duration::from_secs(60))),
            []
        );
    }
}
