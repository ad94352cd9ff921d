//! The reservations of a network on this node, in the layout of the reference plugin.
//!
//! ```text
//! <dataDir>/<network>/lock                   flock(2): one call at a time
//! <dataDir>/<network>/<address>              "<container ID>\r\n<interface>"
//! <dataDir>/<network>/last_reserved_ip.<n>   the address of set n that was reserved last
//! ```
//!
//! A reservation of ours carries an extended attribute: who called, which GC needs to know. The
//! reference plugin sees nothing of it. A file appears under its address with content and mark, or
//! not at all; only a power loss can take the content away, and then the mark says that the file is
//! not an administrator's.
//!
//! A definition names the directory, so nothing in it is followed or waited for.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use cni::error::{Code, Error};
use cni::plugin::{Call, Context};
use linux::file::{FileError, is_missing};

use crate::mark;

/// A container's ID and an interface's name are shorter.
const MAX_BYTES: u64 = 1024;
/// A file that is not yet a reservation. Only the holder of the lock has one.
const BEGUN: &str = ".reserving";
/// Whose a reservation is, in the form of its file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner(String);

/// An address that is reserved.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    /// The address.
    pub(crate) address: IpAddr,
    /// Whose it is.
    pub(crate) owner: Owner,
    /// When it was made.
    pub(crate) made: SystemTime,
    mark: Option<String>,
    path: PathBuf,
}

/// The directory of a network, locked.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    mark: &'static str,
    _lock: Flock<File>,
}

impl Owner {
    /// The attachment that a call is about.
    pub(crate) fn of(call: &Call) -> Result<Self, Error> {
        let attachment = call.attachment()?;
        Ok(Self(format!("{}\r\n{}", attachment.container, attachment.interface)))
    }

    /// Whether it is this attachment.
    pub(crate) fn is(&self, container: &str, interface: &str) -> bool {
        self.parts() == (container, Some(interface))
    }

    /// Whether a reservation is this attachment's. One of a very old release names the container
    /// alone.
    pub(crate) fn is_same(&self, attachment: &Self) -> bool {
        self == attachment || self.is_container_of(attachment)
    }

    fn is_container_of(&self, attachment: &Self) -> bool {
        self.parts() == (attachment.parts().0, None)
    }

    /// Those of the reservations that this attachment owns. Those that name its container alone
    /// count only if there are no others.
    pub(crate) fn filter(&self, mut all: Vec<Reservation>) -> Vec<Reservation> {
        let exact = all.iter().any(|it| it.owner == *self);
        all.retain(|it| if exact { it.owner == *self } else { it.owner.is_container_of(self) });
        all
    }

    fn parts(&self) -> (&str, Option<&str>) {
        self.0.split_once("\r\n").map_or((self.0.as_str(), None), |(id, name)| (id, Some(name)))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            ("", _) => f.write_str("an unnamed owner"),
            (container, None) => write!(f, "container {container}"),
            (container, Some(interface)) => {
                write!(f, "interface {interface} of container {container}")
            }
        }
    }
}

impl Reservation {
    /// Whether a call from where this one comes from has made it: from a Braid, or from a runtime.
    pub(crate) fn is_marked_by(&self, call: &Call) -> bool {
        self.mark.as_deref() == Some(mark::caller(call))
    }

    fn read(path: PathBuf) -> Option<Self> {
        let address: IpAddr = path.file_name()?.to_str()?.parse().ok()?;
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).ok();
        let metadata =
            file.as_ref().and_then(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file);
        // Whatever lies there has the name of the address: it is taken.
        let (Some(file), Some(metadata)) = (file, metadata) else {
            let owner = Owner(String::new());
            return Some(Self { address, owner, made: SystemTime::now(), mark: None, path });
        };
        let made = metadata.modified().unwrap_or_else(|_| SystemTime::now());
        let mark = mark::read(&file);
        let mut bytes = Vec::new();
        let whole = file.take(MAX_BYTES).read_to_end(&mut bytes).is_ok();
        let text =
            if whole { String::from_utf8_lossy(&bytes).into_owned() } else { "?".to_owned() };
        let owner = Owner(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned());
        Some(Self { address, owner, made, mark, path })
    }

    /// Whether a power loss took the content away: it carries our mark, which is written before it.
    fn is_torn(&self) -> bool {
        self.mark.is_some() && self.owner.0.is_empty()
    }
}

fn refused(error: FileError) -> Error {
    Error::new(Code::IO, error)
}

impl Store {
    /// Locks the directory, which is made if it is missing.
    ///
    /// # Errors
    /// Code 5 if it cannot be made or locked, 11 if other calls hold the lock until the deadline.
    pub(crate) fn create(
        directory: &Path,
        context: &Context<'_>,
        call: &Call,
    ) -> Result<Self, Error> {
        loop {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(FileError::of("create", directory)).map_err(refused)?;
            // Another call may have removed it meanwhile.
            if let Some(mut store) = Self::open(directory, context)? {
                store.mark = mark::caller(call);
                return Ok(store);
            }
        }
    }

