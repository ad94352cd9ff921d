//! A file system that loses power: what it may show afterwards.
//!
//! It keeps what has been synced, by POSIX's word: a file's bytes by a sync of the file, a name by
//! a sync of the directory that it is in. Of everything else each piece is there or not, in any
//! order. A file's later bytes may be zeros, or cut short, and a file whose name is there may have
//! none. No file system loses as much; each loses some of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::trace::Step;

/// What is there after a power loss: directories, and files with their bytes.
pub(super) type State = BTreeMap<PathBuf, Option<Rc<[u8]>>>;

/// The same with the file's inode in place of its bytes.
type Tree = BTreeMap<PathBuf, Option<Inode>>;

type Inode = usize;
/// The directory that the traced one is in.
const OUTSIDE: Inode = 0;

/// A name in a directory: what the disk has for it, and what has been done since, by the step.
#[derive(Clone, Default)]
struct Name {
    synced: Option<Inode>,
    since: Vec<(usize, Option<Inode>)>,
}

impl Name {
    fn now(&self) -> Option<Inode> {
        self.since.last().map_or(self.synced, |(_, inode)| *inode)
    }

    fn possible(&self) -> BTreeSet<Option<Inode>> {
        self.since.iter().map(|(_, inode)| *inode).chain([self.synced]).collect()
    }
}

#[derive(Clone)]
enum Node {
    Directory(BTreeMap<String, Name>),
    File { synced: Vec<u8>, since: Vec<(usize, Vec<u8>)> },
}

/// The disk at one moment.
#[derive(Clone)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    steps: usize,
    /// What each sync under way is going to bring to the disk: an inode, up to a step.
    syncs: HashMap<usize, (Inode, usize)>,
}

impl Disk {
    /// A disk that holds this and has synced it.
    pub(super) fn holding(state: &State) -> Self {
        let mut disk =
            Self { nodes: vec![Node::Directory(BTreeMap::new())], steps: 0, syncs: HashMap::new() };
        for (path, content) in state {
            let node = match content {
                None => Node::Directory(BTreeMap::new()),
                Some(bytes) => Node::File { synced: bytes.to_vec(), since: Vec::new() },
            };
            let inode = disk.add(node);
            disk.name(path).synced = Some(inode);
        }
        disk
    }

    /// What a program sees now.
    pub(super) fn seen(&self) -> State {
        let mut state = State::new();
        self.see(OUTSIDE, Path::new(""), &mut state);
        state
    }

