//! Addresses that the IPAM plugin host-local has reserved on this node. They are read and told of,
//! and never given back here: that is what DEL is for.
//!
//! ```text
//! <dataDir>/<network>/<address>     the container's ID, and on the next line its interface
//! ```
//!
//! A definition names the directory, so what lies there may be another program's: nothing is
//! followed or waited for, and what does not look like a reservation is passed over.

pub(crate) mod former;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use serde_json::{Map, Value};

use cni::deadline::Deadline;
use cni::keys;
use cni::name::InterfaceName;
use cni::netconf::{NetworkConfig, NetworkName};
use cni::request::ContainerId;
use plugins::facts::{self, HostState};
use plugins::ipam::host_local::{self, RangeUsage};

/// Where host-local keeps them unless `dataDir` says otherwise.
const DATA_DIR: &str = "/var/lib/cni/networks";
/// As many files as are looked at in one network.
const MAX_FILES: usize = 8192;
/// And in all networks of one look.
const MAX_FILES_OF_ALL: usize = 4 * MAX_FILES;
/// As many names as are read in one network's directory to count them: more than a /16 has.
const MAX_NAMES: usize = 1 << 17;
/// The kernel takes no longer path.
const MAX_PATH: usize = 4096;
/// A container's ID and an interface's name are shorter.
const MAX_BYTES: u64 = 1024;

/// The reservations of one network.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Store {
    network: String,
    directory: PathBuf,
}

/// Addresses that are reserved for one container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reservations {
    /// The network's name.
    pub network: String,
    /// Whose they are.
    pub container: ContainerId,
    /// The files, each named by its address.
    pub files: BTreeMap<IpAddr, PathBuf>,
    /// When the last of them was made.
    pub made: SystemTime,
}

impl Reservations {
    /// The addresses in a sentence.
    pub(crate) fn addresses(&self) -> String {
        self.files.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Where the addresses of these networks are reserved.
pub(crate) fn stores<'n>(networks: impl IntoIterator<Item = &'n NetworkConfig>) -> BTreeSet<Store> {
    let of_network = |network: &NetworkConfig| {
        directories(network)
            .into_iter()
            .map(|directory| Store::new(&network.name, directory))
            .collect::<Vec<_>>()
    };
    networks.into_iter().flat_map(of_network).collect()
}

/// The directories in which host-local keeps a network's addresses.
pub(crate) fn directories(network: &NetworkConfig) -> Vec<PathBuf> {
    let directories =
        host_local_ipams(network).map(|ipam| data_dir(ipam).join(network.name.as_str()));
    directories.filter(|directory| directory.as_os_str().len() <= MAX_PATH).collect()
}

/// How much is left of a network's ranges on the node whose files are below `root`. What ADD would
/// refuse has no ranges.
pub(crate) fn usage(network: &NetworkConfig, root: &Path) -> Vec<RangeUsage> {
    let of_ipam = |ipam: &Map<String, Value>| {
        let directory = data_dir(ipam).join(network.name.as_str());
        let directory = root.join(directory.strip_prefix("/").unwrap_or(&directory));
        host_local::usage(ipam, &taken(&directory)).unwrap_or_default()
    };
    host_local_ipams(network).flat_map(of_ipam).collect()
}

/// The addresses that files of `directory` are named by, whoever they are reserved for.
fn taken(directory: &Path) -> Vec<IpAddr> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let address = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.take(MAX_NAMES).filter_map(address).collect()
}

/// The `ipam` of each plugin that has its addresses from host-local.
fn host_local_ipams(network: &NetworkConfig) -> impl Iterator<Item = &Map<String, Value>> {
    let keeps = |kind: &str| {
        plugins::facts(kind).is_some_and(|it| it.host_state == HostState::Reservations)
    };
    let plugins = network.plugins.iter().filter(move |plugin| plugin.ipam().is_some_and(keeps));
    plugins.filter_map(facts::ipam_object)
}

fn data_dir(ipam: &Map<String, Value>) -> PathBuf {
    let named = keys::get(ipam, "dataDir").and_then(Value::as_str).filter(|path| !path.is_empty());
    PathBuf::from(named.unwrap_or(DATA_DIR))
}

impl Store {
    /// The reservations of the network with this name in `directory`, which [`directories`] has
    /// named.
    pub(crate) fn new(network: &NetworkName, directory: PathBuf) -> Self {
        Self { network: network.to_string(), directory }
    }

    /// What is reserved, one entry for each container. Takes the files that it looks at off
    /// `files`.
    fn read(&self, files: &mut usize, deadline: Deadline) -> Vec<Reservations> {
        let entries =
            std::fs::read_dir(&self.directory).into_iter().flatten().flatten().take(MAX_FILES);
        let mut found: BTreeMap<String, Reservations> = BTreeMap::new();
        for entry in entries {
            if *files == 0 || deadline.remaining().is_zero() {
                break;
            }
            *files -= 1;
            let path = entry.path();
            let address = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok());
            let Some((address, (container, made))) = address.zip(owner(&path)) else { continue };
            let known = found.entry(container.to_string()).or_insert_with(|| Reservations {
                network: self.network.clone(),
                container,
                files: BTreeMap::new(),
                made,
            });
            known.made = known.made.max(made);
            known.files.insert(address, path);
        }
        found.into_values().collect()
    }
}

/// Whose a reservation is, and since when.
fn owner(path: &Path) -> Option<(ContainerId, SystemTime)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some((text.lines().next()?.trim().parse().ok()?, metadata.modified().ok()?))
}

