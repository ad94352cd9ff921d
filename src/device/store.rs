//! Device-info files (device-info 1.1.0, section 4), under one directory:
//!
//! ```text
//! /var/run/k8s.cni.cncf.io/devinfo/
//!   dp/<resource>-<device>-device.json       a device plugin writes it, for each device; only read here
//!   cni/<network>-<container>_<interface>    ours: one for each attachment, between us and its plugins
//! ```
//!
//! Plugins run as root, so `cni` is 0700 and its files are 0600. What lies in either directory was
//! written by others: it is read without following links, up to a bound, and checked.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::Value;

use super::format::{self, InvalidDeviceInfo};
use super::name::{self, InvalidName, MAX_FILE_NAME};
use cni::name::InterfaceName;
use cni::request::ContainerId;
use linux::directory;
use linux::file::{FileError, is_missing};

/// Files of device plugins (section 4.1).
const OF_PLUGINS: &str = "dp";
/// Files of attachments (section 4.2).
const OF_ATTACHMENTS: &str = "cni";

/// The largest file that is read. The longest that the specification knows has six short texts, and
/// it ends in an annotation, whose size is bounded too.
const MAX_BYTES: u64 = 16 << 10;

/// What went wrong with a device-info file.
#[derive(Debug, thiserror::Error)]
pub enum DeviceInfoError {
    /// The system does not let us.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a file that can be trusted.
    #[error("{} {problem}; see who made it, and remove it", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The content is wrong.
    #[error("{} {source}; the program that wrote the file has to correct it", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<InvalidDeviceInfo>,
    },
    /// The resource or the device cannot be part of a file's name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A path that is none of the store's.
    #[error("{} is no file in {}", path.display(), directory.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// The store's directory.
        directory: PathBuf,
    },
}

impl DeviceInfoError {
    fn untrusted(path: &Path, problem: &'static str) -> Self {
        Self::Untrusted { path: path.to_owned(), problem }
    }
}

/// The device-info files of a node.
#[derive(Clone, Debug)]
pub struct DeviceInfoStore {
    base: PathBuf,
}

impl Default for DeviceInfoStore {
    fn default() -> Self {
        Self::new(super::DEVICE_INFO_DIR)
    }
}

impl DeviceInfoStore {
    /// The files under `base`; elsewhere than in the specification's place for tests only.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// The file of an attachment (section 4.2.1: unique for each), for the plugins that declare
    /// `CNIDeviceInfoFile` (section 5.1.1). Nothing is made yet. The name is Multus's; a network's
    /// name that would make it too long is cut, since container and interface are unique by
    /// themselves.
    pub fn path_for(
        &self,
        network: &str,
        container: &ContainerId,
        interface: &InterfaceName,
    ) -> PathBuf {
        let unique = format!("-{container}_{interface}");
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }
        };
        // Room for the dot in front of it while it is written.
        let room = MAX_FILE_NAME.saturating_sub(unique.len() + 1);
        let network: String = network.chars().map(plain).take(room).collect();
        self.of_attachments().join(network + &unique)
    }

    /// Copies what the device plugin says of a device to the file of an attachment, before its
    /// plugins run (section 4.2.1). What an earlier attempt has left there goes in any case.
    /// Returns whether the device plugin has said anything: it need not (section 4.1.1).
    ///
    /// # Errors
    /// [`DeviceInfoError`]. The attachment can do without the file, so a caller may warn and carry
    /// on.
    pub fn prepare(
        &self,
        file: &Path,
        resource: &str,
        device: &str,
    ) -> Result<bool, DeviceInfoError> {
        self.remove(file)?;
        let source = self.base.join(OF_PLUGINS).join(name::file_name(resource, device)?);
        let Some(content) = read_bounded(&source)? else { return Ok(false) };
        parse(&source, &content)?;
        self.make_directory()?;
        self.write(file, &content).map_err(FileError::of("write", file))?;
        Ok(true)
    }

    /// What the file of an attachment says after its plugins have run, for `device-info` in the
    /// status (section 6.1.1); none if there is no file.
    ///
    /// # Errors
    /// [`DeviceInfoError`] if the file is not one, or does not say what it must (section 3).
    pub fn read(&self, file: &Path) -> Result<Option<Value>, DeviceInfoError> {
        self.check_ours(file)?;
        match read_bounded(file)? {
            Some(content) => parse(file, &content).map(Some),
            None => Ok(None),
        }
    }

    /// Removes the file of an attachment (section 4.2.1, on DEL), and the beginning of one that a
    /// killed ADD has left. One that is not there is removed.
    ///
    /// # Errors
    /// [`DeviceInfoError`] if it is there and stays.
    pub fn remove(&self, file: &Path) -> Result<(), DeviceInfoError> {
        self.check_ours(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beginning = directory::temporary_path(&self.of_attachments(), &name);
        // If it cannot be removed, the file itself cannot either.
        let _ = std::fs::remove_file(beginning);
        match std::fs::remove_file(file) {
            Err(error) if is_missing(&error) => Ok(()),
            outcome => Ok(outcome.map_err(FileError::of("remove", file))?),
        }
    }

    fn of_attachments(&self) -> PathBuf {
        self.base.join(OF_ATTACHMENTS)
    }

    /// Paths come back from records: only one that [`DeviceInfoStore::path_for`] could have made is
    /// used.
    fn check_ours(&self, file: &Path) -> Result<(), DeviceInfoError> {
        let directory = self.of_attachments();
        let ours = file
            .file_name()
            .is_some_and(|name| file.as_os_str() == directory.join(name).as_os_str());
        if ours {
            Ok(())
        } else {
            Err(DeviceInfoError::Foreign { path: file.to_owned(), directory })
        }
    }

    /// Makes the directory if it is missing (section 4.2.1), and makes sure that no other user
    /// can put links in it.
    fn make_directory(&self) -> Result<(), DeviceInfoError> {
        let directory = self.of_attachments();
        // Modes of our own: what a runtime has as its umask is not known.
        for (path, mode) in [(self.base.as_path(), 0o755), (&directory, 0o700)] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(FileError::of("create", path))?;
        }
        [self.base.as_path(), &directory].into_iter().try_for_each(check_directory)
    }

    /// In one step: a plugin never sees half of it.
    fn write(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // Under a name that `remove` knows, should we be killed.
        let mut temporary = directory::temporary(&self.of_attachments(), &name)?;
        temporary.write_all(content)?;
        temporary.persist(file)?;
        Ok(())
    }
}

fn check_directory(path: &Path) -> Result<(), DeviceInfoError> {
    let metadata = path.symlink_metadata().map_err(FileError::of("look at", path))?;
    match directory::distrust(&metadata) {
        Some(problem) => Err(DeviceInfoError::untrusted(path, problem)),
        None => Ok(()),
    }
}

/// The bytes of a file; none if there is none. Not through a link, and not from a pipe or a device,
/// which could keep us waiting.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, DeviceInfoError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
            return Err(DeviceInfoError::untrusted(path, "is a symbolic link"));
        }
        outcome => outcome.map_err(FileError::of("open", path))?,
    };
    if !file.metadata().map_err(FileError::of("look at", path))?.is_file() {
        return Err(DeviceInfoError::untrusted(path, "is no regular file"));
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(FileError::of("read", path))?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(Some(content))
    } else {
        Err(DeviceInfoError::untrusted(path, "is larger than 16 KiB"))
    }
}

fn parse(path: &Path, content: &[u8]) -> Result<Value, DeviceInfoError> {
    format::parse(content).map_err(|source| DeviceInfoError::Content {
        path: path.to_owned(),
        source: Box::new(source),
    })
}
