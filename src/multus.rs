//! What Multus has left on the node: the results and delegates that it remembers.

pub mod cache;
