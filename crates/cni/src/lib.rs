//! The Container Network Interface (CNI), versions 0.1.0 to 1.1.0: a library to write plugins with,
//! and to run them.
//!
//! A plugin is an executable that a container runtime starts for each container. The runtime says
//! in `CNI_COMMAND` what to do, writes the network's configuration to standard input, and reads the
//! result or an error from standard output. This crate does all of that; a plugin says what it does
//! to the network.
//!
//! # Writing a plugin
//!
//! Implement [`Plugin`](plugin::Plugin), and hand it to [`serve`](plugin::serve) in `main`:
//!
//! ```no_run
#![doc = include_str!("../examples/resolver.rs")]
//! ```
//!
//! [`serve`](plugin::serve) answers VERSION by itself, refuses what is no valid request with the
//! specification's code, and prints results in the version of the request. What a method gets:
//!
//! - [`Call`](plugin::Call): the attachment (`CNI_CONTAINERID`, `CNI_NETNS`, `CNI_IFNAME`), the
//!   plugin's configuration as a type of its own ([`Call::config`](plugin::Call::config)), and
//!   `prevResult`, `runtimeConfig`, `CNI_ARGS` and `args` of the configuration.
//! - [`Context`](plugin::Context): the time that the call may take, whether it is asked to stop, and
//!   the way to other plugins, such as IPAM.
//!
//! Rules that runtimes rely on:
//!
//! - ADD undoes what it did before it returns an error; the runtime calls DEL all the same.
//! - DEL succeeds if there is nothing to remove, the network namespace included, and it is called
//!   more than once.
//! - A plugin that is not the first of its chain returns `prevResult` with its own changes.
//! - Nothing else is written to standard output; standard error is for logs.
//!
//! # Running plugins
//!
//! [`netconf`] reads a conf or a conflist and derives the request of each plugin of the chain, as
//! Go's libcni does. [`result`] reads results in every version and writes them in any other one.
//! Starting processes is left to the caller.
//!
//! # Modules
//!
//! | Module | Holds |
//! |---|---|
//! | [`plugin`] | the trait, one call of it, and the life of its executable |
//! | [`request`] | the environment variables of a request |
//! | [`netconf`] | network configurations, chains, and what each plugin of a chain is sent |
//! | [`result`](mod@result) | results of ADD in every version |
//! | [`error`] | errors and their codes |
//! | [`version`] | the versions and what each of them has |
//! | [`name`], [`keys`], [`quoted`], [`family`] | interface names, keys as Go's decoder matches them, quoting, IPv4 and IPv6 |
//! | [`deadline`] | how long a call may take |
//!
//! Sections in this documentation are those of the
//! [specification](https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md).

#![forbid(unsafe_code)]

pub mod deadline;
pub mod error;
pub mod family;
pub mod keys;
pub mod name;
pub mod netconf;
pub mod plugin;
pub mod quoted;
pub mod request;
pub mod result;
mod text;
pub mod version;
