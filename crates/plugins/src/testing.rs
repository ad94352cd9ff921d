//! What tests of the plugins share: a node with a container, and the reference plugins beside ours.

pub(crate) mod node;
pub(crate) mod twins;
