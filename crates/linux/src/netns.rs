//! A network namespace: what identifies it, and running something inside it.
//!
//! Which namespace a request is about, and what is done inside, belong elsewhere.

mod cookie;
mod living;
mod thread;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};

pub use cookie::NetnsCookie;
pub use living::Living;
pub use thread::NetnsThread;

/// The namespace of this process' main thread: the host's, unless it was started elsewhere.
const OWN: &str = "/proc/self/ns/net";

/// Most characters of a path that an error quotes.
const QUOTED: usize = 256;

/// What identifies a namespace as long as it lives: device and inode of its file. The path does
/// not, because it can be reused; nor does the pair once the namespace is gone: see
/// [`NetnsCookie`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct NetnsId {
    /// The device of the kernel's namespace file system.
    pub device: u64,
    /// The inode in it.
    pub inode: u64,
}

/// A network namespace that is kept alive while this value lives.
#[derive(Debug)]
pub struct Netns {
    file: File,
    id: NetnsId,
    path: PathBuf,
}

/// Why a namespace cannot be opened or entered.
///
/// No sentence says "not found" or "no such file": runtimes take these for a DEL that succeeded.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is at the path.
    #[error("network namespace {} is gone", quoted(.0))]
    Missing(PathBuf),
    /// Something else is at the path: another kind of file, or a namespace of another kind.
    #[error("{} is not a network namespace", quoted(.0))]
    NotANamespace(PathBuf),
    /// The kernel refused.
    #[error("network namespace {}: {}", quoted(path), reason(*errno))]
    Io {
        /// The path of the namespace.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The thread that was to enter the namespace did not start.
    #[error("network namespace {}: no thread to enter it: {source}", quoted(path))]
    Thread {
        /// The path of the namespace.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The work in the namespace panicked: a bug in it.
    #[error("network namespace {}: the work in it panicked", quoted(.0))]
    Panicked(PathBuf),
}

impl Netns {
    /// Opens the namespace at `path` (`CNI_NETNS`) and makes sure that it is one.
    ///
    /// Whatever else is there is neither read nor waited for, nor does its driver notice.
    ///
    /// # Errors
    /// [`NetnsError::Missing`], [`NetnsError::NotANamespace`], or [`NetnsError::Io`].
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| not_opened(path, errno))?;
        let file_system = fstatfs(&place).map_err(|errno| refused(path, errno))?;
        if file_system.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace(path.to_owned()));
        }
        let file = reopen(place).map_err(|errno| refused(path, errno))?;
        if kind(&file).map_err(|errno| refused(path, errno))? != CloneFlags::CLONE_NEWNET.bits() {
            return Err(NetnsError::NotANamespace(path.to_owned()));
        }
        let metadata = file.metadata().map_err(|error| refused(path, errno_of(&error)))?;
        Ok(Self { file, id: id_of(&metadata), path: path.to_owned() })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// As [`Netns::open`]: `/proc` is not mounted, say.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// What identifies the namespace.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The path that it was opened at, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the namespace of our own process, the host's: a pod with `hostNetwork`.
    ///
    /// # Errors
    /// [`NetnsError::Io`] if `/proc` does not tell.
    pub fn is_own(&self) -> Result<bool, NetnsError> {
        let metadata =
            fs::metadata(OWN).map_err(|error| refused(Path::new(OWN), errno_of(&error)))?;
        Ok(self.id == id_of(&metadata))
    }

    /// Runs `work` inside the namespace and returns what it returns.
    ///
    /// It runs on a thread of its own that ends with it, so that no failure can leave the caller's
    /// thread in the pod. A socket that `work` returns stays in the namespace.
    ///
    /// # Errors
    /// [`NetnsError::Io`] if the kernel does not let us in, [`NetnsError::Thread`], or
    /// [`NetnsError::Panicked`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let inside = || {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|errno| refused(&self.path, errno))?;
            Ok(work())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, inside)
                .map_err(|source| NetnsError::Thread { path: self.path.clone(), source })?;
            thread.join().unwrap_or_else(|_| Err(NetnsError::Panicked(self.path.clone())))
        })
    }
}

/// The lock of a namespace, held while this value lives.
#[derive(Debug)]
pub struct NetnsLock(#[allow(dead_code, reason = "it is held")] Flock<File>);

impl Netns {
    /// Locks the namespace's file (flock(2)), as the reference plugin sbr does; none if another
    /// call holds the lock. It keeps other calls out that ask for it, and nothing else.
    ///
    /// # Errors
    /// [`NetnsError::Io`].
    pub fn try_lock(&self) -> Result<Option<NetnsLock>, NetnsError> {
        let place = self.file.try_clone().map_err(|error| refused(&self.path, errno_of(&error)))?;
        // A lock belongs to what was opened, not to the descriptor.
        let file = reopen(place).map_err(|errno| refused(&self.path, errno))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(NetnsLock(lock))),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, errno)) => Err(refused(&self.path, errno)),
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The same file, opened for use: `O_PATH` alone names it, and has woken no driver and no FIFO.
fn reopen(place: impl AsRawFd) -> Result<File, Errno> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
        .map(File::from)
}

/// Which kind of namespace a namespace's file is, as a `CLONE_NEW*` flag (`NS_GET_NSTYPE`,
/// ioctl_ns(2)).
#[allow(unsafe_code, reason = "nix has no safe wrapper for this ioctl")]
fn kind(file: &File) -> Result<i32, Errno> {
    nix::ioctl_none!(ns_get_nstype, 0xb7, 0x3);
    // SAFETY: the descriptor is open for the whole call, and NS_GET_NSTYPE takes no argument, so
    // the kernel reads and writes no memory of ours.
    unsafe { ns_get_nstype(file.as_raw_fd()) }
}

