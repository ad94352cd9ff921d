//! What `nft --json list` prints: rules of other programs, too.

use plugins::internals::read_nft_listing;
use serde_json::{Value, json};

use super::assert_told_well;

/// The rules of a listing say the same once they are written out again.
pub fn nft(bytes: &[u8]) {
    let rules = match read_nft_listing(bytes) {
        Ok(rules) => rules,
        Err(problem) => return assert_told_well(&problem),
    };
    let written: Vec<Value> = rules
        .iter()
        .map(|(chain, handle, comment, statements)| {
            json!({"rule": {"chain": chain, "handle": handle, "comment": comment, "expr": statements}})
        })
        .collect();
    let written = json!({"nftables": written}).to_string();
    assert_eq!(read_nft_listing(written.as_bytes()).unwrap(), rules);
}
