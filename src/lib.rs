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

pub mod attach;
pub mod config;
pub mod definition;
pub mod delegate;
pub mod device;
mod grpc;
pub mod kernel;
pub mod kube;
pub mod ledger;
pub mod multus;
pub mod observe;
pub mod operator;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod prepare;
pub mod report;
pub mod reservation;
pub mod selection;
mod spelling;
pub mod verb;
mod yaml;
