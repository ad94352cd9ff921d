//! Braid from outside: its executable on a node of its own, with real plugins and with the recorder.
//!
//! `node` is where to start reading.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests may fail by panicking; that is how they say so"
)]

mod apiserver;
mod call;
mod chain;
mod chroot;
mod kubelet;
mod kustomize;
mod nameserver;
mod node;
mod pod;
mod source;
mod wire;

mod advice;
mod anywhere;
mod architecture;
mod chaining;
mod cluster;
mod containerd;
mod corpus;
mod crash;
mod daemonset;
mod delegates;
mod device;
mod disk;
mod faults;
mod given;
mod habits;
mod image;
mod invalid_configuration;
mod kubernetes;
mod leftovers;
mod load;
mod npwg;
mod observing;
mod operator;
mod outages;
mod power_loss;
mod protocol;
mod readme;
mod release;
mod requests;
mod routers;
mod scenarios;
mod soak;
mod teardown;
mod tenancy;
