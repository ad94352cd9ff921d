//! A node that loses power in the middle of a call, or after it: a record is whole, or not there
//! and not missed.
//!
//! Calls are recorded as system calls on the state directory ([`trace`]). Cut behind each of them,
//! the disk may show a lot ([`disk`]): every such state is held against what Braid had promised by
//! then. Those that the ledger can tell apart are made, the boot ID changes, and the runtime goes
//! on: DEL, the same ADD again, another ADD, GC.

mod disk;
mod reboot;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use braid::internals::ledger::{Record, State as Reached, plan_line};
use serde_json::json;

use crate::call::Call;
use crate::node::{BRAID, Node};
use crate::pod::Pod;
use disk::{Disk, State};
use trace::Step;

/// Of the first boot's records, after another boot.
const OTHER_BOOT: &str = "00000000-1111-2222-3333-444444444444";

/// The node: a recorded primary, and network team-a/blue.
fn node() -> Node {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.8.0.2/24"]}));
    node.write(
        "traced",
        &format!(
            "#!/bin/sh\nexec strace -f --seccomp-bpf -y -s 1048576 -o {} -e trace={} {BRAID}\n",
            node.path_text("trace"),
            trace::CALLS
        ),
    );
    fs::set_permissions(node.path("traced"), fs::Permissions::from_mode(0o755)).unwrap();
    node
}

fn add<'n>(node: &'n Node, pod: &'n Pod<'n>) -> Call<'n> {
    pod.add(node.delegating()).networks("blue")
}

fn del<'n>(node: &'n Node, pod: &'n Pod<'n>) -> Call<'n> {
    node.call("DEL", node.delegating()).of_pod(pod).networks("blue")
}

/// Calls in a row, as the disk saw them.
struct Story {
    /// What was on the disk before the first.
    before: State,
    calls: Vec<Vec<Step>>,
}

impl Story {
    fn starting(node: &Node) -> Self {
        Self { before: state_of(node), calls: Vec::new() }
    }

    /// Runs a call, and records it.
    fn tell(&mut self, node: &Node, call: Call<'_>) -> crate::call::Outcome {
        let outcome = call.program(node.path("traced")).run();
        let text = fs::read_to_string(node.path("trace")).unwrap_or_else(|error| {
            panic!("strace has written nothing ({error}): install strace\n{}", outcome.stderr)
        });
        self.calls.push(trace::read(&text, &node.path("state")));
        assert_eq!(self.end().seen(), state_of(node), "the replay differs from what was done");
        outcome
    }

    fn end(&self) -> Disk {
        let mut disk = Disk::holding(&self.before);
        self.calls.iter().flatten().for_each(|step| disk.take(step));
        disk
    }

    /// Cuts the story behind each step; `each` gets what the disk may show then.
    fn lose_power(&self, mut each: impl FnMut(&Due, State)) {
        let mut disk = Disk::holding(&self.before);
        let mut promised = Due::of(&disk.seen());
        for step in std::iter::once(None).chain(self.calls.iter().flatten().map(Some)) {
            if let Some(step) = step {
                disk.take(step);
            }
            if step == Some(&Step::Returns) {
                promised = Due::of(&disk.seen());
            }
            // What a call has taken back meanwhile is due no more.
            let due = promised.and(&Due::of(&disk.seen()));
            disk.after_power_loss(|path| record_name(path).is_some(), |state| each(&due, state));
        }
    }
}

/// The state directory as it is.
fn state_of(node: &Node) -> State {
    let mut state = State::new();
    let mut left = vec![PathBuf::from("state")];
    while let Some(path) = left.pop() {
        let real = node.path(path.to_str().unwrap());
        if real.is_dir() {
            left.extend(
                fs::read_dir(&real).unwrap().map(|entry| path.join(entry.unwrap().file_name())),
            );
            state.insert(path, None);
        } else if real.exists() {
            state.insert(path, Some(fs::read(&real).unwrap().into()));
        }
    }
    state
}