fn id_of(metadata: &fs::Metadata) -> NetnsId {
    NetnsId { device: metadata.dev(), inode: metadata.ino() }
}

fn not_opened(path: &Path, errno: Errno) -> NetnsError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => NetnsError::Missing(path.to_owned()),
        errno => refused(path, errno),
    }
}

fn refused(path: &Path, errno: Errno) -> NetnsError {
    NetnsError::Io { path: path.to_owned(), errno }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::ENOENT => "is /proc mounted? (ENOENT)".to_owned(),
        Errno::EPERM => "needs CAP_SYS_ADMIN (EPERM)".to_owned(),
        errno => errno.to_string(),
    }
}

/// A path that a runtime sent, quoted: bounded, control characters escaped.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy().chars().take(QUOTED).collect::<String>())
}

/// Namespaces for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use nix::sched::unshare;
    use std::process::Command;

    /// A fresh namespace that vanishes with the value. Needs root.
    pub(crate) fn sandbox() -> Netns {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("these tests make network namespaces: run them as root");
            Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap()
        };
        std::thread::spawn(make).join().unwrap()
    }

    /// Runs each line as arguments of `ip` inside the namespace, and returns what the last one
    /// printed.
    pub(crate) fn ip(netns: &Netns, lines: &[&str]) -> String {
        netns.run(|| lines.iter().fold(String::new(), |_, line| ip_line(line))).unwrap()
    }

    fn ip_line(line: &str) -> String {
        let output = Command::new("ip")
            .args(line.split_whitespace())
            .output()
            .expect("these tests need iproute2");
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{ip, sandbox};
    use super::*;
    use nix::unistd::mkfifo;

    fn own_id() -> NetnsId {
        id_of(&fs::metadata("/proc/thread-self/ns/net").unwrap())
    }

    #[test]
    fn a_path_with_nothing_there_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        for path in ["absent", "absent/netns", "file/netns"] {
            let error = Netns::open(&directory.path().join(path)).unwrap_err();
            assert!(matches!(error, NetnsError::Missing(_)), "{path}: {error:?}");
        }
        assert!(matches!(Netns::open(Path::new("")).unwrap_err(), NetnsError::Missing(_)));
    }

    #[test]
    fn what_is_no_network_namespace_is_said_to_be_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let fifo = directory.path().join("fifo");
        fs::write(&file, "x").unwrap();
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let others =
            ["/proc/self/ns/mnt", "/proc/self/ns/user", "/proc/self/ns", "/dev/null", "/dev/tty"]
                .map(PathBuf::from);
        for path in [file, fifo, directory.path().to_owned()].into_iter().chain(others) {
            let error = Netns::open(&path).unwrap_err();
            assert!(matches!(error, NetnsError::NotANamespace(_)), "{path:?}: {error:?}");
        }
    }

    #[test]
    fn no_error_reads_like_success_to_a_runtime() {
        let path = || PathBuf::from("/x\n\u{1b}[31m");
        let errors = [
            NetnsError::Missing(path()),
            NetnsError::NotANamespace(path()),
            NetnsError::Io { path: path(), errno: Errno::ENOENT },
            NetnsError::Panicked(path()),
        ];
        for error in errors {
            let text = error.to_string().to_lowercase();
            assert!(!text.contains("not found") && !text.contains("no such file"), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(NetnsError::Missing("a".repeat(9000).into()).to_string().len() < 300);
    }

    #[test]
    fn the_same_namespace_has_the_same_id_at_every_path() {
        let netns = sandbox();
        let again =
            Netns::open(&PathBuf::from(format!("/proc/self/fd/{}", netns.file.as_raw_fd())))
                .unwrap();
        assert_eq!(again.id(), netns.id());
        assert_ne!(sandbox().id(), netns.id());
    }

    #[test]
    fn only_our_own_namespace_is_our_own() {
        assert!(Netns::open(Path::new(OWN)).unwrap().is_own().unwrap());
        let netns = sandbox();
        assert!(!netns.is_own().unwrap());
        assert!(!netns.run(|| netns.is_own().unwrap()).unwrap(), "judged from inside");
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let netns = sandbox();
        let before = own_id();
        assert_eq!(netns.run(own_id).unwrap(), netns.id());
        assert_eq!(own_id(), before);
        assert_ne!(before, netns.id());
    }

    #[test]
    fn work_may_borrow_and_its_children_are_inside() {
        let netns = sandbox();
        ip(&netns, &["link add only type bridge"]);
        let seen = ip(&netns, &["-brief link"]);
        assert!(seen.contains("only"), "{seen}");
        assert!(!fs::exists("/sys/class/net/only").unwrap());
    }

    #[test]
    fn a_panic_inside_is_an_error_outside() {
        let before = own_id();
        let netns = sandbox();
        let error = netns.run(|| panic!("on purpose")).unwrap_err();
        assert!(matches!(error, NetnsError::Panicked(_)), "{error:?}");
        assert_eq!(own_id(), before);
    }

    #[test]
    fn an_id_survives_the_ledger() {
        let id = NetnsId { device: 4, inode: u64::MAX };
        assert_eq!(
            serde_json::from_str::<NetnsId>(&serde_json::to_string(&id).unwrap()).unwrap(),
            id
        );
    }
}
