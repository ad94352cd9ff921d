//! Which device of the host is meant.

use std::io;
use std::path::{Component, Path, PathBuf};

use cni::error::{Code, Error};
use cni::plugin::Call;
use cni::quoted::Quoted;
use linux::file::{FileError, is_missing};
use linux::netlink::{Change, LinkId, LinkSettings, LinkState, Netlink};

use super::super::config::{Keys, invalid, read_mac, wrong_type};
use super::super::site::kernel_error;
use super::moving::is_name;

/// Drivers that keep a device from the kernel's network stack.
const USERSPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

const PCI: &str = "/sys/bus/pci/devices";
const AUXILIARY: &str = "/sys/bus/auxiliary/devices";

/// A device of the host.
#[derive(Debug)]
pub(super) struct Device {
    selector: Selector,
    /// Whether it has a userspace driver, and no link.
    pub(super) is_userspace: bool,
}

#[derive(Debug)]
enum Selector {
    /// Its name, or one of its alternative names.
    Name(String),
    /// Its hardware address.
    Mac(String),
    /// A directory of the kernel's devices, which has a directory `net`.
    Path(PathBuf),
    /// A PCI device.
    Pci(PathBuf),
    /// It is in userspace, and not said which.
    Nothing,
}

impl Device {
    /// Reads what the configuration and the runtime say.
    ///
    /// # Errors
    /// Code 7 for a wrong value, none, or a device that this node does not have.
    pub(super) fn read(call: &Call, keys: Keys<'_>) -> Result<Self, Error> {
        let (device, mac) = (keys.interface("device")?, keys.text("hwaddr")?);
        let mac = mac.map(|mac| read_mac("hwaddr", mac)).transpose()?;
        let kernel_path = keys.text("kernelpath")?.map(read_kernel_path).transpose()?;
        let configured =
            keys.text("pciBusID")?.map(|id| directory(PCI, "pciBusID", id)).transpose()?;
        let is_userspace = keys.switch("DPDKMode")?;
        let given = given_device(call)?;
        let (pci, auxiliary) = match given {
            Some(Given::Pci(path)) => (Some(path), None),
            Some(Given::Auxiliary(path)) => (None, Some(path)),
            None => (configured, None),
        };
        let is_userspace = pci.as_deref().map_or(Ok(is_userspace), has_userspace_driver)?;
        let selector = device
            .map(|name| Selector::Name(name.to_owned()))
            .or(mac.map(|mac| Selector::Mac(mac_text(&mac))))
            .or(kernel_path.map(Selector::Path))
            .or(pci.map(Selector::Pci))
            .or(auxiliary.map(Selector::Path))
            .or(Some(Selector::Nothing).filter(|_| is_userspace));
        let none = || {
            let problem = "the network says no device: set \"device\", \"hwaddr\", \"kernelpath\" \
                           or \"pciBusID\"";
            Error::new(Code::CONFIG, problem)
        };
        Ok(Self { selector: selector.ok_or_else(none)?, is_userspace })
    }

    /// The device's link on the host.
    ///
    /// # Errors
    /// Code 7 if there is none, or it is one that the host cannot do without.
    pub(super) fn find(&self, host: &mut Netlink) -> Result<LinkState, Error> {
        let found = self.look_up(host)?;
        let link =
            found.ok_or_else(|| missing(format!("no interface of the host {}", self.what())))?;
        if link.name == "lo" {
            return Err(missing("lo is the host's own, and stays there".to_owned()));
        }
        let is_named = matches!(self.selector, Selector::Name(_));
        if !is_named && host.default_link().map_err(kernel_error)? == Some(link.index) {
            let name = &link.name;
            return Err(missing(format!(
                "interface {name:?} has the host's default route: a pod gets it only if \"device\" \
                 names it"
            )));
        }
        Ok(link)
    }

    fn look_up(&self, host: &mut Netlink) -> Result<Option<LinkState>, Error> {
        match &self.selector {
            Selector::Name(name) => host.find(LinkId::Name(name)).map_err(kernel_error),
            Selector::Mac(mac) => {
                let has = |link: &LinkState| link.mac.as_ref() == Some(mac);
                Ok(host.link_states().map_err(kernel_error)?.into_iter().find(has))
            }
            Selector::Path(path) => of_directory(host, &path.join("net")),
            Selector::Pci(path) => match first_entry(&path.join("net"))? {
                Some(_) => of_directory(host, &path.join("net")),
                None => of_directory(host, &virtio_directory(path)?.join("net")),
            },
            Selector::Nothing => Ok(None),
        }
    }

    fn what(&self) -> String {
        match &self.selector {
            Selector::Name(name) => format!("is called {name:?}"),
            Selector::Mac(mac) => format!("has the hardware address {mac}"),
            Selector::Path(path) | Selector::Pci(path) => {
                format!("is the device {}", path.display())
            }
            Selector::Nothing => "is meant".to_owned(),
        }
    }
}

enum Given {
    Pci(PathBuf),
    Auxiliary(PathBuf),
}

/// The device that the runtime has for the pod (`runtimeConfig.deviceID`).
fn given_device(call: &Call) -> Result<Option<Given>, Error> {
    const KEY: &str = "runtimeConfig.deviceID";
    let Some(value) = call.runtime_config("deviceID") else { return Ok(None) };
    let id = value.as_str().ok_or_else(|| wrong_type(KEY, "a text", value))?;
    if id.is_empty() {
        return Ok(None);
    }
    let pci = directory(PCI, KEY, id)?;
    if pci.exists() {
        return Ok(Some(Given::Pci(pci)));
    }
    let auxiliary = directory(AUXILIARY, KEY, id)?;
    if auxiliary.exists() {
        return Ok(Some(Given::Auxiliary(auxiliary)));
    }
    let id = Quoted::text(id);
    Err(missing(format!("{KEY} is {id}, which is no PCI or auxiliary device of this node")))
}

