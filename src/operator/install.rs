//! `braid install`: binary and configuration onto a node, or into the root of an image.

mod directory;
pub(super) mod entry;
mod error;
mod migration;
mod mode;
mod outcome;
mod paths;
mod reading;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::CommandError;
use super::account::Account;
use super::built_in::{Places, Plugins};
use super::change::{self, Change};
use super::credential::{self, CredentialError};
use super::fault::Fault;
use super::installation::{InstallMode, Installation};
use super::node::{self, Directories};
use super::runtime::{Runtime, below};
use super::settings::Settings;
use crate::conf_file;
pub(super) use directory::{BACKUP, FILE, MULTUS, Primary, backup, lock, named_plugins, primaries};
use directory::{existing, first_place, primary, removes_others};
use entry::Settle;
pub(super) use error::InstallError;
pub(super) use migration::Migration;
use migration::MigrationOptions;
use mode::Mode;
pub(super) use outcome::Installed;
use paths::not_appending;
pub(super) use paths::{binary, definitions, on_node, program, renewal};
use reading::Reading;

/// What is said if every file is as it would be written.
pub(super) const NOTHING_TO_CHANGE: &str = "nothing to change\n";

/// Why an installation is carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RunMode {
    /// Shows what an installation would change.
    DryRun,
    /// An administrator installs Braid: it is used from now on.
    Install,
    /// Keeps an installation as it should be: a drain goes on, and a token that is still good
    /// stays.
    Reconcile,
}

/// What `braid install` is told.
#[derive(Args, Debug)]
pub(super) struct Install {
    /// How Braid stands on the node
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// The kubeconfig that Braid reaches the API with, as the node sees it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    account: Account,
    /// A JSON file with keys for Braid's configuration, over those that are there; null takes one
    /// out
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Put the built-in plugins (bridge, host-local and the others) into the plugin directory,
    /// under their own names
    #[arg(
        long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true,
        default_missing_value = "missing"
    )]
    plugins: Option<Plugins>,
    #[command(flatten)]
    migration_options: MigrationOptions,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The root of the node's files, for an image or a mounted host
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
    #[command(flatten)]
    pub(super) directories: Directories,
}

impl Install {
    pub(super) fn run(&self) -> Result<Installed, CommandError> {
        let occasion = if self.dry_run { RunMode::DryRun } else { RunMode::Install };
        self.carry_out(self.migration()?, occasion)
    }

    /// Installs Braid, or does what is due in the migration of a cluster.
    pub(super) fn carry_out(
        &self,
        migration: Option<Migration>,
        occasion: RunMode,
    ) -> Result<Installed, CommandError> {
        match migration {
            None => self.install(occasion),
            Some(migration) => self.migrate(migration, occasion),
        }
    }

    fn install(&self, occasion: RunMode) -> Result<Installed, CommandError> {
        let runtime = node::runtime(&self.directories, &self.root)?;
        let directory = below(&self.root, &runtime.conf_dir);
        let _lock = if self.dry_run { None } else { Some(lock(&directory)?) };
        let (mode, changes) = self.plan(&runtime, &directory, occasion)?;
        let planned = self.planned(mode, &changes);
        let refused = planned.as_ref().and_then(|place| self.review(place, occasion).err());
        // What is named now is refused. What stands there already stays, and is reported.
        let (reported, named) = (refused, self.kubeconfig.is_some());
        let reported = if named { reported.map_or(Ok(None), Err) } else { Ok(reported) };
        let reported = reported.map_err(InstallError::from)?;
        let changes =
            change::make_due(&changes, &self.root, self.dry_run).map_err(InstallError::from)?;
        let place =
            existing(&directory)?.filter(|_| mode == InstallMode::ChainedFile && !self.dry_run);
        let reading = place
            .map(|place| reading::of_chained_file(&runtime, &self.root, &place))
            .transpose()?;
        let faults =
            planned.map(|place| Fault::all(&place, &runtime, &self.root)).unwrap_or_default();
        let may_pass = faults.iter().all(Fault::may_pass);
        let problems = faults.iter().map(ToString::to_string);
        let mut installed = Installed {
            dry_run: self.dry_run,
            mode,
            runtime,
            changes,
            may_pass: may_pass && reported.as_ref().is_none_or(CredentialError::may_pass),
            problems: problems.chain(reported.iter().map(ToString::to_string)).collect(),
            notes: Vec::new(),
        };
        installed.learn(reading.unwrap_or(Reading::Done));
        Ok(installed)
    }

