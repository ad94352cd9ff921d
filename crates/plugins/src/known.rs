//! What is known of plugins that are not built in. The sources are their own documentation and
//! code; the behaviour is that of their current releases.

mod foreign;
mod ipam;
mod meta;

use crate::facts::Facts;

/// The facts of all of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Facts> {
    [ipam::FACTS, meta::FACTS, foreign::FACTS].into_iter().flatten()
}
