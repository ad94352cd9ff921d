//! Queueing disciplines: how fast a link sends, and where what it receives goes.

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption,
    TcActionOption, TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage,
    TcMirror, TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use nix::errno::Errno;
use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla, NlasIterator};

use super::change::Change;
use super::error::{NetlinkError, Object, Operation};
use super::{Netlink, fault, unless};

const TOKEN_BUCKET: &str = "tbf";
const INGRESS: &str = "ingress";

/// `TCA_OPTIONS`, `TCA_TBF_PARMS` and `TCA_TBF_RATE64` (linux/pkt_sched.h).
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;

/// The first qdisc of a link, and the one for what it receives.
const ROOT: TcHandle = TcHandle { major: 1, minor: 0 };
const RECEIVED: TcHandle = TcHandle { major: 0xffff, minor: 0 };

/// Every protocol of a frame (`ETH_P_ALL`).
const ALL_PROTOCOLS: u16 = 3;

/// A token bucket filter (tc-tbf(8)): a link sends no faster than it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// Most bytes that wait to be sent.
    pub limit: u32,
    /// How long the bucket takes to fill, in the kernel's ticks ([`super::PacketClock`]).
    pub buffer: u32,
}

/// A queueing discipline as the kernel lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Qdisc {
    /// A token bucket filter.
    TokenBucket(TokenBucket),
    /// One for what is received.
    Ingress,
    /// Another.
    Other,
}

impl Netlink {
    /// The queueing disciplines of the link of this index.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that there is no such link is none.
    pub fn qdiscs(&mut self, link: u32) -> Result<Vec<Qdisc>, NetlinkError> {
        let index = i32::try_from(link).unwrap_or_default();
        let request = Message::GetQueueDiscipline(TcMessage::with_index(index));
        // The kernel lists those of all links.
        let listed = self.sockets().dumps.dump(&request, |_| true, |reply| read(reply, index));
        let listed = unless(Errno::ENODEV, listed);
        listed.map_err(|errno| fault(Operation::List, Object::Qdiscs(link), errno))
    }
}

impl Change<'_> {
    /// Makes a link send as a token bucket filter says; one that has such a qdisc already is an
    /// error.
    pub fn limit_rate(link: u32, bucket: TokenBucket) -> Self {
        let mut message = message(link, TcHandle::ROOT, ROOT, TOKEN_BUCKET);
        let parameters = DefaultNla::new(TCA_TBF_PARMS, bucket.parameters());
        let large = u32::try_from(bucket.rate).is_err();
        let rate =
            large.then(|| DefaultNla::new(TCA_TBF_RATE64, bucket.rate.to_ne_bytes().to_vec()));
        let options = std::iter::once(parameters).chain(rate).map(TcOption::Other);
        message.attributes.push(TcAttribute::Options(options.collect()));
        add(Message::NewQueueDiscipline(message), link)
    }

    /// Makes a link have a queueing discipline for what it receives, to which filters are added.
    pub fn add_ingress(link: u32) -> Self {
        add(Message::NewQueueDiscipline(message(link, TcHandle::INGRESS, RECEIVED, INGRESS)), link)
    }

    /// Sends all that a link has received, and that has an ingress qdisc, out by another link.
    pub fn redirect_received(link: u32, to: u32) -> Self {
        let mut message = message(link, RECEIVED, TcHandle::UNSPEC, TcFilterU32::KIND);
        let priority = TcHandle { major: 1, minor: ALL_PROTOCOLS.to_be() };
        message.header.info = priority.into();
        let mut selector = TcU32Selector::default();
        selector.flags = TcU32SelectorFlags::Terminal;
        selector.nkeys = 1;
        selector.keys = vec![TcU32Key::default()];
        let options = [
            TcFilterU32Option::ClassId(TcHandle { major: 1, minor: 1 }),
            TcFilterU32Option::Selector(selector),
            TcFilterU32Option::Action(vec![redirect(to)]),
        ];
        message.attributes.push(TcAttribute::Options(options.map(TcOption::U32).into()));
        add(Message::NewTrafficFilter(message), link)
    }

    /// Takes a link's own first qdisc away; done also if it has none.
    pub fn delete_rate_limit(link: u32) -> Self {
        delete(message(link, TcHandle::ROOT, ROOT, TOKEN_BUCKET), link)
    }

    /// Takes away a link's qdisc for what it receives, filters and all; done also if it has none.
    pub fn delete_ingress(link: u32) -> Self {
        delete(message(link, TcHandle::INGRESS, RECEIVED, INGRESS), link)
    }
}

