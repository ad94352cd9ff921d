//! The IPAM plugin `whereabouts`: addresses of ranges that the nodes of a cluster share, kept in
//! whereabouts' objects in the Kubernetes API. Nodes with either plugin work side by side.
//!
//! There is no lock: an address is one conditional write of one entry, so that two nodes collide
//! over the same address alone. What may hold an address stands in a journal on the node before it
//! is written, so that DEL never has to wait for the API.

mod allocation;
mod attachment;
mod choice;
mod claim;
mod config;
mod elsewhere;
mod engine;
mod entry;
mod flat_file;
mod foresight;
mod give_back;
mod held;
mod journal;
pub mod name;
pub mod object;
pub mod patch;
mod place;
mod range;
mod release;
pub mod store;
mod teardown;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;

use self::attachment::Attached;
use self::config::Config;
use self::journal::Journal;
use self::place::no_kubeconfig;
use self::store::{OpenStore, StoreError};
use crate::BuiltIn;
use crate::facts::{Facts, Key, Property, Shape};

pub use self::elsewhere::noted;
pub use self::entry::{claim_annotation, expiry_annotation};
pub use self::foresight::foresee;
pub use self::give_back::{CarriedOn, carry_on};
pub use self::held::{HeldPool, held_pools};
pub use self::range::Range;

/// Where the node's journal is unless a definition says otherwise.
pub const JOURNAL: &str = config::DATA_DIR;

/// How long STATUS waits for the API.
const STATUS: Duration = Duration::from_secs(2);

/// What opens the API: the executable's.
static STORES: OnceLock<&'static dyn OpenStore> = OnceLock::new();

/// Hands in what opens the API, without which no address is given, and the node's own journal, which
/// notes where others are.
pub fn provide(stores: &'static dyn OpenStore, home: &Path) {
    STORES.get_or_init(|| stores);
    elsewhere::provide(home);
}

/// # Errors
/// Code 5 if nothing was handed in.
fn stores() -> Result<&'static dyn OpenStore, Error> {
    let missing = || Error::new(Code::IO, "this executable cannot reach the Kubernetes API");
    STORES.get().copied().ok_or_else(missing)
}

/// The IPAM plugin `whereabouts`.
#[derive(Clone, Copy, Debug)]
pub struct Whereabouts;

impl BuiltIn for Whereabouts {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Whereabouts {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        Attached::new(call, stores()?)?.add(context)
    }

    /// Acts on the node's journal. An attachment without a record was whereabouts' own, and is
    /// looked for in the pools.
    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del(call, stores()?, context)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        Attached::new(call, stores()?)?.check(context)
    }

    /// Asks for the kubeconfig and for the right alone. An API that does not answer is no reason to
    /// start no pods.
    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let unavailable =
            |problem: &dyn std::fmt::Display| Error::new(Code::NOT_AVAILABLE, problem);
        let config = Config::read_for_status(call)
            .map_err(|error| Error { code: Code::NOT_AVAILABLE, ..error })?;
        if config.access.kubeconfig.is_none() {
            return Err(unavailable(&no_kubeconfig().msg));
        }
        let deadline = context.deadline.within(STATUS);
        let allowed = stores()?.open(&config.access, deadline).and_then(|mut opened| {
            let namespace = opened.namespace.clone();
            opened.store.may_allocate(&namespace, deadline).map(|may| (may, namespace))
        });
        match allowed {
            Ok((true, _)) => Ok(()),
            Ok((false, namespace)) => Err(unavailable(&foresight::no_right(&namespace))),
            Err(error @ StoreError::Refused(_)) => Err(unavailable(&error)),
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
        }
    }

    /// Gives back what the journal holds for attachments of this network that the runtime does not
    /// know, and what is due.
    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::gc(call, stores()?, context)
    }
}

/// How many attachments have addresses by the journal in `directory`, and of how many the addresses
/// are to be given back.
#[must_use]
pub fn count(directory: &Path) -> (usize, usize) {
    let journal = Journal::new(directory);
    (journal.count_held(), journal.count_due())
}

const FACTS: Facts = Facts {
    properties: &[
        Property::OpenToTenants,
        Property::StateOutsideNode,
        Property::ReclaimsAddressesWithoutStatus,
        Property::CheckAlwaysFails,
        Property::GivesAnyAddress,
    ],
    keys: &[
        Key::open("range", Shape::Addresses),
        Key::open("range_start", Shape::Addresses),
        Key::open("range_end", Shape::Addresses),
        Key::open("exclude", Shape::List(&Shape::Addresses)),
        Key::open("ipRanges", Shape::Any),
        Key::open("gateway", Shape::Addresses),
        Key::open("routes", Shape::List(&Shape::Object(ROUTE))),
        Key::open("enable_overlapping_ranges", Shape::Boolean),
        Key::open("allocation", Shape::Text),
        Key::open("sticky", Shape::Text),
        Key::host("dataDir", Shape::Text),
    ],
    failures: &[
        (
            "takes no more",
            "a pool is one object of at most 1.5 MiB: use \"node_slice_size\", or several ranges",
        ),
        (
            "lies in no range of the network",
            "ask for one in the network's range, or leave \"ips\" out",
        ),
    ],
    ..Facts::ipam("whereabouts")
};

const ROUTE: &[Key] = &[Key::open("dst", Shape::Destination), Key::open("gw", Shape::Address)];
