//! A node's part in the migration of a cluster from Multus: what `braid migrate multus` does on one
//! node, done by a DaemonSet when it is that node's turn.
//!
//! The turn comes with the pod (the DaemonSet's `maxUnavailable`), or with a label of the node,
//! which overrules the mode of the DaemonSet:
//!
//! ```text
//! no label  ──> --mode: migrate-dry-run, migrate or migrate-back
//! braid     ──> migrate
//! multus    ──> migrate-back
//! ```

use std::path::PathBuf;

use clap::Args;

use super::{Install, InstallError, Installed, MULTUS, RunMode, definitions};
use crate::kube::{Cluster, ClusterConfig, ClusterError};
use crate::operator::CommandError;
use crate::operator::change::{self, Change, Shown};
use crate::operator::installation::{InstallMode, Installation};
use crate::operator::migrate::{Migrate, MigrateError, Migrated};
use crate::operator::node;
use crate::operator::runtime::{Runtime, below};
use cni::request::Environment;

/// What is due on a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::operator) enum Migration {
    /// Nothing is changed: what a migration would change is shown.
    DryRun,
    /// Multus's node becomes Braid's.
    Forth,
    /// Braid's node becomes Multus's again.
    Back,
}

/// How a node is told that it is its turn.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::operator) struct MigrationOptions {
    /// In a migration: the name of this node
    #[arg(long, value_name = "NAME", requires = "node_label")]
    node: Option<String>,
    /// In a migration: the label of the node that overrules --mode, with the value braid (as
    /// migrate) or multus (as migrate-back)
    #[arg(long, value_name = "KEY", requires = "node")]
    node_label: Option<String>,
    /// In a migration: what the daemon of the thick plugin is told
    #[arg(long, value_name = "FILE")]
    pub(super) daemon_config: Option<PathBuf>,
    /// In a migration: write into FILE in one line what the node runs now
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why it is unknown whether it is a node's turn.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum MigrationError {
    /// The label says something else.
    #[error(
        "label {key} of node \"{node}\" is \"{value}\": set it to braid or multus, or remove it"
    )]
    Value {
        /// The label's key.
        key: String,
        /// The node.
        node: String,
        /// The label's value.
        value: String,
    },
    /// Multus has not reached the node yet.
    #[error(
        "no configuration in {} has multus in it yet: waiting for multus; for nodes that are never \
         to have it, install braid with another --mode",
        .0.display()
    )]
    Awaited(PathBuf),
    /// There is no API to ask.
    #[error(
        "--node-label works in a pod that has a service account of its own: \
         KUBERNETES_SERVICE_HOST is not set"
    )]
    NotInPod,
    /// The API does not say.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The report cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl MigrationError {
    /// Whether it may be otherwise later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_outage(),
            Self::Awaited(_) => true,
            _ => false,
        }
    }
}

impl MigrationOptions {
    /// What the node's label says; `None` if it says nothing.
    fn labelled(&self) -> Result<Option<Migration>, MigrationError> {
        let (Some(node), Some(key)) = (&self.node, &self.node_label) else { return Ok(None) };
        let cluster = Cluster::configured(&ClusterConfig::default(), &Environment::of_process());
        let label = cluster.ok_or(MigrationError::NotInPod)?.node_label(node, key)?;
        match label.as_deref() {
            None => Ok(None),
            Some("braid") => Ok(Some(Migration::Forth)),
            Some("multus") => Ok(Some(Migration::Back)),
            Some(value) => Err(MigrationError::Value {
                key: key.clone(),
                node: node.clone(),
                value: value.to_owned(),
            }),
        }
    }

    /// Leaves a line for the status of the container, which needs no right.
    fn report(&self, line: &str) -> Result<(), MigrationError> {
        let Some(path) = &self.report else { return Ok(()) };
        std::fs::write(path, format!("{line}\n"))
            .map_err(|source| MigrationError::Report { path: path.clone(), source })
    }
}

impl Install {
    /// What is due on this node in a migration; `None` if Braid is installed as ever.
    ///
    /// # Errors
    /// [`InstallError::Migration`].
    pub(in crate::operator) fn migration(&self) -> Result<Option<Migration>, InstallError> {
        let Some(mode) = self.mode.migration() else { return Ok(None) };
        Ok(Some(self.migration_options.labelled()?.unwrap_or(mode)))
    }

    /// Whether the node is one of a cluster that is migrated.
    pub(in crate::operator) fn migrates(&self) -> bool {
        self.mode.migration().is_some()
    }

    /// Whether the node's label may change what is due.
    pub(in crate::operator) fn follows_label(&self) -> bool {
        self.mode.migration().is_some() && self.migration_options.node_label.is_some()
    }