    fn see(&self, directory: Inode, at: &Path, state: &mut State) {
        let Node::Directory(names) = &self.nodes[directory] else {
            panic!("{} is a file", at.display())
        };
        for (name, inode) in names.iter().filter_map(|(name, slot)| Some((name, slot.now()?))) {
            let path = at.join(name);
            match &self.nodes[inode] {
                Node::Directory(_) => {
                    state.insert(path.clone(), None);
                    self.see(inode, &path, state);
                }
                node @ Node::File { .. } => {
                    state.insert(path, Some(written(node).into()));
                }
            }
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        self.steps += 1;
        match step {
            Step::MakeDirectory(path) => {
                let made = self.add(Node::Directory(BTreeMap::new()));
                self.set(path, Some(made));
            }
            Step::Create(path) => {
                if self.find(path).is_none() {
                    let made = self.add(Node::File { synced: Vec::new(), since: Vec::new() });
                    self.set(path, Some(made));
                }
            }
            Step::Append(path, bytes) => {
                let (inode, step) = (self.find(path).unwrap(), self.steps);
                let Node::File { since, .. } = &mut self.nodes[inode] else {
                    panic!("{} is no file", path.display())
                };
                since.push((step, bytes.clone()));
            }
            Step::Rename(from, to) => {
                let moved = self.find(from);
                self.set(from, None);
                self.set(to, moved);
            }
            Step::Remove(path) => self.set(path, None),
            Step::SyncStarts(number, path) => {
                let what = (self.find(path).unwrap(), self.steps);
                self.syncs.insert(*number, what);
            }
            Step::SyncEnds(number) => self.sync(*number),
            // Syncs are numbered for each call.
            Step::Returns => {
                assert!(self.syncs.is_empty(), "a call has returned before its syncs have ended")
            }
        }
    }

    fn sync(&mut self, number: usize) {
        let (inode, until) = self.syncs.remove(&number).unwrap();
        match &mut self.nodes[inode] {
            Node::Directory(names) => names.values_mut().for_each(|name| {
                let done = name.since.iter().take_while(|(step, _)| *step <= until).count();
                if let Some((_, inode)) = name.since.drain(..done).next_back() {
                    name.synced = inode;
                }
            }),
            Node::File { synced, since } => {
                let done = since.iter().take_while(|(step, _)| *step <= until).count();
                since.drain(..done).for_each(|(_, bytes)| synced.extend(bytes));
            }
        }
    }

    fn add(&mut self, node: Node) -> Inode {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        path.iter().try_fold(OUTSIDE, |inode, part| match &self.nodes[inode] {
            Node::Directory(names) => names.get(part.to_str().unwrap())?.now(),
            Node::File { .. } => None,
        })
    }

    fn name(&mut self, path: &Path) -> &mut Name {
        let parent =
            self.find(path.parent().unwrap()).unwrap_or_else(|| panic!("{}", path.display()));
        let Node::Directory(names) = &mut self.nodes[parent] else { panic!("{}", path.display()) };
        names.entry(path.file_name().unwrap().to_str().unwrap().to_owned()).or_default()
    }

    fn set(&mut self, path: &Path, inode: Option<Inode>) {
        let step = self.steps;
        self.name(path).since.push((step, inode));
    }

    /// Everything that may be there if the power goes now. Bytes are lost in the files at whose
    /// path they count; others have those that were written.
    pub(super) fn after_power_loss(
        &self,
        counts: impl Fn(&Path) -> bool,
        mut each: impl FnMut(State),
    ) {
        for tree in self.trees(OUTSIDE, Path::new("")) {
            let counting: BTreeSet<Inode> = tree
                .iter()
                .filter(|(path, _)| counts(path))
                .filter_map(|(_, inode)| *inode)
                .collect();
            let counting: Vec<_> = counting
                .into_iter()
                .map(|inode| (inode, possible_contents(&self.nodes[inode])))
                .collect();
            let written = |inode: Inode| Rc::from(written(&self.nodes[inode]));
            let state =
                tree.iter().map(|(path, inode)| (path.clone(), inode.map(written))).collect();
            choose_contents(&tree, &counting, state, &mut each);
        }
    }

    /// Every choice of names below a directory.
    fn trees(&self, directory: Inode, at: &Path) -> Vec<Tree> {
        let Node::Directory(names) = &self.nodes[directory] else {
            panic!("{} is a file", at.display())
        };
        names.iter().fold(vec![Tree::new()], |trees, (name, slot)| {
            let path = at.join(name);
            let branches: Vec<Tree> =
                slot.possible().into_iter().flat_map(|inode| self.branches(inode, &path)).collect();
            let joined = |tree: &Tree, branch: &Tree| {
                tree.clone().into_iter().chain(branch.clone()).collect()
            };
            trees
                .iter()
                .flat_map(|tree| branches.iter().map(|branch| joined(tree, branch)))
                .collect()
        })
    }

    fn branches(&self, inode: Option<Inode>, path: &Path) -> Vec<Tree> {
        let Some(inode) = inode else { return vec![Tree::new()] };
        if matches!(self.nodes[inode], Node::File { .. }) {
            return vec![Tree::from([(path.to_owned(), Some(inode))])];
        }
        let mut trees = self.trees(inode, path);
        for tree in &mut trees {
            tree.insert(path.to_owned(), None);
        }
        trees
    }
}

/// Every choice of bytes for the files of `left`, under all of their names.
fn choose_contents(
    tree: &Tree,
    left: &[(Inode, Vec<Rc<[u8]>>)],
    state: State,
    each: &mut impl FnMut(State),
) {
    let Some(((inode, contents), left)) = left.split_first() else { return each(state) };
    let names =
        || tree.iter().filter(|(_, named)| **named == Some(*inode)).map(|(path, _)| path.clone());
    for content in contents {
        let mut state = state.clone();
        state.extend(names().map(|path| (path, Some(Rc::clone(content)))));
        choose_contents(tree, left, state, each);
    }
}

fn written(node: &Node) -> Vec<u8> {
    let Node::File { synced, since } = node else { return Vec::new() };
    since.iter().fold(synced.clone(), |all, (_, more)| [all, more.clone()].concat())
}

/// The bytes that a file may have: what is synced, and of each later write, in any order, all, the
/// first half or zeros; what comes last may also be missing, or cut short.
fn possible_contents(node: &Node) -> Vec<Rc<[u8]>> {
    let Node::File { synced, since } = node else { return vec![Rc::from([])] };
    let mut full = vec![synced.clone()];
    let mut possible: BTreeSet<Vec<u8>> = BTreeSet::from([synced.clone()]);
    for (_, bytes) in since {
        let half = bytes.len() / 2;
        let torn = [bytes[..half].to_vec(), vec![0; bytes.len() - half]].concat();
        possible.extend(full.iter().map(|before| [before, &bytes[..half]].concat()));
        let fates = [bytes.clone(), torn, vec![0; bytes.len()]];
        full = full
            .iter()
            .flat_map(|before| fates.iter().map(|fate| [&before[..], fate].concat()))
            .collect();
        possible.extend(full.iter().cloned());
    }
    possible.into_iter().map(Rc::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(steps: &[Step]) -> BTreeSet<Vec<String>> {
        let mut disk = Disk::holding(&State::new());
        steps.iter().for_each(|step| disk.take(step));
        let mut states = BTreeSet::new();
        disk.after_power_loss(
            |_| true,
            |state| {
                let show = |(path, content): (&PathBuf, &Option<Rc<[u8]>>)| {
                    let content = content
                        .as_ref()
                        .map(|bytes| String::from_utf8_lossy(bytes).replace('\0', "0"));
                    format!(
                        "{}{}",
                        path.display(),
                        content.map(|text| format!("={text}")).unwrap_or_default()
                    )
                };
                states.insert(state.iter().map(show).collect());
            },
        );
        states
    }

    fn set<const N: usize>(states: [&[&str]; N]) -> BTreeSet<Vec<String>> {
        states
            .into_iter()
            .map(|state| state.iter().map(|&line| line.to_owned()).collect())
            .collect()
    }

    fn write() -> [Step; 3] {
        [
            Step::Create("t".into()),
            Step::Append("t".into(), b"ab".to_vec()),
            Step::Rename("t".into(), "f".into()),
        ]
    }

    fn sync(path: &str) -> [Step; 2] {
        [Step::SyncStarts(0, path.into()), Step::SyncEnds(0)]
    }

    #[test]
    fn what_is_not_synced_is_there_or_not() {
        let contents = ["", "a", "a0", "00", "ab"];
        let found = states(&write());
        for content in contents {
            for names in [vec![], vec!["t"], vec!["f"], vec!["f", "t"]] {
                let state: Vec<String> =
                    names.iter().map(|name| format!("{name}={content}")).collect();
                assert!(found.contains(&state), "{state:?}");
            }
        }
        assert_eq!(found.len(), 1 + 3 * contents.len());
    }

    #[test]
    fn a_file_and_its_name_are_synced_apart() {
        let with = |more: &[Step]| states(&[&write()[..], more].concat());
        assert_eq!(with(&sync("f")), set([&[], &["t=ab"], &["f=ab"], &["f=ab", "t=ab"]]));
        assert_eq!(with(&sync("")).len(), 5, "the name is sure, and nothing of the bytes");
        assert_eq!(with(&[sync("f"), sync("")].concat()), set([&["f=ab"]]));
    }

    #[test]
    fn a_sync_is_of_what_was_there_when_it_began() {
        let late = Step::Append("f".into(), b"c".to_vec());
        let [starts, ends] = sync("f");
        let steps = [&write()[..], &sync(""), &[starts, late, ends]].concat();
        assert_eq!(states(&steps), set([&["f=ab"], &["f=ab0"], &["f=abc"]]));
    }
}
