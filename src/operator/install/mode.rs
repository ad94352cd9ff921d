//! How Braid is to stand on the node, as an administrator names it.

use clap::ValueEnum;

use super::migration::Migration;
use crate::operator::installation::InstallMode;

/// How Braid is to stand on the node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Mode {
    /// As it stands already; else delegating, or chained-file if the primary is Cilium
    #[default]
    Auto,
    /// In a file of its own, running the primary, whose file stays untouched
    Delegating,
    /// As the last plugin of the primary's conflist
    Chained,
    /// In a file that containerd 2.1, CRI-O 1.33 and later append to the primary's chain
    ChainedFile,
    /// Show what migrate would change, and change nothing
    MigrateDryRun,
    /// In Multus's place: translate its configuration, and keep its file out of the runtime's sight
    Migrate,
    /// Give the node back to Multus
    MigrateBack,
}

impl Mode {
    /// The mode; none if the node decides.
    pub(super) fn asked(self) -> Option<InstallMode> {
        match self {
            Self::Auto | Self::MigrateDryRun | Self::Migrate | Self::MigrateBack => None,
            Self::Delegating => Some(InstallMode::Delegating),
            Self::Chained => Some(InstallMode::Chained),
            Self::ChainedFile => Some(InstallMode::ChainedFile),
        }
    }

    /// The step of a migration that it names; none if Braid is installed as ever.
    pub(super) fn migration(self) -> Option<Migration> {
        match self {
            Self::MigrateDryRun => Some(Migration::DryRun),
            Self::Migrate => Some(Migration::Forth),
            Self::MigrateBack => Some(Migration::Back),
            _ => None,
        }
    }
}
