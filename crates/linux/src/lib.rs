//! The kernel's side of Braid: netlink, network namespaces, child processes, state directories,
//! regular files and signals. Knows neither CNI nor Braid: addresses and instants are the standard
//! library's.

pub mod child;
pub mod conntrack;
pub mod directory;
pub mod executable;
pub mod family;
pub mod file;
pub mod netlink;
pub mod netns;
pub mod signal;
pub mod sysctl;
pub mod tun;
