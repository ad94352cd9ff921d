//! The CNI protocol: what comes in, what goes out, and how a configuration becomes a plugin's
//! request.
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
