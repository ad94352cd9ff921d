//! What a running pod is, and gets: an addition is an ADD with it.

use serde_json::Value;

use crate::ledger::{Journal, Record};
use crate::plan::Plan;
use cni::result::AttachmentResult;

/// A running pod that gets networks, as it was before.
#[derive(Clone, Copy, Debug)]
pub(in crate::verb) struct Former<'s> {
    /// Its record without what is added.
    pub(in crate::verb) record: &'s Record,
    /// Whether that record was there before.
    pub(in crate::verb) is_recorded: bool,
}

/// What a running pod has, and the record that it has grown by.
#[derive(Debug)]
pub(in crate::verb) struct Growth<'s> {
    /// The attachments that are there, then those that are added.
    pub(in crate::verb) plan: &'s Plan,
    /// The results of those that are there, in their networks' versions.
    pub(in crate::verb) results: Vec<Value>,
    /// The result of the primary that Braid stands behind.
    pub(in crate::verb) chained: Option<AttachmentResult>,
    /// The pod before.
    pub(in crate::verb) former: Former<'s>,
    /// The record with what is added, in place.
    pub(in crate::verb) grown: Grown,
}

/// The record of a running pod with what is added.
#[derive(Debug)]
pub(in crate::verb) struct Grown {
    /// It, in place.
    pub(in crate::verb) journal: Journal,
    /// Positions of what stays pending in it: what an earlier change could not tear down.
    pub(in crate::verb) resisting: Vec<usize>,
}
