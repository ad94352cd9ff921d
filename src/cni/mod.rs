//! The CNI protocol: what comes in, what goes out, and how a configuration becomes a plugin's request.

pub mod error;
pub mod keys;
pub mod netconf;
pub mod request;
pub mod result;
pub mod version;