fn add(message: Message, link: u32) -> Change<'static> {
    Change::with_flags(message, NLM_F_CREATE | NLM_F_EXCL, Operation::Add, Object::Qdiscs(link))
}

fn delete(message: TcMessage, link: u32) -> Change<'static> {
    let message = Message::DelQueueDiscipline(message);
    Change::with_flags(message, 0, Operation::Delete, Object::Qdiscs(link)).unless_absent()
}

fn message(link: u32, parent: TcHandle, handle: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(link).unwrap_or_default());
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

fn redirect(to: u32) -> TcAction {
    let mut generic = TcActionGeneric::default();
    generic.action = TcActionType::Stolen;
    let mut mirror = TcMirror::default();
    mirror.generic = generic;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let options = vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))];
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(options),
    ];
    action
}

impl TokenBucket {
    /// `struct tc_tbf_qopt`: two `struct tc_ratespec` of 12 bytes, which end with a rate, and three
    /// numbers. All but the rate, the limit and the buffer are 0.
    fn parameters(&self) -> Vec<u8> {
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX);
        let mut bytes = vec![0; 8];
        bytes.extend(rate.to_ne_bytes());
        bytes.extend([0; 12]);
        bytes.extend(self.limit.to_ne_bytes());
        bytes.extend(self.buffer.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    fn read(options: &[u8]) -> Option<Self> {
        let (mut parameters, mut large) = (None, None);
        for nla in NlasIterator::new(options).flatten() {
            match nla.kind() {
                TCA_TBF_PARMS => parameters = Some(nla.value().to_vec()),
                TCA_TBF_RATE64 => large = u64_at(nla.value(), 0),
                _ => {}
            }
        }
        let parameters = parameters?;
        Some(Self {
            rate: large.map_or_else(|| u32_at(&parameters, 8).map(u64::from), Some)?,
            limit: u32_at(&parameters, 24)?,
            buffer: u32_at(&parameters, 28)?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn read(reply: Message, index: i32) -> Option<Qdisc> {
    let Message::NewQueueDiscipline(message) = reply else { return None };
    if message.header.index != index {
        return None;
    }
    let kind = message.attributes.iter().find_map(|it| match it {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })?;
    match kind {
        TOKEN_BUCKET => {
            let bucket = message.attributes.iter().find_map(bucket);
            Some(bucket.map_or(Qdisc::Other, Qdisc::TokenBucket))
        }
        INGRESS => Some(Qdisc::Ingress),
        _ => Some(Qdisc::Other),
    }
}

/// Options of a kind that the library does not know are the whole attribute.
fn bucket(attribute: &TcAttribute) -> Option<TokenBucket> {
    let TcAttribute::Options(options) = attribute else { return None };
    options.iter().find_map(|option| match option {
        TcOption::Other(nla) if nla.kind() == TCA_OPTIONS => {
            let mut bytes = vec![0; nla.value_len()];
            nla.emit_value(&mut bytes);
            TokenBucket::read(&bytes)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_options_are_fatal(options: Vec<u8>) {
            let _ = TokenBucket::read(&options);
        }
    }

    #[test]
    fn a_bucket_is_read_as_it_was_written() {
        let bucket = TokenBucket { rate: 125_000, limit: 9000, buffer: 77 };
        let nla = |kind: u16, value: &[u8]| {
            let length = u16::try_from(value.len() + 4).unwrap();
            [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), value].concat()
        };
        let parameters = nla(TCA_TBF_PARMS, &bucket.parameters());
        assert_eq!(TokenBucket::read(&parameters), Some(bucket));
        let large = TokenBucket { rate: 5_000_000_000, ..bucket };
        let both = [
            nla(TCA_TBF_PARMS, &large.parameters()),
            nla(TCA_TBF_RATE64, &large.rate.to_ne_bytes()),
        ]
        .concat();
        assert_eq!(TokenBucket::read(&both), Some(large));
        for hostile in [&[][..], &[0; 3], &nla(TCA_TBF_PARMS, &[0; 20])] {
            assert_eq!(TokenBucket::read(hostile), None);
        }
    }
}
