//! The kernel's side of the limits, and the intermediate device's name and mark.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni::error::{Code, Error};
use cni::plugin::{Call, ValidAttachment};
use linux::netlink::{
    Change, LinkId, LinkSettings, LinkState, Netlink, NewLink, NewLinkKind, TokenBucket,
};

use super::config::Limits;
use crate::link::site::kernel_error;
use crate::mark;
use crate::rules::name::short_hash;

/// What the name of an intermediate device begins with.
const PREFIX: &str = "bwp";

/// How much of the hash is in it: the kernel takes 15 characters.
const HASH_CHARS: usize = 12;

/// The name of the intermediate device of a container in a network, as the reference plugin makes
/// it.
pub(crate) fn device_name(network: &str, container: &str) -> String {
    format!("{PREFIX}{}", short_hash(&format!("{network}{container}"), HASH_CHARS))
}

/// Sets the limits on `port`, the host's end of the pair. Leaves none if that fails. Returns the
/// intermediate device, if one is needed.
pub(super) fn limit(
    call: &Call,
    host: &mut Netlink,
    port: &LinkState,
    limits: &Limits,
) -> Result<Option<LinkState>, Error> {
    if let Some(bucket) = limits.ingress {
        let about = |error| kernel_error(error).about(format!("interface {:?}", port.name));
        host.apply(&[Change::limit_rate(port.index, bucket)]).map_err(about)?;
    }
    let Some(bucket) = limits.egress else { return Ok(None) };
    let outcome = limit_sent(call, host, port, bucket);
    if outcome.is_err() && limits.ingress.is_some() {
        undo(host, &[Change::delete_rate_limit(port.index)]);
    }
    outcome.map(Some)
}

/// Hands what the port receives to a device that sends it no faster than the bucket says.
fn limit_sent(
    call: &Call,
    host: &mut Netlink,
    port: &LinkState,
    bucket: TokenBucket,
) -> Result<LinkState, Error> {
    let name = device_name(call.network.as_str(), call.attachment()?.container.as_str());
    if host.link_exists(&name).map_err(kernel_error)? {
        let network = call.network.as_str();
        let problem = format!(
            "interface {name:?} is there already: only one interface of a container in network \
             {network} can have an egress limit"
        );
        return Err(Error::new(Code::CONFIG, problem));
    }
    let outcome = make_device(call, host, &name, port.mtu).and_then(|device| {
        let changes = [
            Change::add_ingress(port.index),
            Change::redirect_received(port.index, device.index),
            Change::limit_rate(device.index, bucket),
        ];
        let about = |error| kernel_error(error).about(format!("interface {:?}", port.name));
        host.apply(&changes).map_err(about).map(|()| device)
    });
    if outcome.is_err() {
        let device = Change::delete_link(LinkId::Name(&name));
        undo(host, &[Change::delete_ingress(port.index), device]);
    }
    outcome
}

/// Makes the device, with its mark.
fn make_device(call: &Call, host: &mut Netlink, name: &str, mtu: u32) -> Result<LinkState, Error> {
    let (id, mark) = (LinkId::Name(name), Mark::of(call).to_string());
    let link = NewLink {
        mtu: Some(mtu),
        tx_queue_len: Some(0),
        up: true,
        ..NewLink::new(name, NewLinkKind::Ifb)
    };
    let alias = LinkSettings { alias: Some(&mark), ..LinkSettings::default() };
    let changes = [Change::create_link(&link), Change::set_link(id, &alias)];
    let found = host.apply_then_find(&changes, &[id]).map_err(kernel_error)?;
    let vanished = || Error::new(Code::IO, format!("interface {name:?} has vanished"));
    found.into_iter().flatten().next().ok_or_else(vanished)
}

fn undo(host: &mut Netlink, changes: &[Change<'_>]) {
    if let Err(error) = host.apply(changes) {
        log::warn!("a limit of a failed ADD stays: {error}");
    }
}

/// Deletes the devices that bear the mark of this caller and network, are older than the list of
/// valid attachments, and are none of theirs.
pub(super) fn collect(call: &Call, valid: &[ValidAttachment]) -> Result<(), Error> {
    let listed_at = mark::listed_at(call, SystemTime::now());
    let network = call.network.as_str();
    let kept: Vec<String> = valid.iter().map(|it| device_name(network, &it.container)).collect();
    let mut host = Netlink::open().map_err(kernel_error)?;
    let links = host.link_states().map_err(kernel_error)?;
    let is_stale = |link: &&LinkState| {
        let mark = link.alias.as_deref().and_then(Mark::parse);
        link.kind.name() == "ifb"
            && link.name.starts_with(PREFIX)
            && !kept.contains(&link.name)
            && mark.is_some_and(|mark| mark.is_of(call) && mark.made < listed_at)
    };
    let stale: Vec<&LinkState> = links.iter().filter(is_stale).collect();
    for link in &stale {
        log::info!("interface {:?} is deleted: the attachment is gone", link.name);
    }
    let changes: Vec<_> =
        stale.iter().map(|link| Change::delete_link(LinkId::Index(link.index))).collect();
    host.apply(&changes).map_err(kernel_error)
}

/// Who has made a device, for which network and when: its alias. An alias has 255 bytes at most, so
/// that the network is hashed.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mark {
    caller: String,
    network: String,
    made: SystemTime,
}

impl Mark {
    fn of(call: &Call) -> Self {
        Self {
            caller: mark::caller(call).to_owned(),
            network: short_hash(call.network.as_str(), 32),
            made: SystemTime::now(),
        }
    }

    fn is_of(&self, call: &Call) -> bool {
        let wanted = Self::of(call);
        self.caller == wanted.caller && self.network == wanted.network
    }

    fn parse(alias: &str) -> Option<Self> {
        let mut words = alias.strip_prefix("braid-bandwidth ")?.split(' ');
        let (caller, network) = (words.next()?.to_owned(), words.next()?.to_owned());
        let milliseconds = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Self { caller, network, made: UNIX_EPOCH.checked_add(milliseconds)? })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.made.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        write!(f, "braid-bandwidth {} {} {made}", self.caller, self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_alias_is_fatal(alias in "(braid-bandwidth )?\\PC{0,60}") {
            let _ = Mark::parse(&alias);
        }
    }

    #[test]
    fn a_device_has_the_name_that_the_reference_gives_it() {
        assert_eq!(device_name("testnet", "cid1"), "bwpe1a60f34a568");
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let made = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mark = Mark { caller: "braid".to_owned(), network: "0af".to_owned(), made };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        for alias in
            ["", "braid-bandwidth", "braid-bandwidth a b", "braid-bandwidth a b x", "other a b 5"]
        {
            assert_eq!(Mark::parse(alias), None, "{alias}");
        }
    }
}
