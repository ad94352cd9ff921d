//! `braid migrate multus`: a node of Multus's becomes one of Braid's, and back, while its pods run
//! on.
//!
//! Braid's file is in place before Multus's goes, and the other way round, so that the runtime has
//! one of the two at any time. Pods that Multus started are torn down by Multus's own records; on
//! the way back, Braid's records are handed over in Multus's form.

mod back;
mod error;
mod found;
mod nested;
mod notes;
mod outcome;
mod rehearsal;
mod translation;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::CommandError;
use super::change::{self, Change};
use super::credential;
use super::install::{self, InstallError, entry};
use super::installation::{InstallMode, Installation};
use super::node::{self, Directories};
use super::runtime::{Runtime, below};
use super::settings::Settings;
use crate::conf_file::{self, ConfFileError};
use cni::keys;
pub(super) use error::MigrateError;
use found::{Found, runs_braid};
pub(super) use outcome::Migrated;

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
    /// A JSON file with keys for Braid's configuration, over the translated ones; null takes one
    /// out
    #[arg(long, value_name = "FILE", conflicts_with = "back")]
    settings: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The root of the node's files
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    directories: Directories,
}

impl Migrate {
    /// The one of a DaemonSet, for the node below `root`.
    pub(super) fn of_fleet(
        back: bool,
        dry_run: bool,
        root: &Path,
        directories: &Directories,
        kubeconfig: Option<PathBuf>,
    ) -> Self {
        Self {
            peer: Peer::Multus,
            back,
            kubeconfig,
            daemon_config: None,
            settings: None,
            dry_run,
            root: root.to_owned(),
            directories: directories.clone(),
        }
    }

    /// With keys for Braid's configuration.
    pub(super) fn with_settings(self, settings: Option<PathBuf>) -> Self {
        Self { settings, ..self }
    }

    /// With what the thick plugin's daemon is told.
    pub(super) fn with_daemon_config(self, daemon_config: Option<PathBuf>) -> Self {
        Self { daemon_config, ..self }
    }

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
        let mut migrated = Migrated { dry_run: self.dry_run, ..Migrated::default() };
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
                let kept = self.keep(runtime, ours)?;
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
        changes.extend(found.theirs.iter().map(|theirs| self.retire(theirs)));
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
    fn keep(&self, runtime: &Runtime, ours: &Installation) -> Result<Change, MigrateError> {
        let mut document = ours.document.clone();
        if let (Some(kubeconfig), Some(entry)) = (&self.kubeconfig, entry::of(&mut document)) {
            entry::settle(entry, runtime, Some(kubeconfig));
        }
        self.apply_settings(&mut document)?;
        Ok(Change::document(self.on_node(&ours.file), &document))
    }

    fn apply_settings(&self, document: &mut Value) -> Result<(), MigrateError> {
        let Some(settings) = &self.settings else { return Ok(()) };
        let Some(entry) = entry::of(document) else { return Ok(()) };
        Settings::read(settings)?.apply(entry)?;
        Ok(())
    }

    fn translate(
        &self,
        runtime: &Runtime,
        directory: &Path,
        multus: &Installation,
        notes: &mut Vec<String>,
    ) -> Result<Value, MigrateError> {
        let primaries: Vec<_> = install::primaries(directory).collect();
        let site = translation::TargetNode {
            root: &self.root,
            runtime,
            primaries: &primaries,
            kubeconfig: self.kubeconfig.as_deref(),
        };
        let translated =
            translation::translate(&multus.document, &self.daemon(directory, multus)?, &site);
        notes.extend(translated.notes);
        let mut document = translated.document;
        self.apply_settings(&mut document)?;
        Ok(document)
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
        let text = conf_file::read(&path).map_err(MigrateError::Daemon)?;
        let in_file = |source| {
            let source = std::io::Error::other(source);
            MigrateError::Daemon(ConfFileError::File { path: path.clone(), source })
        };
        match serde_json::from_str(&text).map_err(in_file)? {
            Value::Object(object) => Ok(object),
            _ => Err(MigrateError::DaemonForm(path)),
        }
    }

    /// A file of Multus's that runs Braid never takes the place of the one that is kept.
    fn retire(&self, multus: &Installation) -> Change {
        let mut to = multus.file.as_os_str().to_owned();
        to.push(format!(".{RETIRED}"));
        let from = self.on_node(&multus.file);
        if runs_braid(multus, install::FILE.as_ref()) && Path::new(&to).exists() {
            return Change::Gone(from);
        }
        Change::Moved { from, to: self.on_node(Path::new(&to)) }
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
    let files = conf_file::list(directory, &conf_file::EXTENSIONS).unwrap_or_default();
    let mut stay =
        files.into_iter().filter(|file| theirs.iter().all(|theirs| theirs.file != *file));
    match stay.next().filter(|first| *first < ours) {
        Some(first) => Err(MigrateError::NotFirst(first)),
        None => Ok(ours),
    }
}