/// The file of an address in `directory` that host-local has for the container's interface, if
/// there is one.
///
/// # Errors
/// [`io::Error`] if it cannot be told: a file that cannot be read may be one. A directory that is
/// missing has none.
pub(crate) fn find_reserved(
    directory: &Path,
    container: &ContainerId,
    interface: &InterfaceName,
) -> io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for (read, entry) in entries.enumerate() {
        let entry = entry?;
        if read >= MAX_FILES {
            return Err(io::Error::other(format!("it has more than {MAX_FILES} files")));
        }
        let is_address =
            entry.file_name().to_str().is_some_and(|name| name.parse::<IpAddr>().is_ok());
        if is_address && is_of(&entry.path(), container, interface)? {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Old releases of host-local wrote the container alone.
fn is_of(path: &Path, container: &ContainerId, interface: &InterfaceName) -> io::Result<bool> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(str::trim);
    let is_container = lines.next() == Some(container.as_str());
    Ok(is_container
        && lines.next().is_none_or(|name| name.is_empty() || name == interface.as_str()))
}

/// What is reserved for containers that `known` does not hold. `known` is asked after the
/// reservations are read, and these are read again after it: what a call changes meanwhile is no
/// leak. What is not read by `deadline` is left out.
pub(crate) fn unknown(
    stores: &BTreeSet<Store>,
    deadline: Deadline,
    known: impl FnOnce() -> Option<HashSet<ContainerId>>,
) -> Vec<Reservations> {
    let mut files = MAX_FILES_OF_ALL;
    let mut found: Vec<Reservations> =
        stores.iter().flat_map(|store| store.read(&mut files, deadline)).collect();
    let Some(known) = known() else { return Vec::new() };
    found.retain(|reservations| !known.contains(&reservations.container));
    for reservations in &mut found {
        let container = &reservations.container;
        reservations
            .files
            .retain(|_, path| owner(path).is_some_and(|(owner, _)| owner == *container));
    }
    found.retain(|reservations| !reservations.files.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;
    use std::fs;

    fn network(name: &str, ipam: Value) -> NetworkConfig {
        let value = json!({"cniVersion": "1.0.0", "name": name, "type": "bridge", "ipam": ipam});
        NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap()
    }

    fn store(data: &Path) -> BTreeSet<Store> {
        fs::create_dir(data.join("lan")).unwrap();
        stores([&network("lan", json!({"type": "host-local", "dataDir": data}))])
    }

    fn later() -> Deadline {
        Deadline::after(std::time::Duration::from_secs(60))
    }

    fn summary(found: &[Reservations]) -> Vec<String> {
        found
            .iter()
            .map(|it| format!("{} {} {}", it.network, it.container, it.addresses()))
            .collect()
    }

    fn known<const N: usize>(ids: [&str; N]) -> impl FnOnce() -> Option<HashSet<ContainerId>> {
        move || Some(ids.iter().map(|id| id.parse().unwrap()).collect())
    }

    #[test]
    fn a_network_with_host_local_has_a_store_where_its_data_directory_says() {
        let found = stores([
            &network("lan", json!({"type": "host-local"})),
            &network("lan", json!({"type": "host-local"})),
            &network("wan", json!({"type": "host-local", "DataDir": "/run/ipam"})),
            &network("else", json!({"type": "whereabouts"})),
            &network("none", json!({})),
        ]);
        let directories: Vec<_> =
            found.iter().map(|store| store.directory.to_str().unwrap()).collect();
        assert_eq!(directories, ["/var/lib/cni/networks/lan", "/run/ipam/wan"]);
    }

    #[test]
    fn addresses_of_unknown_containers_are_reported() {
        let data = tempfile::tempdir().unwrap();
        let stores = store(data.path());
        for (address, content) in [
            ("10.0.0.2", "c1\r\neth0"),
            ("fd00::2", "c1\r\neth0"),
            ("10.0.0.3", "c2"),
            ("10.0.0.4", "c3\r\nnet1"),
        ] {
            fs::write(data.path().join("lan").join(address), content).unwrap();
        }
        let found = unknown(&stores, later(), known(["c2"]));
        assert_eq!(summary(&found), ["lan c1 10.0.0.2, fd00::2", "lan c3 10.0.0.4"]);
        assert!(unknown(&stores, later(), known(["c1", "c2", "c3"])).is_empty());
        assert!(unknown(&stores, later(), || None).is_empty(), "who is known cannot be told");
    }

    #[test]
    fn what_is_no_reservation_is_passed_over() {
        let data = tempfile::tempdir().unwrap();
        let stores = store(data.path());
        let lan = data.path().join("lan");
        fs::write(data.path().join("secret"), "hidden").unwrap();
        fs::write(lan.join("lock"), "").unwrap();
        fs::write(lan.join("last_reserved_ip.0"), "10.0.0.9").unwrap();
        fs::write(lan.join("10.0.0.1"), "").unwrap();
        fs::write(lan.join("10.0.0.2"), "../../etc\n").unwrap();
        fs::write(lan.join("10.0.0.3"), vec![0xff; 4096]).unwrap();
        fs::create_dir(lan.join("10.0.0.4")).unwrap();
        std::os::unix::fs::symlink(data.path().join("secret"), lan.join("10.0.0.5")).unwrap();
        nix::unistd::mkfifo(&lan.join("10.0.0.6"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(summary(&unknown(&stores, later(), known([]))), Vec::<String>::new());
    }

    #[test]
    fn what_a_call_gives_back_meanwhile_is_no_leak() {
        let data = tempfile::tempdir().unwrap();
        let stores = store(data.path());
        let file = data.path().join("lan/10.0.0.2");
        fs::write(&file, "c1").unwrap();
        let deleted = || {
            fs::remove_file(&file).unwrap();
            Some(HashSet::new())
        };
        assert!(unknown(&stores, later(), deleted).is_empty());
    }
}
