//! How long the calls of plugins take.

use std::time::Duration;

use cni::error::Code;
use cni::name::InterfaceName;
use cni::netconf::PluginType;
use cni::request::Command;

/// How long one call of a plugin took, and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timing {
    /// The network, as people know it.
    pub network: String,
    /// The interface; STATUS and GC have none.
    pub interface: Option<InterfaceName>,
    /// The plugin.
    pub plugin: PluginType,
    /// The verb.
    pub command: Command,
    /// From its start to the end of its output.
    pub took: Duration,
    /// The code of its error.
    pub code: Option<Code>,
}

/// The most timings that are kept: GC of a whole node can call many plugins.
pub(super) const MAX_TIMINGS: usize = 512;
