//! `braid migrate multus`: a node of Multus's becomes one of Braid's, and back, while its pods run
//! on.
//!
//! Braid's file is in place before Multus's goes, and the other way round, so that the runtime has
//! one of the two at any time. Pods that Multus started are torn down by Multus's own records; on
//! the way back, Braid's records are handed over in Multus's form.

mod back;
mod nested;
mod notes;
mod rehearsal;
mod translation;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use super::CommandError;
use super::change::{self, Change, Shown};
use super::console::{Exit, OutputStyle, Tone, View};
use super::credential::{self, CredentialError};
use super::install::{self, InstallError, MULTUS, entry};
use super::installation::{EXTENSIONS, InstallMode, Installation};
use super::node::{self, Directories};
use super::runtime::{Runtime, below};
use crate::delegate::DelegateError;
use cni::keys;
use cni::netconf::{self, NetconfError};

/// What Multus's files are kept under. No runtime reads files of this ending.
const RETIRED: &str = "before-migration";
/// The ending that Cilium gives the files of others, unless its `cni.exclusive` is off.
const RENAMED_BY_CILIUM: &str = "cilium_bak";
/// Where the thick plugin's daemon has its configuration, beside the runtime's.
const DAEMON_CONFIG: &str = "multus.d/daemon-config.json";
/// What the command that gets it writes.
const DAEMON_FILE: &str = "daemon-config.json";
/// The type of the thick plugin.
const THICK: &str = "multus-shim";

/// Whom Braid takes a node over from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Peer {
    /// Multus, thin or thick
    Multus,
}

/// What `braid migrate` is told.
#[derive(Args, Debug)]
pub(super) struct Migrate {
    /// Whose node it is
    #[arg(value_enum)]
    peer: Peer,
    /// Give the node back
    #[arg(long)]
    back: bool,
    /// The kubeconfig that Braid reaches the API with, as the node sees it
    #[arg(long, value_name = "FILE", conflicts_with = "back")]
    kubeconfig: Option<PathBuf>,
    /// What the thick plugin's daemon is told [default: multus.d/daemon-config.json beside the
    /// runtime's files]
    #[arg(long, value_name = "FILE", conflicts_with = "back")]
    daemon_config: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The root of the node's files
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    directories: Directories,
}

/// Why a node does not change hands.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    /// Multus is not there.
    #[error("no configuration in {} has multus in it, and none was retired there: there is nothing to migrate", .0.display())]
    NoMultus(PathBuf),
    /// Multus is not the first plugin.
    #[error("{} has multus behind other plugins, which no translation fits: put it first, or write braid's configuration by hand", .0.display())]
    Behind(PathBuf),
    /// What would be written starts no pod.
    #[error(
        "{} cannot be translated as it is, since braid would start no pod with it: {problem}; nothing was changed",
        file.display()
    )]
    Untranslated {
        /// Multus's file.
        file: PathBuf,
        /// Why no pod would start.
        problem: String,
    },
    /// Cilium has taken the file out of the runtime's sight.
    #[error(
        "cilium has renamed {} (its cni.exclusive), and would do so with braid's file: set cni.exclusive to false in \
         cilium's configuration, rename that file back, and run this again",
        .0.display()
    )]
    Renamed(PathBuf),
    /// Another file would be read before ours.
    #[error("{} sorts before {}, so that the runtime would not read braid's: rename it", .0.display(), install::FILE)]
    NotFirst(PathBuf),
    /// The daemon's configuration cannot be used.
    #[error("the configuration of multus's daemon cannot be used: {0}")]
    Daemon(#[source] NetconfError),
    /// The daemon's configuration is not on this node.
    #[error(
        "multus is the thick plugin, whose settings are in a ConfigMap and not on this node: get them with \
         kubectl get configmap multus-daemon-config --namespace kube-system \
         -o jsonpath='{{.data.daemon-config\\.json}}' >{DAEMON_FILE}, \
         then run braid migrate multus --daemon-config {DAEMON_FILE} (if there is none, with {{}} in that file)"
    )]
    NoDaemonConfig,
    /// Braid could not work with the kubeconfig.
    #[error(
        "{0}: give braid its own with --kubeconfig before pods depend on it, or no new pod gets its networks"
    )]
    Credential(#[from] CredentialError),
    /// The daemon's configuration is no object.
    #[error("the configuration of multus's daemon, {}, must be a JSON object", .0.display())]
    DaemonForm(PathBuf),
    /// Multus's plugin is not there any more.
    #[error("{0}: install multus again before the node goes back to it, or no pod would start")]
    Plugin(#[source] DelegateError),
}

impl MigrateError {
    /// Whether it may be otherwise later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Credential(error) if error.may_pass())
    }
}

