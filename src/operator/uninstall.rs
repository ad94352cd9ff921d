//! `braid uninstall`: no new extra networks, then a node as it was before.
//!
//! A runtime tears pods down with the configuration that is loaded then, so Braid's stays until no
//! record holds an extra network. CRI-O keeps each pod's configuration, so the binary stays there.

mod left;
mod users;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::CommandError;
use super::account;
use super::built_in::Places;
use super::change::{self, Change, Shown};
use super::console::Console;
use super::install::{self, InstallError, entry};
use super::installation::{InstallMode, Installation};
use super::keep;
use super::node::{self, Directories};
use super::records::Records;
use super::runtime::{Kind, Runtime, below};
use crate::conf_file;
use crate::config;
use crate::ledger::Ledger;
use cni::keys;
pub(super) use left::Left;
use users::ConfigurationUsers;

/// How often the ledger is read while waiting.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a runtime has to notice that no new extra network is to be attached.
const NOTICE: Duration = Duration::from_secs(1);
const DRAINS: &str = "new extra networks are refused on this node from now on";

/// What `braid uninstall` is told.
#[derive(Args, Debug)]
pub(super) struct Uninstall {
    /// Wait until no pod has an extra network; interrupted, accept new ones again
    #[arg(long)]
    wait: bool,
    /// How long to wait at most (30m, 2h); then end with 3, and go on refusing new ones
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The root of the node's files
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    directories: Directories,
    /// The caller repeats it until it is done.
    #[arg(skip)]
    is_repeated: bool,
}

/// How a wait has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waited {
    /// Nothing holds the configuration up any more, or it was not to be waited for.
    Enough,
    /// The time was over.
    TimedOut,
    /// SIGTERM or SIGINT came.
    Interrupted,
}

impl Uninstall {
    /// The one that takes back what an installation into these directories has made. It does not
    /// wait: its caller repeats it.
    pub(super) fn repeated(root: &Path, directories: &Directories) -> Self {
        Self {
            wait: false,
            timeout: None,
            dry_run: false,
            root: root.to_owned(),
            directories: directories.clone(),
            is_repeated: true,
        }
    }

    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Left, CommandError> {
        let runtime = node::runtime(&self.directories, &self.root)?;
        let directory = below(&self.root, &runtime.conf_dir);
        let _lock = if self.dry_run { None } else { Some(install::lock(&directory)?) };
        let places = Installation::all(&directory, &["braid"]);
        let mut left = self.nothing_done(&places);
        // From here on nothing new is attached, so that what is counted only becomes less.
        let before = self.accepting(&places)?;
        let drains: Vec<Change> = places.iter().flat_map(|place| self.drain(place)).collect();
        left.changes = self.make(&drains)?;
        // A call that the runtime began before it noticed is seen by its lock, or by its record.
        if !self.dry_run && !left.changes.is_empty() {
            std::thread::sleep(NOTICE);
        }
        let (held, waited) = self.wait_for_pods(&places, console)?;
        if !held.is_empty() {
            left.waiting_for = held.pods;
            left.calls_at_work = held.calls;
            self.end_early(waited, &before, &mut left)?;
            return Ok(left);
        }
        self.restore_all(&runtime, &places, &mut left)?;
        Ok(left)
    }

    fn nothing_done(&self, places: &[Installation]) -> Left {
        Left {
            dry_run: self.dry_run,
            done: false,
            drains: !places.is_empty(),
            changes: Vec::new(),
            waiting_for: Vec::new(),
            calls_at_work: Vec::new(),
            notes: Vec::new(),
            is_repeated: self.is_repeated,
        }
    }

    fn restore_all(
        &self,
        runtime: &Runtime,
        places: &[Installation],
        left: &mut Left,
    ) -> Result<(), CommandError> {
        let mut changes: Vec<Change> =
            places.iter().flat_map(|place| restore(&self.root, place)).collect();
        self.add_rest(runtime, places, &mut changes, &mut left.notes)?;
        left.changes.extend(self.make(&changes)?);
        (left.done, left.drains) = (true, false);
        Ok(())
    }

