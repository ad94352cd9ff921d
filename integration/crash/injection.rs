//! Where Braid is killed: strace suppresses the N-th occurrence of a system call and sends SIGKILL
//! in its place.
//!
//! That is also the point after the call before it, since nothing is changed in between. What the
//! plugins do meanwhile is not Braid's to count: the points around their start, their input and
//! their end stand for it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::chroot;
use crate::node::Node;
use crate::source;

/// System calls that change something outside of the process, or start, feed and await a plugin;
/// and the last one. What an architecture does not have, strace passes over.
const OF_MAIN_THREAD: &[&str] = &[
    "open",
    "openat",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "ftruncate",
    "fallocate",
    "flock",
    "fsync",
    "fdatasync",
    "clone",
    "clone3",
    "fork",
    "vfork",
    "connect",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "kill",
    "wait4",
    "waitid",
    "exit_group",
];
/// What the threads do that Braid starts: they bring the record to the disk, and open a socket in
/// the sandbox.
const OF_OTHER_THREADS: &[&str] = &["fsync", "fdatasync", "setns"];

/// Whose calls are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    MainThread,
    OtherThreads,
}

impl Scope {
    pub(crate) const ALL: [Self; 2] = [Self::MainThread, Self::OtherThreads];

    fn calls(self) -> String {
        let calls = match self {
            Self::MainThread => OF_MAIN_THREAD,
            Self::OtherThreads => OF_OTHER_THREADS,
        };
        calls.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",")
    }

    /// Threads are followed, and plugins left to themselves once they are executed.
    fn options(self) -> &'static str {
        match self {
            Self::MainThread => "",
            Self::OtherThreads => "-f -b execve",
        }
    }
}

/// One point: Braid dies in place of this occurrence of the call.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) scope: Scope,
    pub(crate) call: String,
    pub(crate) number: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = if self.scope == Scope::OtherThreads { " of a thread" } else { "" };
        write!(f, "{} {}{thread}", self.call, self.number)
    }
}

/// A program that runs Braid and kills it at `point`.
pub(crate) fn killer(node: &Node, point: &Point) -> PathBuf {
    program(node, "killer", &killing(point))
}

/// The options of strace with which it kills at `point`.
pub(crate) fn killing(point: &Point) -> String {
    let Point { scope, call, number } = point;
    let inject = format!("-e trace={call} -e inject={call}:signal=SIGKILL:when={number}");
    format!("{} -o /dev/null {inject}", scope.options())
}

/// A program that runs Braid unharmed and writes down which of the calls it makes: see
/// [`calls_made`].
pub(crate) fn observer(node: &Node, scope: Scope) -> PathBuf {
    program(node, "observer", &observing(scope, &node.path_text("trace")))
}

/// The options of strace with which it writes down the calls.
pub(crate) fn observing(scope: Scope, trace: &str) -> String {
    format!("{} -o {trace} -e trace={}", scope.options(), scope.calls())
}

/// The names of the calls that the observer has seen.
pub(crate) fn calls_made(node: &Node) -> BTreeSet<String> {
    names_in(&node.path("trace")).into_iter().collect()
}

/// The names of the calls in a trace, one for each time.
pub(crate) fn names_in(trace: &Path) -> Vec<String> {
    let trace = fs::read_to_string(trace).expect("strace is missing: install it");
    // With -f, a process ID comes first.
    let name = |line: &str| {
        let call =
            line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').split_once('(')?.0;
        call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| call.to_owned())
    };
    trace.lines().filter_map(name).collect()
}

fn program(node: &Node, name: &str, options: &str) -> PathBuf {
    let script =
        format!("#!/bin/sh\nexec strace -qq {options} {} \"$@\"\n", executable().display());
    node.write(name, &script);
    fs::set_permissions(node.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    node.path(name)
}

/// The executable for nodes, which must be of the sources as they are.
pub(crate) fn executable() -> PathBuf {
    let executable = chroot::executable();
    let built = executable.metadata().unwrap().modified().unwrap();
    let sources = source::directories();
    let (changed, file) =
        sources.iter().filter_map(|directory| newest(directory)).max().expect("sources");
    assert!(
        built > changed,
        "{} is older than {}: run scripts/build",
        executable.display(),
        file.display()
    );
    executable
}

/// The file below a directory that was changed last.
fn newest(directory: &Path) -> Option<(SystemTime, PathBuf)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let changed = |path: PathBuf| Some((path.metadata().unwrap().modified().unwrap(), path));
    entries.filter_map(|path| if path.is_dir() { newest(&path) } else { changed(path) }).max()
}
