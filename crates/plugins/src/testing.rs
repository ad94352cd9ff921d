//! What tests of the plugins share: a node with a container, and the reference plugins beside ours.

pub(crate) mod calls;
pub(crate) mod node;
pub(crate) mod twins;

/// How many configurations a generator tries: `CASES`, or as many as `scripts/test` has time for.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