    /// An interrupted wait leaves the node as it was before; one whose time is over leaves the
    /// drain.
    fn end_early(
        &self,
        waited: Waited,
        before: &[Change],
        left: &mut Left,
    ) -> Result<(), CommandError> {
        match waited {
            Waited::Enough => {}
            Waited::TimedOut => left.notes.push("the time to wait is over".to_owned()),
            Waited::Interrupted if before.is_empty() => {
                let note = "interrupted; the drain of before goes on: braid install ends it";
                left.notes.push(note.to_owned());
            }
            Waited::Interrupted => {
                left.changes.extend(self.make(before)?);
                left.drains = false;
                left.notes.push("interrupted; new extra networks are accepted again".to_owned());
            }
        }
        Ok(())
    }

    /// What takes back the drain that this run begins.
    fn accepting(&self, places: &[Installation]) -> Result<Vec<Change>, InstallError> {
        let mut changes = Vec::new();
        for place in places.iter().filter(|place| !place.is_draining()) {
            let contents = conf_file::read(&place.file)?.into_bytes();
            let mode = place.file.metadata().map_or(0o644, |it| it.permissions().mode() & 0o7777);
            let path = install::on_node(&self.root, &place.file);
            changes.push(Change::File { path, contents, mode });
            changes.extend(install::renewal(&self.root, place));
        }
        Ok(changes)
    }

    fn make(&self, changes: &[Change]) -> Result<Vec<Shown>, InstallError> {
        Ok(change::make_due(changes, &self.root, self.dry_run)?)
    }

    fn drain(&self, place: &Installation) -> Vec<Change> {
        let mut document = place.document.clone();
        let Some(entry) = entry::of(&mut document) else { return Vec::new() };
        keys::set(entry, "drain", json!(true));
        let file = file(&self.root, &place.file, &document);
        std::iter::once(file).chain(install::renewal(&self.root, place)).collect()
    }

    fn held(&self, places: &[Installation]) -> Result<ConfigurationUsers, CommandError> {
        let mut held = ConfigurationUsers::default();
        for directory in self.state_dirs(places) {
            let ledger = Ledger::new(&directory);
            // Looked at first: a call that ends in between has left its record.
            if !self.dry_run {
                held.calls.extend(ledger.calls_at_work()?);
            }
            let records = Records::read(&ledger)?;
            held.pods.extend(records.with_extras().map(|listed| listed.header().pod.clone()));
        }
        held.pods.sort();
        Ok(held)
    }

    fn state_dirs(&self, places: &[Installation]) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = places
            .iter()
            .filter_map(|place| {
                Some(below(&self.root, &place.config_for_teardown().ok()?.state_dir))
            })
            .collect();
        directories.dedup();
        directories
    }

    /// Waits as long as it is told to. What is waited for is said whenever it changes.
    fn wait_for_pods(
        &self,
        places: &[Installation],
        console: &mut Console<'_>,
    ) -> Result<(ConfigurationUsers, Waited), CommandError> {
        let mut held = self.held(places)?;
        if !self.wait || self.dry_run || held.is_empty() {
            return Ok((held, Waited::Enough));
        }
        let mut signals = keep::block()?;
        let started = Instant::now();
        console.progress(DRAINS)?;
        let mut said = ConfigurationUsers::default();
        while !held.is_empty() {
            if said != held {
                console.progress(&held.to_string())?;
                said = held;
            }
            let left = self.timeout.map(|limit| limit.saturating_sub(started.elapsed()));
            if keep::stops_within(left.unwrap_or(PAUSE).min(PAUSE), &mut signals)? {
                return Ok((self.held(places)?, Waited::Interrupted));
            }
            held = self.held(places)?;
            if left == Some(Duration::ZERO) {
                return Ok((held, Waited::TimedOut));
            }
        }
        Ok((held, Waited::Enough))
    }

    /// The kubeconfig that an installation has made, with its token: nothing that tears a pod down
    /// asks the API. One without the token beside it was not written by Braid.
    ///
    /// The directory that they are in goes if there is nothing else in it: definitions stay.
    fn credential(&self, runtime: &Runtime) -> Vec<Change> {
        let definitions = install::definitions(runtime);
        let files = [account::KUBECONFIG, account::TOKEN].map(|name| definitions.join(name));
        let [_, token] = &files;
        let mut gone = if below(&self.root, token).exists() { files.to_vec() } else { Vec::new() };
        let ours: Vec<PathBuf> = gone.iter().map(|file| below(&self.root, file)).collect();
        if entries(&below(&self.root, &definitions)).iter().all(|entry| ours.contains(entry)) {
            gone.push(definitions);
        }
        gone.into_iter().map(Change::Gone).collect()
    }

    /// The plugin types that a network which stays on the node names: one of a file, or of what
    /// could not be torn down.
    fn needed_plugins(
        &self,
        runtime: &Runtime,
        places: &[Installation],
    ) -> Result<BTreeSet<String>, CommandError> {
        for directory in self.state_dirs(places) {
            let records = Records::read(&Ledger::new(&directory))?;
            if !records.orphans.is_empty() || !records.unreadable.is_empty() {
                return Ok(plugins::names().map(str::to_owned).collect());
            }
        }
        Ok(install::named_plugins(&below(&self.root, &runtime.conf_dir)))
    }

    /// State and binary, after the configuration: a runtime that still has ours loaded finds its
    /// plugin.
    fn add_rest(
        &self,
        runtime: &Runtime,
        places: &[Installation],
        changes: &mut Vec<Change>,
        notes: &mut Vec<String>,
    ) -> Result<(), CommandError> {
        changes.extend(self.credential(runtime));
        let needed = self.needed_plugins(runtime, places)?;
        let (removed, stay) = Places::new(runtime, &self.root).removal(&needed);
        changes.extend(removed);
        notes.extend(stay.iter().map(|link| {
            format!(
                "{} stays: a network of this node uses it; put another plugin of that name in its \
                 place, then run this again",
                link.display()
            )
        }));
        let binary = install::binary(runtime);
        if runtime.kind == Some(Kind::Crio) {
            let binary = binary.display();
            notes.push(format!(
                "{binary} stays: CRI-O tears down the pods of before with it; restart them, then \
                 remove it"
            ));
            return Ok(());
        }
        for directory in self.state_dirs(places) {
            match kept_state(&directory)? {
                Some(why) => notes.push(format!("{} stays: {why}", directory.display())),
                None => changes.push(Change::AllGone(install::on_node(&self.root, &directory))),
            }
        }
        changes.push(Change::Gone(binary));
        Ok(())
    }
}

