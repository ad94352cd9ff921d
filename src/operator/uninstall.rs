//! `braid uninstall`: no new extra networks, then a node as it was before.
//!
//! A runtime tears pods down with the configuration that is loaded then, so Braid's stays until no record
//! holds an extra network. CRI-O keeps each pod's configuration, so the binary stays there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::CommandError;
use super::account;
use super::change::{self, Change, Shown};
use super::console::{Console, Exit, Look, Tone, View};
use super::install::{self, InstallError, entry};
use super::installation::{Installation, Stance};
use super::node::{self, Directories};
use super::records::Records;
use super::runtime::{Kind, Runtime, below};
use crate::ledger::Ledger;
use cni::keys;

/// How often the ledger is looked at while waiting.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a runtime has to notice that no new extra network is to be attached.
const NOTICE: Duration = Duration::from_secs(1);

/// What `braid uninstall` is told.
#[derive(Args, Debug)]
pub(super) struct Uninstall {
    /// Wait until no pod has an extra network
    #[arg(long)]
    wait: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The root of the node's files
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    directories: Directories,
}

/// How far it came.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left {
    dry_run: bool,
    /// Whether nothing of Braid is left in the runtime's way.
    done: bool,
    changes: Vec<Shown>,
    /// The pods that still have extra networks.
    waiting_for: Vec<String>,
    /// The containers for which a call is at work, which may attach one yet.
    calls_at_work: Vec<String>,
    /// What was left on purpose, and what to do with it.
    notes: Vec<String>,
}

impl Left {
    /// The pods that still have extra networks.
    pub(super) fn waiting_for(&self) -> &[String] {
        &self.waiting_for
    }
}

impl Uninstall {
    /// The one that takes back what an installation into these directories has made; it does not wait.
    pub(super) fn of(root: &Path, directories: &Directories) -> Self {
        Self { wait: false, dry_run: false, root: root.to_owned(), directories: directories.clone() }
    }

    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Left, CommandError> {
        let runtime = node::runtime(&self.directories, &self.root)?;
        let directory = below(&self.root, &runtime.conf_dir);
        let _lock = if self.dry_run { None } else { Some(install::lock(&directory)?) };
        let places = Installation::all(&directory, &["braid"]);
        let mut left = Left {
            dry_run: self.dry_run,
            done: false,
            changes: Vec::new(),
            waiting_for: Vec::new(),
            calls_at_work: Vec::new(),
            notes: Vec::new(),
        };
        // From here on nothing new is attached, so that what is counted only becomes less.
        let drains: Vec<Change> = places.iter().filter_map(|place| self.drain(place)).collect();
        left.changes = self.make(&drains)?;
        // A call that the runtime began before it noticed is seen by its lock, or by its record.
        if !self.dry_run && !left.changes.is_empty() {
            std::thread::sleep(NOTICE);
        }
        let held = self.wait_for_pods(&places, self.held(&places)?, console)?;
        if !held.is_empty() {
            left.waiting_for = held.pods;
            left.calls_at_work = held.calls;
            return Ok(left);
        }
        let mut changes: Vec<Change> = places.iter().flat_map(|place| restore(&self.root, place)).collect();
        self.add_rest(&runtime, &places, &mut changes, &mut left.notes)?;
        left.changes.extend(self.make(&changes)?);
        left.done = true;
        Ok(left)
    }

    fn make(&self, changes: &[Change]) -> Result<Vec<Shown>, InstallError> {
        Ok(change::make_due(changes, &self.root, self.dry_run)?)
    }

    fn drain(&self, place: &Installation) -> Option<Change> {
        let mut document = place.document.clone();
        keys::set(entry::of(&mut document)?, "drain", json!(true));
        Some(file(&self.root, &place.file, &document))
    }

    fn held(&self, places: &[Installation]) -> Result<Held, CommandError> {
        let mut held = Held::default();
        for directory in self.state_dirs(places) {
            let ledger = Ledger::new(&directory);
            // Looked at first: a call that ends in between has left its record.
            if !self.dry_run {
                held.calls.extend(ledger.calls_at_work()?);
            }
            let records = Records::look(&ledger)?;
            held.pods.extend(records.with_extras().map(|record| record.plan.pod.clone()));
        }
        held.pods.sort();
        Ok(held)
    }