/// Makes it so, as it was an hour ago.
fn restore(node: &Node, state: &State) {
    let _ = fs::remove_dir_all(node.path("state"));
    for (path, content) in state {
        let real = node.path(path.to_str().unwrap());
        match content {
            None => fs::DirBuilder::new().mode(0o700).create(&real).unwrap(),
            Some(bytes) => {
                let mut options = fs::OpenOptions::new();
                let mut file =
                    options.write(true).create_new(true).mode(0o600).open(&real).unwrap();
                std::io::Write::write_all(&mut file, bytes).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
            }
        }
    }
}

/// A file of records or orphans, with the name of the record that it must be.
fn record_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    match path.parent()?.to_str()? {
        "state/records" if !name.starts_with('.') => Some(name),
        "state/orphans" if !name.starts_with('.') => Some(name.rsplit_once('.')?.0),
        _ => None,
    }
}

/// Networks that are still to be torn down, by the time of their ADD and their name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Due(BTreeSet<(u64, String)>);

impl Due {
    fn of(state: &State) -> Self {
        let files = state
            .iter()
            .filter_map(|(path, content)| Some((record_name(path)?, content.as_ref()?)));
        let records = files.filter_map(|(name, bytes)| Record::parse(bytes, name).ok());
        let of_record = |record: Record| {
            let remaining = record.remaining();
            remaining
                .map(|(_, attachment, _)| (record.plan.created, attachment.label.clone()))
                .collect::<Vec<_>>()
        };
        Self(records.flat_map(of_record).collect())
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

/// What the ledger makes of a file or directory: states that look the same to it are one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Sight {
    Directory,
    /// A lock, a temporary file, or what an earlier boot has noted in `looks`: only its name
    /// counts.
    Name,
    Record(Seen),
    Broken {
        empty: bool,
    },
}

/// A record that can be read.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seen {
    created: u64,
    /// What is left of it, "blue" if ADD may have been tried, "blue!" where it has succeeded.
    left: Vec<String>,
    is_complete: bool,
    is_failing: bool,
    is_torn: bool,
}

impl Sight {
    fn of(path: &Path, content: &Option<Rc<[u8]>>) -> Self {
        match (content, record_name(path)) {
            (None, _) => Self::Directory,
            (Some(_), None) => Self::Name,
            (Some(bytes), Some(name)) => match Record::parse(bytes, name) {
                Ok(record) => Self::Record(Seen::of(&record, bytes)),
                Err(_) => Self::Broken { empty: bytes.is_empty() },
            },
        }
    }
}

impl Seen {
    fn of(record: &Record, bytes: &[u8]) -> Self {
        let pairs = record.plan.attachments.iter().zip(&record.states);
        let left = pairs.filter_map(|(attachment, state)| match state {
            Reached::Planned => Some(attachment.label.clone()),
            Reached::Attached(_) => Some(format!("{}!", attachment.label)),
            Reached::Gone => None,
        });
        Self {
            created: record.plan.created,
            left: left.collect(),
            is_complete: record.complete.is_some(),
            is_failing: record.failing_since.is_some(),
            is_torn: !bytes.ends_with(b"\n"),
        }
    }
}

type View = BTreeMap<PathBuf, Sight>;

/// Every state that a story can leave behind, once for each view of it. Each is held against what
/// is due.
#[derive(Default)]
struct Aftermath {
    views: BTreeMap<View, State>,
    states: usize,
    sights: HashMap<(PathBuf, Rc<[u8]>), Sight>,
}

impl Aftermath {
    fn of(story: &Story) -> Self {
        let mut aftermath = Self::default();
        let mut lost: BTreeMap<View, (Due, Due)> = BTreeMap::new();
        story.lose_power(|due, state| {
            let view = aftermath.view(&state);
            aftermath.states += 1;
            let kept = due_in(&view);
            if due.and(&kept) != *due {
                lost.insert(view.clone(), (due.clone(), kept));
            }
            aftermath.views.entry(view).or_insert(state);
        });
        let worst: Vec<_> = lost.iter().take(5).collect();
        assert!(
            lost.is_empty(),
            "in {} views something is lost that is due: {worst:#?}",
            lost.len()
        );
        aftermath
    }

