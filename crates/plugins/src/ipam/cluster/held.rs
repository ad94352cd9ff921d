//! The pools that this node has addresses of, for commands that look at a node.

use std::path::Path;

use super::give_back::access_of;
use super::journal::Journal;
use super::store::ApiAccess;

/// A pool of which an attachment of this node has an address, or may have one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldPool {
    /// How its server is reached.
    pub access: ApiAccess,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pool: String,
    /// Whether an address outlives its pod, for one of the same name or by a claim.
    pub is_kept: bool,
}

/// The pools of the journal in `directory`, one for each attachment and pool. A record that cannot
/// be read is left out, with a warning in the log.
///
/// # Errors
/// A sentence if the journal cannot be read.
pub fn held_pools(directory: &Path) -> Result<Vec<HeldPool>, String> {
    let records = Journal::new(directory).all_held().map_err(|error| error.to_string())?;
    let pools = records.iter().flat_map(|record| {
        let header = &record.header;
        record.written.iter().map(|written| HeldPool {
            access: access_of(header),
            namespace: header.namespace.clone(),
            pool: written.pool.clone(),
            is_kept: header.sticky.is_some() || header.claim.is_some(),
        })
    });
    Ok(pools.collect())
}