/// What was changed, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Migrated {
    dry_run: bool,
    changes: Vec<Shown>,
    /// The pods whose records Multus has got.
    handed_over: Vec<String>,
    /// The pods that Multus could not tear down.
    waiting_for: Vec<String>,
    /// What else there is to do.
    notes: Vec<String>,
}

/// Who stands where in the runtime's directory.
struct Found {
    ours: Option<Installation>,
    theirs: Vec<Installation>,
    /// Files of Multus's that were taken out of the runtime's sight, with their names of before.
    retired: Vec<(PathBuf, PathBuf)>,
    /// Files of Multus's or ours that Cilium has renamed.
    renamed: Vec<PathBuf>,
}

impl Found {
    fn in_directory(directory: &Path) -> Self {
        let retired = netconf::list(directory, &[RETIRED]).unwrap_or_default();
        let mut renamed = netconf::list(directory, &[RENAMED_BY_CILIUM]).unwrap_or_default();
        renamed.retain(|file| {
            !Installation::in_file(file, &["braid", "multus", "multus-shim"]).is_empty()
        });
        Self {
            renamed,
            ours: Installation::all(directory, &["braid"]).into_iter().next(),
            theirs: Installation::all(directory, &MULTUS),
            retired: retired
                .into_iter()
                .map(|file| (file.clone(), file.with_extension("")))
                .collect(),
        }
    }

    /// Multus's place, before the migration or now.
    fn multus(&self) -> Option<Installation> {
        let before = self.retired.iter().flat_map(|(file, _)| Installation::in_file(file, &MULTUS));
        self.theirs.iter().cloned().chain(before).next()
    }
}

impl Migrate {
    pub(super) fn run(&self) -> Result<Migrated, CommandError> {
        let runtime = node::runtime(&self.directories, &self.root)?;
        let directory = below(&self.root, &runtime.conf_dir);
        let _lock = if self.dry_run { None } else { Some(install::lock(&directory)?) };
        let found = Found::in_directory(&directory);
        if let (None, true, Some(file)) =
            (&found.ours, found.theirs.is_empty(), found.renamed.first())
        {
            return Err(MigrateError::Renamed(self.on_node(file)).into());
        }
        let Some(multus) = found.multus() else {
            return Err(MigrateError::NoMultus(directory).into());
        };
        let mut migrated = Migrated {
            dry_run: self.dry_run,
            changes: Vec::new(),
            handed_over: Vec::new(),
            waiting_for: Vec::new(),
            notes: Vec::new(),
        };
        match self.peer {
            Peer::Multus if self.back => self.back(&runtime, &found, &multus, &mut migrated)?,
            Peer::Multus => self.forth(&runtime, &directory, &found, &mut migrated)?,
        }
        Ok(migrated)
    }

    /// The binary first, then the configuration, and Multus's file last.
    fn forth(
        &self,
        runtime: &Runtime,
        directory: &Path,
        found: &Found,
        migrated: &mut Migrated,
    ) -> Result<(), CommandError> {
        let (path, contents) = (install::binary(runtime), install::program()?);
        let program = Change::File { path, contents, mode: 0o755 };
        let mut changes = vec![program, Change::Directory(install::definitions(runtime))];
        match (&found.ours, found.theirs.first()) {
            (Some(ours), _) => {
                let kept = self.keep(runtime, ours);
                if self.kubeconfig.is_some() {
                    self.review(&kept)?;
                }
                changes.push(kept);
            }
            (None, Some(multus)) => {
                let place = place(directory, multus, &found.theirs)?;
                let document = self.translate(runtime, directory, multus, &mut migrated.notes)?;
                self.rehearse(runtime, multus, &place, &document, &mut migrated.notes)?;
                let translated = Change::document(self.on_node(&place), &document);
                self.review(&translated)?;
                changes.push(translated);
            }
            // Gone back to Multus, which has lost its file since.
            (None, None) => return Err(MigrateError::NoMultus(directory.to_owned()).into()),
        }
        changes.extend(found.theirs.iter().map(|theirs| self.retire(&theirs.file)));
        migrated.changes =
            change::make_due(&changes, &self.root, self.dry_run).map_err(InstallError::from)?;
        if !migrated.changes.is_empty() {
            self.note_what_follows(runtime, found, &mut migrated.notes);
        }
        Ok(())
    }

    /// Whether new pods will get their networks with the kubeconfig of what is written.
    fn review(&self, change: &Change) -> Result<(), MigrateError> {
        let Change::File { path, contents, .. } = change else { return Ok(()) };
        let Ok(document) = serde_json::from_slice(contents) else { return Ok(()) };
        let place = Installation::in_document(path, &document, &["braid"]).into_iter().next();
        match place.map(|place| place.config()) {
            Some(Ok(config)) => Ok(credential::review(&config, &self.root)?),
            _ => Ok(()),
        }
    }

