//! Braid: a CNI meta-plugin that gives a pod its primary network, every extra network that it asks
//! for, and one merged result.
//!
//! One way through the program, and one module for each noun on it:
//!
//! ```text
//! request ──> config ──> pod ──> selections ──> definitions ──> policy ──> plan ──> attach ──> result
//! (env+stdin)            (annotations)                                     (pure)   (effects)  (stdout)
//!                                                                            │         │
//!                                                                            └─ ledger ┘
//! ```
//!
//! [`prepare`] walks up to the plan and changes nothing; [`verb`] has the steps of each verb.
//! [`operator`] is the tool for people, beside that way.

#![forbid(unsafe_code)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the library is the executable's: `cargo doc --document-private-items` is its \
              documentation"
)]

mod attach;
mod conf_file;
mod config;
mod definition;
mod delegate;
mod device;
mod grpc;
mod kube;
mod ledger;
mod multus;
mod observe;
mod operator;
mod plan;
mod plugin;
mod pod;
mod policy;
mod prepare;
mod report;
mod reservation;
mod selection;
mod spelling;
mod verb;
mod yaml;

pub use operator::console::{Console, OutputStyle};
pub use operator::{run as operate, run_cluster as operate_cluster};
pub use plugin::BuiltIn;
pub use verb::{Answer, answer, withdraw};

/// What the integration tests and the properties of the fuzz targets see of the inside, each name
/// in the module that has it. It is no interface: it changes with the program.
#[doc(hidden)]
#[allow(missing_docs, reason = "each is explained where it is")]
pub mod internals {
    pub mod attach {
        pub use crate::attach::snapshot;
    }
    pub mod config {
        pub use crate::config::{
            Config, ConfigError, DEFAULT_CONF_DIR, MULTUS_CONF_DIR, MULTUS_DAEMON_KEYS, known_keys,
        };
    }
    pub mod definition {
        pub use crate::definition::{
            Annotations, Definition, DefinitionKind, NodeDefinitions, Source,
        };
    }
    pub mod delegate {
        pub use crate::delegate::{DelegateError, decode};
    }
    pub mod device {
        pub use crate::device::{
            Allocation, DeviceError, DeviceInfoError, DeviceInfoStore, KubeletError,
            check_resource, parse_device_info,
        };
    }
    pub mod grpc {
        pub use crate::grpc::connect;
    }
    pub mod kube {
        pub use crate::kube::{
            Cluster, ClusterConfig, ClusterDefinition, ClusterError, ClusterPod, Expiry,
            PodNetworks, PodReference, PodWatch, Seen, answer,
        };
    }
    pub mod ledger {
        pub use crate::ledger::{Event, Ledger, Record, RecordPlan, State, event_line, plan_line};
    }
    pub mod multus {
        pub use crate::multus::cache;
    }
    pub mod operator {
        pub use crate::operator::markdown;
    }
    pub mod plan {
        pub use crate::plan::Role;
    }
    pub mod pod {
        pub use crate::pod::{Annotations, NETWORKS_ANNOTATION, Pod, name};
    }
    pub mod policy {
        pub use crate::policy::{
            ACCOUNTS_ANNOTATION, Account, Case, IPS_ANNOTATION, KEYS, MACS_ANNOTATION, MAX_BYTES,
            NAMESPACES_ANNOTATION, Path, REQUESTS_ANNOTATION, View, judge,
        };
    }
    pub mod selection {
        pub use crate::selection::{
            Bandwidth, Limits, MAX_ANNOTATION_BYTES, Selection, genie, parse,
        };
    }
    pub mod verb {
        pub use crate::verb::network_status;
    }
}
