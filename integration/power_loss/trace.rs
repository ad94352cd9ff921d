//! What a call of braid does to the state directory, as strace saw it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The system calls by which a program can change a directory tree, or bring it to the disk. Those
/// that this module does not know stop the test if they meet the state directory.
pub(super) const CALLS: &str = "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate,sync,syncfs,sendfile,copy_file_range,chmod,fchmod,fchmodat";

/// One step. Paths are as they were then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    MakeDirectory(PathBuf),
    /// A new file; none if there is one already.
    Create(PathBuf),
    Append(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// What was done before is going to be on the disk once the sync of this number has ended.
    SyncStarts(usize, PathBuf),
    SyncEnds(usize),
    /// The call has answered.
    Returns,
}

/// The steps below `root` in the output of `strace -f -y`.
///
/// A sync of another thread than the first ends, at the latest, when the call returns, and so it
/// does here: whatever could be lost with a slower disk can be lost.
pub(super) fn read(text: &str, root: &Path) -> Vec<Step> {
    let mut reader = Reader {
        root: root.to_str().unwrap(),
        first: None,
        begun: HashMap::new(),
        steps: Vec::new(),
    };
    let mut ends_late = Vec::new();
    for line in text.lines() {
        ends_late.extend(reader.line(line));
    }
    assert!(reader.begun.is_empty(), "calls without an end: {:?}", reader.begun);
    reader.steps.extend(ends_late.into_iter().map(Step::SyncEnds));
    reader.steps.push(Step::Returns);
    reader.steps
}

struct Reader<'a> {
    root: &'a str,
    /// The process that was started.
    first: Option<String>,
    /// The first half of calls that another thread's came in between of, by process, with their
    /// sync.
    begun: HashMap<String, (String, Option<usize>)>,
    steps: Vec<Step>,
}

impl Reader<'_> {
    /// Reads one line. Returns a sync that has ended in another thread.
    fn line(&mut self, line: &str) -> Option<usize> {
        let (process, call) = line.split_once(char::is_whitespace).unwrap();
        let call = call.trim_start();
        let first = self.first.get_or_insert_with(|| process.to_owned()).clone();
        if call.starts_with("+++") || call.starts_with("---") {
            return None;
        }
        if let Some(half) = call.strip_suffix(" <unfinished ...>") {
            let sync = self.start_sync(half);
            self.begun.insert(process.to_owned(), (half.to_owned(), sync));
            return None;
        }
        let (call, sync) =
            match call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                Some((_, end)) => {
                    let (half, sync) = self.begun.remove(process).unwrap();
                    (half + end, sync)
                }
                None => (call.to_owned(), self.start_sync(call)),
            };
        if let Some(number) = sync {
            assert!(call.ends_with("= 0"), "a sync failed: {call}");
            if process != first {
                return Some(number);
            }
            self.steps.push(Step::SyncEnds(number));
            return None;
        }
        self.steps.extend(self.step(&call));
        None
    }

    fn start_sync(&mut self, call: &str) -> Option<usize> {
        let rest = call.strip_prefix("fsync(").or_else(|| call.strip_prefix("fdatasync("))?;
        let path = self.inside(&of_descriptor(rest)?)?;
        let number = self.steps.iter().filter(|step| matches!(step, Step::SyncStarts(..))).count();
        self.steps.push(Step::SyncStarts(number, path));
        Some(number)
    }

    fn step(&self, call: &str) -> Option<Step> {
        let (name, arguments) = call.split_once('(').unwrap();
        let (arguments, result) = arguments.rsplit_once(" = ").unwrap_or((arguments, "?"));
        if result.starts_with('-') || result.starts_with('?') {
            return None;
        }
        let texts = texts(arguments);
        let path = |at: usize| {
            let text = String::from_utf8(texts.get(at)?.clone()).ok()?;
            self.inside(&text)
        };
        match name {
            "mkdir" | "mkdirat" => path(0).map(Step::MakeDirectory),
            "openat" | "open" => path(0).filter(|_| arguments.contains("O_CREAT")).map(|path| {
                assert!(
                    !arguments.contains("O_TRUNC"),
                    "nothing of the state is written in place: {call}"
                );
                Step::Create(path)
            }),
            "write" => {
                let path = self.inside(&of_descriptor(arguments)?)?;
                let written: usize = result.parse().unwrap();
                Some(Step::Append(path, texts.first()?.get(..written)?.to_vec()))
            }
            "rename" | "renameat" | "renameat2" => {
                path(0).map(|from| Step::Rename(from, path(1).unwrap()))
            }
            "unlink" | "unlinkat" => path(0).map(Step::Remove),
            // Of a file that is empty. (The replay is compared with the directory, and would
            // differ.)
            "ftruncate" if arguments.ends_with(", 0)") => None,
            _ => {
                assert!(!arguments.contains(self.root), "the replay does not know {call}");
                None
            }
        }
    }

    /// The path below the root, which itself is the empty one; its parent is "..".
    fn inside(&self, path: &str) -> Option<PathBuf> {
        let (root, path) = (Path::new(self.root), Path::new(path));
        path.strip_prefix(root.parent()?)
            .ok()
            .filter(|_| path.starts_with(root) || Some(path) == root.parent())
            .map(Path::to_owned)
    }
}

/// The path of a descriptor as `-y` shows it: `3</path>, …`.
fn of_descriptor(arguments: &str) -> Option<String> {
    let (_, rest) = arguments.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// The quoted texts among a call's arguments.
fn texts(arguments: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut rest = arguments.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'"' {
            continue;
        }
        let mut text = Vec::new();
        while let Some(byte) = rest.next() {
            match byte {
                b'"' => break,
                b'\\' => text.push(unescape(&mut rest)),
                byte => text.push(byte),
            }
        }
        texts.push(text);
    }
    texts
}

/// What follows a backslash: a letter, or up to three octal digits.
fn unescape(rest: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> u8 {
    match rest.next().unwrap() {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'v' => 0x0b,
        b'f' => 0x0c,
        digit @ b'0'..=b'7' => {
            let mut value = digit - b'0';
            for _ in 0..2 {
                let Some(next) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                value = value * 8 + (next - b'0');
            }
            value
        }
        byte => byte,
    }
}
