//! Braid from outside: its executable on a node of its own, with real plugins and with the
//! recorder.
//!
//! `support::node` is where to start reading.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests may fail by panicking; that is how they say so"
)]

mod support;

mod addresses;
mod admission;
mod api_client;
mod api_double;
mod api_requests;
mod architecture;
mod built_in;
mod cases;
mod chained_mode;
mod check;
mod cluster_addresses;
mod cni_spec;
mod compatibility;
mod containerd;
mod corpus;
mod crash;
mod daemonset;
mod default_networks;
mod default_route;
mod delegates;
mod device;
mod disk;
mod error_hints;
mod event_log_and_metrics;
mod every_link;
mod external_apiserver;
mod image;
mod invalid_configuration;
mod kubernetes;
mod leftovers;
mod load;
mod monitoring;
mod multus_faults;
mod never_attached;
mod node_interfaces;
mod npwg;
mod operator;
mod orphans;
mod outages;
mod pictures;
mod power_loss;
mod primary_network;
mod protocol;
mod publisher;
mod readme;
mod recipes;
mod refusals;
mod release;
mod requested_values;
mod routers;
mod running_pods;
mod runtime_quirks;
mod scenarios;
mod soak;
mod static_binary;
mod status;
mod teardown;
mod tenancy;

// Tests write `crate::node`; the folder only keeps the support apart from them.
use support::{
    apiserver, call, chain, chroot, kubelet, kustomize, nameserver, node, pod, source, wire,
};