    /// Locks the directory; none if it is missing.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub(crate) fn open(directory: &Path, context: &Context<'_>) -> Result<Option<Self>, Error> {
        let path = directory.join("lock");
        let mut pause = Duration::from_micros(200);
        loop {
            context.proceed().map_err(|error| {
                let problem = format!("{} is held by other calls: {}", path.display(), error.msg);
                Error::new(error.code, problem)
            })?;
            match try_lock(&path) {
                Ok(Some(lock)) => {
                    let store =
                        Self { directory: directory.to_owned(), mark: mark::RUNTIME, _lock: lock };
                    store.remove_begun()?;
                    return Ok(Some(store));
                }
                Ok(None) => {}
                Err(error) if is_missing(&error) && !directory.is_dir() => {
                    return no_directory(directory);
                }
                Err(error) => return Err(refused(FileError::of("lock", &path)(error))),
            }
            std::thread::sleep(pause.min(context.deadline.remaining()));
            pause = pause.saturating_mul(2).min(Duration::from_millis(5));
        }
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is reserved, in the order of the addresses.
    ///
    /// # Errors
    /// Code 5 if the directory cannot be read, 11 if that takes too long.
    pub(crate) fn reservations(&self, context: &Context<'_>) -> Result<Vec<Reservation>, Error> {
        let failed = || FileError::of("list", &self.directory);
        let entries = std::fs::read_dir(&self.directory).map_err(failed()).map_err(refused)?;
        let mut found = Vec::new();
        for (count, entry) in entries.enumerate() {
            if count % 256 == 0 {
                context.proceed()?;
            }
            found.extend(Reservation::read(entry.map_err(failed()).map_err(refused)?.path()));
        }
        found.sort_by_key(|reservation| reservation.address);
        Ok(found)
    }

    /// Releases what a power loss has left without an owner.
    pub(crate) fn release_torn(&self, held: &mut Vec<Reservation>) -> Result<(), Error> {
        held.iter().filter(|it| it.is_torn()).try_for_each(|it| self.release(it))?;
        held.retain(|it| !it.is_torn());
        Ok(())
    }

    /// Reserves an address of the set with this index, and remembers it as the last one.
    ///
    /// # Errors
    /// Code 5; nothing is reserved then.
    pub(crate) fn reserve(
        &self,
        set: usize,
        address: IpAddr,
        owner: &Owner,
    ) -> Result<Reservation, Error> {
        let path = self.directory.join(address.to_string());
        let begun = self
            .begin(owner.0.as_bytes())
            .map_err(FileError::of("write", &path))
            .map_err(refused)?;
        let linked = std::fs::hard_link(&begun, &path).map_err(FileError::of("create", &path));
        let removed = self.remove_begun();
        linked.map_err(refused)?;
        let reservation = Reservation {
            address,
            owner: owner.clone(),
            made: SystemTime::now(),
            mark: Some(self.mark.to_owned()),
            path,
        };
        match removed.and_then(|()| self.remember(set, address)) {
            Ok(()) => Ok(reservation),
            Err(error) => Err(self.release(&reservation).err().unwrap_or(error)),
        }
    }

    /// Releases an address. One that is gone already is released.
    ///
    /// # Errors
    /// Code 5.
    pub(crate) fn release(&self, reservation: &Reservation) -> Result<(), Error> {
        remove(&reservation.path)
    }

    /// The address of the set that was reserved last.
    pub(crate) fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.last_reserved_path(set))
            .ok()?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        // Not trimmed: the reference takes the text as it is.
        Some(text.parse::<IpAddr>().ok()?.to_canonical())
    }

    fn last_reserved_path(&self, set: usize) -> PathBuf {
        self.directory.join(format!("last_reserved_ip.{set}"))
    }

    fn remember(&self, set: usize, address: IpAddr) -> Result<(), Error> {
        let path = self.last_reserved_path(set);
        // ext4 flushes a file that replaces another: that takes longer than all else here. Without
        // the file the next search begins at the start of the range.
        remove(&path)?;
        let written = self
            .begin(address.to_string().as_bytes())
            .and_then(|begun| std::fs::rename(begun, &path));
        written.map_err(FileError::of("write", &path)).map_err(|error| {
            drop(self.remove_begun());
            refused(error)
        })
    }

    /// A file with this content that is not under its name yet.
    fn begin(&self, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join(BEGUN);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        mark::write(&file, self.mark);
        match file.write_all(content) {
            Ok(()) => Ok(path),
            Err(error) => {
                drop(std::fs::remove_file(&path));
                Err(error)
            }
        }
    }

    fn remove_begun(&self) -> Result<(), Error> {
        remove(&self.directory.join(BEGUN))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if !is_missing(&error) => Err(refused(FileError::of("remove", path)(error))),
        _ => Ok(()),
    }
}

/// There is no directory; an error if something else stands there.
fn no_directory(directory: &Path) -> Result<Option<Store>, Error> {
    if directory.ancestors().any(|path| path.symlink_metadata().is_ok() && !path.is_dir()) {
        let problem =
            format!("{} is no directory, and none can be made there", directory.display());
        return Err(Error::new(Code::IO, problem));
    }
    Ok(None)
}

/// The lock at `path`; none if another call holds it, or has removed the file since it was opened.
fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CREAT).bits();
    // Opened to be read, as the reference plugin does; std wants to write what it creates.
    let file = OpenOptions::new().read(true).custom_flags(flags).mode(0o750).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock).filter(|lock| is_file_at(lock, path))),
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

fn is_file_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(identity).ok() == path.symlink_metadata().map(identity).ok()
}
