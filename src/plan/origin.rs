//! Where an attachment comes from: what changes the networks of a running pod touches its own
//! alone.

use serde::{Deserialize, Serialize};

/// Where an attachment comes from. Records of Braid before 0.2 do not say, see
/// [`super::Attachment::source`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The node's own configuration, or a network of the node that the pod has chosen.
    Node,
    /// An element of the pod's networks annotation.
    Annotation {
        /// The element without its interface, as [`crate::selection::Selection::canonical`] writes
        /// it.
        element: String,
    },
    /// `braid attach`.
    Attach,
    /// A later Braid knows.
    #[serde(other)]
    Other,
}

/// Who an attachment belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source<'a> {
    /// The node's configuration.
    Node,
    /// The networks annotation: the element, if the record has it.
    Annotation(Option<&'a str>),
    /// An administrator.
    Attach,
    /// A later Braid.
    Other,
}

impl Source<'_> {
    /// The word that people read.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Annotation(_) => "annotation",
            Self::Attach => "attach",
            Self::Other => "other",
        }
    }
}
