//! The built-in plugins, and facts about plugin types.
#![forbid(unsafe_code)]

pub mod known;
pub mod link;
