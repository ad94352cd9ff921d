//! The plugins that keep rules of the packet filter on the host, beside those of the reference,
//! each call in namespaces of its own.
//!
//! The reference plugins are those of the Debian package `containernetworking-plugins`; another
//! version's directory goes into `REFERENCE_PLUGINS`. What only newer ones have is compared with
//! what release 1.9 has made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail by panicking; that is how they say so"
)]

mod absence;
#[path = "../../src/testing/calls.rs"]
mod calls;
mod firewall;
mod firewalld;
mod legacy;
mod masquerade;
mod node;
mod portmap;
mod spoof_check;
mod traffic;