    /// Whether Braid could work with its kubeconfig. That of a service account is written only now,
    /// and what is there already is not asked about each time that something on the node changes.
    fn review(&self, place: &Installation, occasion: RunMode) -> Result<(), CredentialError> {
        if let Some(path) = self.kubeconfig.as_ref().filter(|path| path.is_relative()) {
            return Err(CredentialError::Relative(path.clone()));
        }
        let is_due =
            occasion != RunMode::Reconcile && self.account.files(Path::new("/")).is_empty();
        match place.config() {
            Ok(config) if is_due => credential::review(&config, &self.root),
            _ => Ok(()),
        }
    }

    /// Braid's place as it is once the changes are made, one of which writes Braid's configuration.
    fn planned(&self, mode: InstallMode, changes: &[Change]) -> Option<Installation> {
        changes.iter().rev().find_map(|change| self.written(mode, change))
    }

    /// Braid's place in what a change writes.
    fn written(&self, mode: InstallMode, change: &Change) -> Option<Installation> {
        let Change::File { path, contents, .. } = change else { return None };
        let document: Value = serde_json::from_slice(contents).ok()?;
        let file = below(&self.root, path);
        match mode {
            InstallMode::ChainedFile => {
                let network = file.parent()?.file_name()?.to_str()?;
                Installation::behind(network, &file, &document)
            }
            _ => Installation::in_document(&file, &document, &["braid"]).into_iter().next(),
        }
    }

    /// Where Braid would stand on a node that it is not installed on.
    pub(super) fn foreseen(
        root: &Path,
        directories: &Directories,
    ) -> Result<Installation, InstallError> {
        let install = Self {
            mode: Mode::Auto,
            kubeconfig: None,
            account: Account::default(),
            settings: None,
            plugins: None,
            migration_options: MigrationOptions::default(),
            dry_run: true,
            root: root.to_owned(),
            directories: directories.clone(),
        };
        let runtime = node::runtime(directories, root).unwrap_or_else(|_| Runtime::unknown(None));
        let directory = below(root, &runtime.conf_dir);
        let (mode, last) = install.configuration(&runtime, &directory, RunMode::DryRun)?;
        install.planned(mode, &last).ok_or(InstallError::NoPrimary(directory))
    }

    /// The binary first: a configuration without its plugin stops every pod of the node. The
    /// configuration last: what it names is there.
    fn plan(
        &self,
        runtime: &Runtime,
        directory: &Path,
        occasion: RunMode,
    ) -> Result<(InstallMode, Vec<Change>), InstallError> {
        let (mode, last) = self.configuration(runtime, directory, occasion)?;
        let mut changes = vec![
            Change::File { path: binary(runtime), contents: program()?, mode: 0o755 },
            Change::Directory(definitions(runtime)),
        ];
        let places = Places::new(runtime, &self.root);
        let plugins = self.plugins.map(|which| places.installation(which)).transpose()?;
        changes.extend(plugins.unwrap_or_default());
        // The API is asked last of all: what can be refused without it has been.
        changes.extend(self.account.changes(&self.root, &definitions(runtime), occasion)?);
        changes.extend(last);
        Ok((mode, changes))
    }

    /// The files that make the configuration, Braid's own last.
    fn configuration(
        &self,
        runtime: &Runtime,
        directory: &Path,
        occasion: RunMode,
    ) -> Result<(InstallMode, Vec<Change>), InstallError> {
        let existing = existing(directory)?;
        let mode = self.stance(runtime, existing.as_ref(), directory)?;
        let settle = Settle { install: self, runtime, occasion, settings: self.settings()? };
        let primary = primary(directory);
        let needed = |primary: Option<Primary>| {
            primary.ok_or_else(|| InstallError::NoPrimary(directory.to_owned()))
        };
        let last = match (existing, mode) {
            (Some(there), _) => self.existing_place(&settle, there, primary.as_ref())?,
            (None, InstallMode::Delegating) => {
                vec![self.delegating(&settle, primary.as_ref(), directory)?]
            }
            (None, InstallMode::Chained) => self.chained(&settle, needed(primary)?)?,
            (None, InstallMode::ChainedFile) => self.chained_file(&settle, &needed(primary)?)?,
        };
        Ok((mode, last))
    }

    fn settings(&self) -> Result<Option<Settings>, InstallError> {
        Ok(self.settings.as_deref().map(Settings::read).transpose()?)
    }

    /// Whether a repetition would ask for another token.
    pub(super) fn token_is_due(&self) -> bool {
        let runtime = node::runtime(&self.directories, &self.root);
        runtime.is_ok_and(|runtime| {
            self.account.is_due(&self.root, &definitions(&runtime), RunMode::Reconcile)
        })
    }