/// The directory of a device: its ID is one part of a path.
fn directory(root: &str, key: &str, id: &str) -> Result<PathBuf, Error> {
    let is_id = id.len() <= 127
        && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        && !matches!(id, "." | "..");
    if is_id {
        return Ok(Path::new(root).join(id));
    }
    Err(invalid(key, "the ID of a device such as 0000:03:02.1", id))
}

fn read_kernel_path(text: &str) -> Result<PathBuf, Error> {
    let path = Path::new(text);
    let is_plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if path.starts_with("/sys/devices") && path != Path::new("/sys/devices") && is_plain {
        return Ok(path.to_owned());
    }
    Err(invalid("kernelpath", "an absolute path below /sys/devices", text))
}

fn has_userspace_driver(device: &Path) -> Result<bool, Error> {
    let path = device.join("driver");
    let driver = std::fs::read_link(&path)
        .map_err(|error| Error::new(Code::CONFIG, FileError::of("read", &path)(error)))?;
    let name = driver.file_name().and_then(|name| name.to_str());
    Ok(name.is_some_and(|name| USERSPACE_DRIVERS.contains(&name)))
}

/// The first entry of a directory, by name; `None` if there is no directory.
fn first_entry(directory: &Path) -> Result<Option<PathBuf>, Error> {
    first_of(directory, |_| true)
}

fn first_of(directory: &Path, is_meant: impl Fn(&str) -> bool) -> Result<Option<PathBuf>, Error> {
    let unreadable =
        |error: io::Error| Error::new(Code::IO, FileError::of("list", directory)(error));
    let entries = match std::fs::read_dir(directory) {
        Err(error) if is_missing(&error) => return Ok(None),
        outcome => outcome.map_err(unreadable)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_meant);
    Ok(paths.map_err(unreadable)?.into_iter().filter(named).min())
}

fn virtio_directory(device: &Path) -> Result<PathBuf, Error> {
    let found = first_of(device, |name| name.starts_with("virtio"))?;
    found.ok_or_else(|| missing(format!("PCI device {} has no interface", device.display())))
}

/// The link that a directory of the kernel's devices lists first. The directory shows links of the
/// namespace in which /sys was mounted: another one of the same name is not the device's.
fn of_directory(host: &mut Netlink, directory: &Path) -> Result<Option<LinkState>, Error> {
    let Some(path) = first_entry(directory)? else { return Ok(None) };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let found = host.find(LinkId::Name(name)).map_err(kernel_error)?;
    let shown = std::fs::read_to_string(path.join("ifindex")).unwrap_or_default();
    Ok(found.filter(|link| shown.trim() == link.index.to_string()))
}

fn mac_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn missing(problem: String) -> Error {
    Error::new(Code::CONFIG, problem)
}

/// Gives a device its name back that the kernel has brought to the host, under another one, when
/// its container vanished. Its alias says the name.
pub(super) fn take_name_back(call: &Call) -> Result<(), Error> {
    let keys = Keys::inside(call.object());
    let (Ok(device), Ok(mac)) = (keys.interface("device"), keys.text("hwaddr")) else {
        return Ok(());
    };
    let mut host = Netlink::open().map_err(kernel_error)?;
    let by_path = match Device::read(call, keys) {
        Ok(read) if device.is_none() && mac.is_none() => read.look_up(&mut host)?,
        _ => None,
    };
    let is_meant = |link: &LinkState, alias: &str| match (device, mac) {
        (Some(device), _) => alias == device,
        (None, Some(mac)) => link.mac.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(mac)),
        (None, None) => by_path.as_ref().is_some_and(|found| found.index == link.index),
    };
    let links = host.link_states().map_err(kernel_error)?;
    for link in links.iter().filter(|link| !link.up) {
        let alias = link.alias.as_deref().filter(|alias| is_name(alias) && *alias != link.name);
        let Some(alias) = alias.filter(|alias| is_meant(link, alias)) else { continue };
        if host.link_exists(alias).map_err(kernel_error)? {
            continue;
        }
        let without_alias = LinkSettings { alias: Some(""), ..LinkSettings::default() };
        let changes = [
            Change::rename_link(link.index, alias),
            Change::set_link(LinkId::Index(link.index), &without_alias),
        ];
        log::info!("interface {:?} of the host is called {alias:?} again", link.name);
        host.apply(&changes).map_err(kernel_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_an_id_leads_nowhere_else() {
        for text in ["/sys/devices/pci0000:00/0000:00:03.0", "/sys/devices/virtual"] {
            assert_eq!(read_kernel_path(text).unwrap(), Path::new(text));
        }
        for text in [
            "/sys/devices",
            "/sys/devices/",
            "/sys/devicesx/a",
            "sys/devices/a",
            "/sys/devices/../../etc",
        ] {
            assert_eq!(read_kernel_path(text).unwrap_err().code, Code::CONFIG, "{text}");
        }
        assert!(directory(PCI, "pciBusID", "0000:03:02.1").is_ok());
        for id in ["..", ".", "a/b", "", "a\nb"].into_iter().filter(|id| !id.is_empty()) {
            assert_eq!(directory(PCI, "pciBusID", id).unwrap_err().code, Code::CONFIG, "{id:?}");
        }
    }
}
