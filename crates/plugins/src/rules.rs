//! Rules of the packet filter that plugins keep on the host for an attachment, by iptables and by
//! nftables. Tables, chains, comments and rules are those of the reference plugins, so that either
//! tears down what the other has made.
//!
//! Every value that goes into a rule is checked or made here first: an address, a port, an
//! identifier of the protocol, or a word of a closed alphabet. Nothing is read by a shell.

pub(crate) mod backend;
pub(crate) mod bus;
pub(crate) mod iptables;
mod kept;
pub(crate) mod mark;
pub(crate) mod name;
pub(crate) mod nftables;
pub(crate) mod owner;
pub(crate) mod program;

pub use bus::read_bus_message;
pub use kept::{Attached, Keeper, has_rules};
pub use nftables::read_nft_listing;