    fn state_dirs(&self, places: &[Installation]) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = places
            .iter()
            .filter_map(|place| Some(below(&self.root, &place.config_for_teardown().ok()?.state_dir)))
            .collect();
        directories.dedup();
        directories
    }

    fn wait_for_pods(
        &self,
        places: &[Installation],
        mut held: Held,
        console: &mut Console<'_>,
    ) -> Result<Held, CommandError> {
        let mut said = Held::default();
        while self.wait && !self.dry_run && !held.is_empty() {
            if said != held {
                console.progress(&held.to_string())?;
                said = held;
            }
            std::thread::sleep(PAUSE);
            held = self.held(places)?;
        }
        Ok(held)
    }

    /// The kubeconfig that an installation has made, with its token: nothing that tears a pod down asks the
    /// API. One without the token beside it is somebody else's.
    fn credential(&self, runtime: &Runtime) -> Vec<Change> {
        let definitions = install::definitions(runtime);
        let files = [account::KUBECONFIG, account::TOKEN].map(|name| definitions.join(name));
        let [_, token] = &files;
        if below(&self.root, token).exists() { files.map(Change::Gone).to_vec() } else { Vec::new() }
    }

    /// State and binary, after the configuration: a runtime that still has ours loaded finds its plugin.
    fn add_rest(
        &self,
        runtime: &Runtime,
        places: &[Installation],
        changes: &mut Vec<Change>,
        notes: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        changes.extend(self.credential(runtime));
        let binary = install::binary(runtime);
        if runtime.kind == Some(Kind::Crio) {
            let binary = binary.display();
            notes.push(format!(
                "{binary} stays: CRI-O tears down the pods of before with it; restart them, then remove it"
            ));
            return Ok(());
        }
        for directory in self.state_dirs(places) {
            let records = Records::look(&Ledger::new(&directory))?;
            if records.orphans.is_empty() && records.unreadable.is_empty() {
                changes.push(Change::AllGone(install::on_node(&self.root, &directory)));
            } else {
                notes.push(format!(
                    "{} stays: it holds networks that could not be torn down, or records that cannot be read",
                    directory.display()
                ));
            }
        }
        changes.push(Change::Gone(binary));
        Ok(())
    }
}

/// What holds the configuration up.
#[derive(Debug, Default, Eq, PartialEq)]
struct Held {
    /// The pods whose records hold an extra network.
    pods: Vec<String>,
    /// The containers for which a call is at work.
    calls: Vec<String>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.calls.is_empty()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = format!("{} with extra networks: {}", self.pods.len(), self.pods.join(", "));
        let calls = format!("calls at work for {}", self.calls.join(", "));
        match (self.pods.is_empty(), self.calls.is_empty()) {
            (_, true) => write!(f, "waiting for {pods}"),
            (true, _) => write!(f, "waiting for {calls}"),
            _ => write!(f, "waiting for {pods}; and for {calls}"),
        }
    }
}

/// The primary's file as it was, or as it is now without our entry.
fn restore(root: &Path, place: &Installation) -> Vec<Change> {
    let ours = install::on_node(root, &place.file);
    let backup = install::backup(&place.file);
    match place.stance {
        Stance::Delegating => vec![Change::Gone(ours)],
        Stance::ChainedFile => {
            let alone = place
                .file
                .parent()
                .and_then(|dir| std::fs::read_dir(dir).ok())
                .is_some_and(|files| files.count() == 1);
            let directory = ours.parent().map(Path::to_owned).filter(|_| alone);
            std::iter::once(Change::Gone(ours)).chain(directory.map(Change::Gone)).collect()
        }
        Stance::Chained => {
            let mut document = place.document.clone();
            if let Some(Value::Array(plugins)) = document.get_mut("plugins") {
                plugins.retain(|entry| entry.get("type").is_none_or(|kind| kind != "braid"));
            }
            let kept = std::fs::read_to_string(&backup).ok();
            let same =
                kept.as_ref().is_some_and(|text| serde_json::from_str(text).ok().as_ref() == Some(&document));
            let restored = match kept.filter(|_| same) {
                // Byte for byte, comments of a generator and all.
                Some(text) => Change::File { path: ours, contents: text.into_bytes(), mode: 0o644 },
                None => file(root, &place.file, &document),
            };
            vec![restored, Change::Gone(install::on_node(root, &backup))]
        }
    }
}

fn file(root: &Path, path: &Path, document: &Value) -> Change {
    Change::document(install::on_node(root, path), document)
}

impl View for Left {
    fn text(&self, look: &Look) -> String {
        let mut text: String = self.changes.iter().map(|change| change.text(look, self.dry_run)).collect();
        for pod in &self.waiting_for {
            text.push_str(&format!("{}: {pod} has extra networks\n", look.paint(Tone::Odd, "waiting")));
        }
        for container in &self.calls_at_work {
            let word = look.paint(Tone::Odd, "waiting");
            text.push_str(&format!("{word}: a call for container {container} is at work\n"));
        }
        if !self.waiting_for.is_empty() {
            text.push_str(
                "move these pods to other nodes (kubectl drain), then run this again, or with --wait\n",
            );
        }
        text.extend(self.notes.iter().map(|note| format!("{note}\n")));
        if text.is_empty() { "braid is not installed here\n".to_owned() } else { text }
    }

    fn exit(&self) -> Exit {
        let is_free = self.waiting_for.is_empty() && self.calls_at_work.is_empty();
        if is_free { Exit::Done } else { Exit::NotYet }
    }
}
