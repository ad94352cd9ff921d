//! What the tests stand on: nodes, pods, calls and their chains, and doubles of everything that a
//! node meets.
//!
//! [`node`] is where to start reading.

pub(crate) mod apiserver;
pub(crate) mod call;
pub(crate) mod chain;
pub(crate) mod chroot;
pub(crate) mod kubelet;
pub(crate) mod kustomize;
pub(crate) mod nameserver;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod source;
pub(crate) mod wire;