/// A time as Braid's configuration has it.
fn timeout(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .ok_or_else(|| "must be seconds, or a number with one of the units s, m, h".to_owned())
}

/// The primary's file as it was, or as it is now without our entry.
fn restore(root: &Path, place: &Installation) -> Vec<Change> {
    let ours = install::on_node(root, &place.file);
    let backup = install::backup(&place.file);
    match place.stance {
        InstallMode::Delegating => vec![Change::Gone(ours)],
        InstallMode::ChainedFile => {
            let is_alone = |chain: &&Path| entries(chain).len() == 1;
            let chain = place.chain().filter(is_alone).map(|chain| install::on_node(root, chain));
            // The directory last: if this is broken off, its time still tells that the runtime is
            // behind.
            let read = install::renewal(root, place);
            std::iter::once(Change::Gone(ours)).chain(read).chain(chain.map(Change::Gone)).collect()
        }
        InstallMode::Chained => {
            let mut document = place.document.clone();
            if let Some(Value::Array(plugins)) = document.get_mut("plugins") {
                plugins.retain(|entry| entry.get("type").is_none_or(|kind| kind != "braid"));
            }
            let kept = std::fs::read_to_string(&backup).ok();
            let same = kept
                .as_ref()
                .is_some_and(|text| serde_json::from_str(text).ok().as_ref() == Some(&document));
            let restored = match kept.filter(|_| same) {
                // Byte for byte, comments of a generator and all.
                Some(text) => Change::File { path: ours, contents: text.into_bytes(), mode: 0o644 },
                None => file(root, &place.file, &document),
            };
            vec![restored, Change::Gone(install::on_node(root, &backup))]
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file(root: &Path, path: &Path, document: &Value) -> Change {
    Change::document(install::on_node(root, path), document)
}

/// Why a state directory stays, if it does.
fn kept_state(directory: &Path) -> Result<Option<String>, CommandError> {
    let records = Records::read(&Ledger::new(directory))?;
    let (held, due) = plugins::ipam::cluster::count(&directory.join("addresses"));
    Ok(if held > 0 || due > 0 {
        let attachments = held + due;
        Some(format!(
            "{attachments} attachments of this node have cluster-wide addresses, or had some that \
             are to be given back; when the pods are gone and the API answers, braid gc gives them \
             back"
        ))
    } else if !records.orphans.is_empty() || !records.unreadable.is_empty() {
        Some(
            "it holds networks that could not be torn down, or records that cannot be read"
                .to_owned(),
        )
    } else {
        None
    })
}
