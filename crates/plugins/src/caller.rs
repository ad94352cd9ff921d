//! Who calls a built-in plugin: Braid, or a runtime or another plugin on its own. GC for one of
//! them leaves alone what was made for the other.

use cni::request::Environment;

/// Set in the environment of every plugin that Braid starts.
pub const BRAID_VARIABLE: &str = "BRAID_DEPTH";

/// Whether a Braid has called.
pub fn is_braid(environment: &Environment) -> bool {
    environment.get(BRAID_VARIABLE).is_some()
}