    /// Whether it only shows what it would change.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.dry_run
    }

    /// The files on the node that make its way to the API.
    pub(super) fn credential(&self, runtime: &Runtime) -> Vec<PathBuf> {
        let files = self.account.files(&definitions(runtime));
        files.iter().map(|file| below(&self.root, file)).collect()
    }

    /// The files of the installer's own surroundings that it reads.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        let daemon = self.migration_options.daemon_config.clone();
        self.account.sources().into_iter().chain(self.settings.clone()).chain(daemon).collect()
    }

    fn stance(
        &self,
        runtime: &Runtime,
        existing: Option<&Installation>,
        directory: &Path,
    ) -> Result<InstallMode, InstallError> {
        match (self.mode.asked(), existing) {
            (Some(asked), Some(there)) if asked != there.stance => {
                Err(InstallError::Otherwise(there.file.clone()))
            }
            (Some(InstallMode::ChainedFile), None)
                if runtime.reads_sub_directories(&self.root) == Some(false) =>
            {
                Err(InstallError::TooOld)
            }
            (Some(asked), _) => Ok(asked),
            (None, Some(there)) => Ok(there.stance),
            (None, None) => self.default_stance(runtime, directory),
        }
    }

    /// A primary that removes the files of others leaves its sub-directory alone.
    fn default_stance(
        &self,
        runtime: &Runtime,
        directory: &Path,
    ) -> Result<InstallMode, InstallError> {
        match (removes_others(directory), runtime.reads_sub_directories(&self.root)) {
            (false, _) => Ok(InstallMode::Delegating),
            (true, Some(true)) => Ok(InstallMode::ChainedFile),
            (true, _) => Err(InstallError::Exclusive(directory.to_owned())),
        }
    }

    fn existing_place(
        &self,
        settle: &Settle<'_>,
        there: Installation,
        primary: Option<&Primary>,
    ) -> Result<Vec<Change>, InstallError> {
        let read = renewal(&self.root, &there);
        let file = self.renewed(settle, there, primary)?;
        Ok(std::iter::once(file).chain(read).collect())
    }

    /// Braid's file with what it needs now.
    fn renewed(
        &self,
        settle: &Settle<'_>,
        there: Installation,
        primary: Option<&Primary>,
    ) -> Result<Change, InstallError> {
        let Installation { file, stance, mut document, .. } = there;
        if let Some(entry) = entry::of(&mut document) {
            settle.entry(entry)?;
            if stance == InstallMode::Delegating {
                entry::declare(entry, settle.runtime, primary);
            }
        }
        Ok(self.write(&file, &document))
    }

    fn delegating(
        &self,
        settle: &Settle<'_>,
        primary: Option<&Primary>,
        directory: &Path,
    ) -> Result<Change, InstallError> {
        let document = json!({
            "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "braid",
            "plugins": [{"type": "braid", "clusterNetwork": "auto"}],
        });
        let (file, stance) = (first_place(directory)?, InstallMode::Delegating);
        let network_file = file.clone();
        let place = Installation { file, network_file, stance, document, request: Value::Null };
        self.renewed(settle, place, primary)
    }

    fn chained(&self, settle: &Settle<'_>, primary: Primary) -> Result<Vec<Change>, InstallError> {
        let text = conf_file::read(&primary.file)?;
        let mut document = conf_file::parse(&text)?;
        let Some(Value::Array(plugins)) = document.get_mut("plugins") else {
            return Err(InstallError::NotAList(primary.file));
        };
        plugins.push(Value::Object(settle.new_entry()?));
        let backup = self.on_node(&backup(&primary.file));
        Ok(vec![
            Change::File { path: backup, contents: text.into_bytes(), mode: 0o644 },
            self.write(&primary.file, &document),
        ])
    }

    fn chained_file(
        &self,
        settle: &Settle<'_>,
        primary: &Primary,
    ) -> Result<Vec<Change>, InstallError> {
        if !primary.network.appends_files() {
            return Err(not_appending(&primary.file));
        }
        let directory = primary.file.parent().unwrap_or(Path::new("/"));
        let chain = directory.join(primary.network.name.as_str());
        Ok(vec![
            self.write(&chain.join("braid.conf"), &Value::Object(settle.new_entry()?)),
            Change::Renewed { file: self.on_node(&primary.file), chain: self.on_node(&chain) },
        ])
    }

    fn write(&self, file: &Path, document: &Value) -> Change {
        Change::document(self.on_node(file), document)
    }

    /// A file below our root, as the node sees it.
    fn on_node(&self, file: &Path) -> PathBuf {
        on_node(&self.root, file)
    }
}