    pub(super) fn migrate(
        &self,
        migration: Migration,
        occasion: RunMode,
    ) -> Result<Installed, CommandError> {
        let runtime = node::runtime(&self.directories, &self.root)?;
        let is_dry_run = occasion == RunMode::DryRun || migration == Migration::DryRun;
        let installed = match migration {
            Migration::Back => self.back(&runtime, is_dry_run)?,
            _ if is_dry_run => self.migrated(&runtime, self.step(false, true).run()?),
            _ => self.forth(&runtime, occasion)?,
        };
        if occasion != RunMode::DryRun {
            self.migration_options
                .report(&self.state(&runtime, &installed))
                .map_err(InstallError::from)?;
        }
        Ok(installed)
    }

    /// The credential first, then Multus's configuration translated, and then as on any node.
    fn forth(&self, runtime: &Runtime, occasion: RunMode) -> Result<Installed, CommandError> {
        let directory = below(&self.root, &runtime.conf_dir);
        let has_braid = !Installation::all(&directory, &["braid"]).is_empty();
        let mut changes = Vec::new();
        let mut notes = Vec::new();
        if !has_braid && Installation::all(&directory, &MULTUS).is_empty() {
            return Err(InstallError::from(MigrationError::Awaited(directory)).into());
        }
        if !has_braid || !Installation::all(&directory, &MULTUS).is_empty() {
            let definitions = definitions(runtime);
            let mut credential = vec![Change::Directory(definitions.clone())];
            let files = self.account.changes(&self.root, &definitions, occasion);
            credential.extend(files.map_err(InstallError::from)?);
            changes.extend(self.make(&credential)?);
            let migrated = self.step(false, false).run()?;
            changes.extend(migrated.changes);
            notes.extend(migrated.notes);
        }
        let mut installed = self.install(RunMode::Reconcile)?;
        installed.changes.splice(..0, changes);
        installed.notes.extend(notes);
        Ok(installed)
    }

    /// A node that Multus has not reached yet is as it is to be. Multus has a credential of its
    /// own.
    fn back(&self, runtime: &Runtime, is_dry_run: bool) -> Result<Installed, CommandError> {
        let migrated = match self.step(true, is_dry_run).run() {
            Err(CommandError::Migrate(MigrateError::NoMultus(_))) => Migrated::default(),
            migrated => migrated?,
        };
        let mut installed = self.migrated(runtime, migrated);
        let directory = below(&self.root, &runtime.conf_dir);
        if !is_dry_run && Installation::all(&directory, &["braid"]).is_empty() {
            let files = self.account.files(&definitions(runtime));
            let gone: Vec<Change> = files.into_iter().map(Change::Gone).collect();
            installed.changes.extend(self.make(&gone)?);
        }
        Ok(installed)
    }

    fn make(&self, changes: &[Change]) -> Result<Vec<Shown>, InstallError> {
        Ok(change::make_due(changes, &self.root, false)?)
    }

    fn step(&self, back: bool, is_dry_run: bool) -> Migrate {
        let runtime = node::runtime(&self.directories, &self.root);
        let definitions = runtime.map(|runtime| definitions(&runtime)).unwrap_or_default();
        let account = self.account.kubeconfig(&definitions).filter(|_| !is_dry_run);
        Migrate::of_fleet(
            back,
            is_dry_run,
            &self.root,
            &self.directories,
            account.or_else(|| self.kubeconfig.clone()),
        )
        .with_settings(self.settings.clone())
        // Thin Multus has none, and the ConfigMap of the thick one is optional.
        .with_daemon_config(
            self.migration_options.daemon_config.clone().filter(|file| file.exists()),
        )
    }

    fn migrated(&self, runtime: &Runtime, migrated: Migrated) -> Installed {
        let waiting = migrated.waiting_for.iter().map(|pod| {
            format!(
                "multus could not tear down {pod}, which braid attached in chained mode: move it \
                 to another node (kubectl drain)"
            )
        });
        Installed {
            dry_run: migrated.dry_run,
            mode: InstallMode::Delegating,
            runtime: runtime.clone(),
            problems: waiting.collect(),
            changes: migrated.changes,
            notes: migrated.notes,
            may_pass: true,
        }
    }

    /// Which of the two the runtime runs, in one line.
    fn state(&self, runtime: &Runtime, installed: &Installed) -> String {
        let directory = below(&self.root, &runtime.conf_dir);
        let runs = match (
            Installation::all(&directory, &["braid"]).is_empty(),
            Installation::all(&directory, &MULTUS).is_empty(),
        ) {
            (false, _) => "braid",
            (true, false) => "multus",
            (true, true) => "neither multus nor braid",
        };
        let count = installed.changes.len();
        match (installed.dry_run, installed.problem()) {
            (_, Some(problem)) => format!("runs {runs}: {problem}"),
            (true, None) => format!("runs {runs}; a migration would make {count} changes"),
            (false, None) => format!("runs {runs}; {count} changes made"),
        }
    }
}
