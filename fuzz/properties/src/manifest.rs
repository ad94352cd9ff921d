//! Files of the node's definition directory, in YAML and in JSON.

use braid::internals::definition::NodeDefinitions;
use cni::version::Version;

use super::definition::check_network;

/// A file of any content is read within bounds, or is a warning of one line; what it defines can be
/// used.
pub fn manifest(bytes: &[u8]) {
    for name in ["x.yaml", "x.json", "x.conflist"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), bytes).unwrap();
        let found = NodeDefinitions::read(&[directory.path().to_owned()]);
        found.warnings.iter().for_each(|warning| super::assert_told_well(warning));
        found.networks(Version::V1_0_0).iter().for_each(check_network);
    }
}
