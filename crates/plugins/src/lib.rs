//! The built-in plugins, and facts about plugins that are not built in.
#![forbid(unsafe_code)]

pub mod link;
