//! The result of a primary that Braid stands behind, as the network status shows it.

use crate::attach::snapshot::Snapshot;
use crate::ledger::{Mode, Record};
use cni::result::{Address, AttachmentResult, Interface};
use cni::version::Version;
use serde_json::Map;

/// The primary's result; none if Braid delegates to it. Records of Braid before 0.2 have none, and
/// the kernel shows what it was.
pub(super) fn chained_result(record: &Record, now: &Snapshot) -> Option<AttachmentResult> {
    if record.plan.mode == Mode::Delegating {
        return None;
    }
    let recorded = record.plan.primary.as_ref();
    let recorded =
        recorded.and_then(|result| AttachmentResult::read_lenient(result, Version::NEWEST).ok());
    Some(recorded.unwrap_or_else(|| shown(record, now)))
}

fn shown(record: &Record, now: &Snapshot) -> AttachmentResult {
    let Some(link) = now.link(record.plan.key.interface.as_str()) else {
        return AttachmentResult::default();
    };
    let interface = Interface {
        name: link.name.clone(),
        mac: link.mac.clone(),
        mtu: link.mtu.map(u64::from),
        sandbox: Some(record.plan.netns.path.clone()),
        ..Interface::default()
    };
    let address = |address: &ipnetwork::IpNetwork| Address {
        address: address.to_string(),
        gateway: None,
        interface: Some(0),
        other: Map::new(),
    };
    AttachmentResult {
        interfaces: vec![interface],
        ips: link.addresses.iter().map(address).collect(),
        ..AttachmentResult::default()
    }
}