    /// Braid's file as it is, with a kubeconfig that is named now.
    fn keep(&self, runtime: &Runtime, ours: &Installation) -> Change {
        let mut document = ours.document.clone();
        if let (Some(kubeconfig), Some(entry)) = (&self.kubeconfig, entry::of(&mut document)) {
            entry::settle(entry, runtime, Some(kubeconfig));
        }
        Change::document(self.on_node(&ours.file), &document)
    }

    fn translate(
        &self,
        runtime: &Runtime,
        directory: &Path,
        multus: &Installation,
        notes: &mut Vec<String>,
    ) -> Result<Value, MigrateError> {
        let primaries: Vec<_> = install::primaries(directory).collect();
        let site = translation::Site {
            root: &self.root,
            runtime,
            primaries: &primaries,
            kubeconfig: self.kubeconfig.as_deref(),
        };
        let translated =
            translation::translate(&multus.document, &self.daemon(directory, multus)?, &site);
        notes.extend(translated.notes);
        Ok(translated.document)
    }

    /// Nothing is written with which no pod would start.
    fn rehearse(
        &self,
        runtime: &Runtime,
        multus: &Installation,
        file: &Path,
        document: &Value,
        notes: &mut Vec<String>,
    ) -> Result<(), MigrateError> {
        let rehearsal = rehearsal::Rehearsal { root: &self.root, runtime, multus: &multus.file };
        for place in Installation::in_document(file, document, &["braid"]) {
            notes.extend(rehearsal.run(&place)?);
        }
        Ok(())
    }

    /// What the daemon of the thick plugin is told; nothing if there is none.
    fn daemon(
        &self,
        directory: &Path,
        multus: &Installation,
    ) -> Result<Map<String, Value>, MigrateError> {
        let path = match &self.daemon_config {
            Some(path) => path.clone(),
            None => directory.join(DAEMON_CONFIG),
        };
        if self.daemon_config.is_none() && !path.exists() {
            let is_thick = keys::get_text(&multus.request, "type") == Some(THICK);
            return if is_thick { Err(MigrateError::NoDaemonConfig) } else { Ok(Map::new()) };
        }
        let text = netconf::read_file(&path).map_err(MigrateError::Daemon)?;
        let in_file = |source| {
            let source = std::io::Error::other(source);
            MigrateError::Daemon(NetconfError::File { path: path.clone(), source })
        };
        match serde_json::from_str(&text).map_err(in_file)? {
            Value::Object(object) => Ok(object),
            _ => Err(MigrateError::DaemonForm(path)),
        }
    }

    fn retire(&self, file: &Path) -> Change {
        let mut to = file.as_os_str().to_owned();
        to.push(format!(".{RETIRED}"));
        Change::Moved { from: self.on_node(file), to: self.on_node(Path::new(&to)) }
    }

    fn on_node(&self, file: &Path) -> PathBuf {
        install::on_node(&self.root, file)
    }
}

/// Where Braid's file goes: before every file that stays.
fn place(
    directory: &Path,
    multus: &Installation,
    theirs: &[Installation],
) -> Result<PathBuf, MigrateError> {
    if multus.stance != InstallMode::Delegating {
        return Err(MigrateError::Behind(multus.file.clone()));
    }
    let ours = directory.join(install::FILE);
    let files = netconf::list(directory, &EXTENSIONS).unwrap_or_default();
    let mut stay =
        files.into_iter().filter(|file| theirs.iter().all(|theirs| theirs.file != *file));
    match stay.next().filter(|first| *first < ours) {
        Some(first) => Err(MigrateError::NotFirst(first)),
        None => Ok(ours),
    }
}

impl View for Migrated {
    fn text(&self, style: &OutputStyle) -> String {
        let mut text: String =
            self.changes.iter().map(|change| change.text(style, self.dry_run)).collect();
        for pod in &self.handed_over {
            text.push_str(&format!("{} {pod}\n", style.paint(Tone::Strong, "hand over")));
        }
        for pod in &self.waiting_for {
            text.push_str(&format!("{}: {pod}\n", style.paint(Tone::Odd, "waiting")));
        }
        if !self.waiting_for.is_empty() {
            text.push_str(
                "multus could not tear these pods down: move them to other nodes (kubectl drain), then run this again\n",
            );
        }
        let note = |note: &String| {
            format!("{}: {}\n", style.paint(Tone::Odd, "note"), style.wrap(6, note))
        };
        text.extend(self.notes.iter().map(note));
        if text.is_empty() { install::NOTHING_TO_CHANGE.to_owned() } else { text }
    }

    fn exit(&self) -> Exit {
        if self.waiting_for.is_empty() { Exit::Done } else { Exit::NotYet }
    }
}
