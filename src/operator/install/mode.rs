//! How Braid is to stand on the node, as an administrator names it.

use clap::ValueEnum;

use crate::operator::installation::InstallMode;

/// How Braid is to stand on the node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Mode {
    /// As it stands already; else delegating, or chained-file where the primary is Cilium
    #[default]
    Auto,
    /// In a file of its own, running the primary, whose file stays untouched
    Delegating,
    /// As the last plugin of the primary's conflist
    Chained,
    /// In a file that containerd 2.1, CRI-O 1.33 and later append to the primary's chain
    ChainedFile,
}

impl Mode {
    /// The mode; none if the node decides.
    pub(super) fn asked(self) -> Option<InstallMode> {
        match self {
            Self::Auto => None,
            Self::Delegating => Some(InstallMode::Delegating),
            Self::Chained => Some(InstallMode::Chained),
            Self::ChainedFile => Some(InstallMode::ChainedFile),
        }
    }
}
