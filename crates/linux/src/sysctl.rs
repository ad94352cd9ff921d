//! Settings of the kernel's network stack (`/proc/sys/net`), of the namespace in which the calling
//! thread is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::family::Family;

/// Where the kernel shows them.
const ROOT: &str = "/proc/sys";

/// Most characters of a value that an error quotes.
const QUOTED: usize = 64;

/// A setting, by its path below `/proc/sys`: `net/ipv4/conf/eth0/arp_notify`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sysctl(PathBuf);

/// A setting that cannot be read or written.
///
/// No sentence says "not found" or "no such file": runtimes take these for a DEL that succeeded.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} sysctl {name}: {}", if value.is_empty() { "read".to_owned() } else { format!("write {value:?} to") }, reason(source))]
pub struct SysctlError {
    /// The setting, as sysctl(8) writes it.
    pub name: String,
    /// What was to be written; empty if it was to be read.
    pub value: String,
    /// Why it cannot.
    #[source]
    pub source: io::Error,
}

impl Sysctl {
    /// The setting at a path below `/proc/sys`, which must be one: no way leads out of it.
    pub fn at(path: &str) -> Self {
        let inside = Path::new(path)
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)));
        Self(inside.collect())
    }

    /// A setting of one interface, of a family: `net/ipv6/conf/eth0/accept_ra`. `interface` may be
    /// "all".
    pub fn of_interface(family: Family, interface: &str, key: &str) -> Self {
        let family = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        Self(["net", family, "conf", interface, key].iter().collect())
    }

    /// Whether packets of a family are forwarded from one interface to another.
    pub fn forwarding(family: Family) -> Self {
        match family {
            Family::V4 => Self::at("net/ipv4/ip_forward"),
            Family::V6 => Self::of_interface(Family::V6, "all", "forwarding"),
        }
    }

    /// The value, without the end of the line.
    ///
    /// # Errors
    /// [`SysctlError`]: the kernel has no such setting, say.
    pub fn read(&self) -> Result<String, SysctlError> {
        let value = fs::read_to_string(self.path()).map_err(|source| self.error("", source))?;
        Ok(value.trim().to_owned())
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`SysctlError`]: `/proc/sys` may be read-only.
    pub fn write(&self, value: &str) -> Result<(), SysctlError> {
        let written = fs::OpenOptions::new().write(true).open(self.path());
        written
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|source| self.error(value, source))
    }

    /// Writes a value that is not there yet, so that a read-only `/proc/sys` does no harm if it is.
    ///
    /// # Errors
    /// [`SysctlError`].
    pub fn ensure(&self, value: &str) -> Result<(), SysctlError> {
        if self.read()? == value { Ok(()) } else { self.write(value) }
    }

    /// Whether the kernel has the setting: of IPv6, not on a kernel without it.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    fn path(&self) -> PathBuf {
        Path::new(ROOT).join(&self.0)
    }

    /// sysctl(8) separates with dots, and writes a dot of an interface's name as a slash.
    fn error(&self, value: &str, source: io::Error) -> SysctlError {
        let parts = self.0.iter().map(|part| part.to_string_lossy().replace('.', "/"));
        SysctlError {
            name: parts.collect::<Vec<_>>().join("."),
            value: value.chars().take(QUOTED).collect(),
            source,
        }
    }
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => "the kernel has no such setting".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "/proc/sys is read-only here".to_owned(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::testing::{ip, sandbox};

    #[test]
    fn a_setting_is_that_of_the_namespace() {
        let netns = sandbox();
        ip(&netns, &["link add eth0.5 type bridge"]);
        let setting = Sysctl::of_interface(Family::V4, "eth0.5", "arp_notify");
        netns.run(|| setting.ensure("1")).unwrap().unwrap();
        assert_eq!(netns.run(|| setting.read()).unwrap().unwrap(), "1");
        let error = setting.read().unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read sysctl net.ipv4.conf.eth0/5.arp_notify: the kernel has no such setting"
        );
    }

    #[test]
    fn forwarding_is_switched_on_if_it_is_off() {
        let netns = sandbox();
        for family in Family::ALL {
            let setting = Sysctl::forwarding(family);
            netns.run(|| setting.write("0")).unwrap().unwrap();
            netns.run(|| setting.ensure("1")).unwrap().unwrap();
            assert_eq!(netns.run(|| setting.read()).unwrap().unwrap(), "1", "{family}");
        }
    }

    #[test]
    fn no_way_leads_out() {
        assert_eq!(Sysctl::at("../../etc/passwd"), Sysctl(PathBuf::from("etc/passwd")));
        assert!(Sysctl::at("net/ipv4/conf/all").write("1").is_err());
    }
}
