//! Cluster-wide addresses: many nodes with Braid's plugin `whereabouts`, and with a stand-in for
//! whereabouts itself.

mod at_once;
pub(crate) mod many_nodes;
mod node;
mod stand_in;