    fn view(&mut self, state: &State) -> View {
        let sight = |(path, content): (&PathBuf, &Option<Rc<[u8]>>)| {
            let sight = match content {
                None => Sight::Directory,
                Some(bytes) => {
                    let key = (path.clone(), Rc::clone(bytes));
                    self.sights.entry(key).or_insert_with(|| Sight::of(path, content)).clone()
                }
            };
            (path.clone(), sight)
        };
        state.iter().map(sight).collect()
    }
}

/// What is still known of networks that have to be torn down.
fn due_in(view: &View) -> Due {
    let seen = view.values().filter_map(|sight| match sight {
        Sight::Record(seen) => Some(seen),
        _ => None,
    });
    let names = |seen: &Seen| {
        let name = |left: &String| (seen.created, left.trim_end_matches('!').to_owned());
        seen.left.iter().map(name).collect::<Vec<_>>()
    };
    Due(seen.flat_map(names).collect())
}

/// Lets the runtime go on from each view of records, and each set of other names, that the stories
/// leave. It need not be every pair of the two: records are read without a look at locks and
/// temporary files.
fn go_on(node: &Node, pod: &Pod<'_>, stories: &[(&str, Story)]) {
    let other = node.pod("team-a", "other");
    reboot::reboot(node);
    let runtime = reboot::Runtime { node, pod, other: &other };
    let (mut records, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (title, story) in stories {
        let aftermath = Aftermath::of(story);
        let mut gone_on = 0;
        for (view, state) in &aftermath.views {
            let (of_names, of_records): (View, View) = view
                .clone()
                .into_iter()
                .partition(|(_, sight)| matches!(sight, Sight::Directory | Sight::Name));
            if records.insert(of_records) | names.insert(of_names) {
                runtime.go_on(view, state);
                gone_on += 1;
            }
        }
        let steps: usize = story.calls.iter().map(Vec::len).sum();
        let (states, views) = (aftermath.states, aftermath.views.len());
        eprintln!("{title}: {steps} steps, {states} states, {views} views, gone on from {gone_on}");
    }
}

#[test]
fn an_add_and_its_del_on_a_node_that_had_none() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let mut story = Story::starting(&node);
    story.tell(&node, add(&node, &pod)).assert_success();
    story.tell(&node, del(&node, &pod)).assert_success();
    go_on(&node, &pod, &[("ADD and DEL", story)]);
}

#[test]
fn an_add_that_is_undone() {
    let node = node();
    let pod = node.pod("team-a", "web");
    node.script("blue", json!({"ADD": {"error": {"code": 99, "msg": "no"}}}));
    let mut undone = Story::starting(&node);
    undone.tell(&node, add(&node, &pod)).assert_error(99, ["no"]);
    let refusal = json!({"error": {"code": 99, "msg": "no"}});
    node.script("blue", json!({"ADD": refusal, "DEL": refusal}));
    let mut half_undone = Story::starting(&node);
    half_undone.tell(&node, add(&node, &pod)).assert_error(99, ["no"]);
    node.script("blue", json!({}));
    go_on(&node, &pod, &[("ADD, undone", undone), ("ADD, half undone", half_undone)]);
}

#[test]
fn an_add_after_one_that_was_killed() {
    let node = node();
    let pod = node.pod("team-a", "web");
    add(&node, &pod).run().assert_success();
    let path = node.path("state/records").join(format!("{}@eth0", pod.container));
    let mut record =
        Record::parse(&fs::read(&path).unwrap(), path.file_name().unwrap().to_str().unwrap())
            .unwrap();
    record.plan.created -= 1;
    fs::write(&path, plan_line(&record.plan).unwrap()).unwrap();
    let mut story = Story::starting(&node);
    story.tell(&node, add(&node, &pod)).assert_success();
    go_on(&node, &pod, &[("ADD after one that was killed", story)]);
}

#[test]
fn a_del_that_gives_a_network_up() {
    let node = node();
    let pod = node.pod("team-a", "web");
    add(&node, &pod).run().assert_success();
    node.script("blue", json!({"DEL": {"error": {"code": 99, "msg": "never"}}}));
    let mut story = Story::starting(&node);
    story.tell(&node, del(&node, &pod).with(json!({"deleteGiveUp": 0}))).assert_success();
    assert_eq!(node.state("orphans").len(), 1);
    node.script("blue", json!({}));
    go_on(&node, &pod, &[("DEL that gives up", story)]);
}
