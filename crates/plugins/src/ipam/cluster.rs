//! The IPAM plugin `whereabouts`: addresses of ranges that the nodes of a cluster share, kept in
//! whereabouts' objects in the Kubernetes API. Nodes with either plugin work side by side.

pub mod name;
pub mod object;
pub mod patch;
pub mod store;
