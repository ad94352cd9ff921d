//! Routing rules: which table packets of a source are routed by.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::RouteHeader;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::change::Change;
use super::error::{NetlinkError, Object, Operation};
use super::route::address_family;
use super::{Netlink, fault};
use crate::family::Family;

/// A rule as the kernel lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The sources that it is for; `None` for any.
    pub source: Option<IpNetwork>,
    /// The table that it leads to; `None` if it leads to none.
    pub table: Option<u32>,
    message: RuleMessage,
}

impl Rule {
    fn object(&self) -> Object {
        Object::Rule { source: self.source, table: self.table.unwrap_or_default() }
    }
}

impl Netlink {
    /// The rules of a family, in the order in which they count.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that it has no such family is none.
    pub fn rules(&mut self, family: Family) -> Result<Vec<Rule>, NetlinkError> {
        let mut request = RuleMessage::default();
        request.header.family = address_family(family);
        let listed =
            self.sockets().dumps.dump(&Message::GetRule(request), |_| true, |it| read(it, family));
        listed.map_err(|errno| fault(Operation::List, Object::Rules(family), errno))
    }
}

impl Change<'_> {
    /// Adds a rule: packets from `source` are routed by `table`. Its priority is before those of
    /// the rules that are there but for the first.
    pub fn add_rule(source: IpNetwork, table: u32) -> Self {
        let mut message = RuleMessage::default();
        let header = &mut message.header;
        header.family = address_family(Family::of(source.ip()));
        header.src_len = source.prefix();
        header.action = RuleAction::ToTable;
        header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes =
            vec![RuleAttribute::Source(source.network()), RuleAttribute::Table(table)];
        let object = Object::Rule { source: Some(source), table };
        Self::with_flags(
            Message::NewRule(message),
            NLM_F_CREATE | NLM_F_EXCL,
            Operation::Add,
            object,
        )
    }

    /// Deletes a rule; done also if it is gone.
    pub fn delete_rule(rule: &Rule) -> Self {
        let message = Message::DelRule(rule.message.clone());
        Self::with_flags(message, 0, Operation::Delete, rule.object()).unless_absent()
    }
}

/// The rule in a reply. A kernel without a family answers with those of all.
fn read(reply: Message, family: Family) -> Option<Rule> {
    let Message::NewRule(message) = reply else { return None };
    if message.header.family != address_family(family) {
        return None;
    }
    let mut source: Option<IpAddr> = None;
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(ip) => source = Some(*ip),
            RuleAttribute::Table(id) => table = *id,
            _ => {}
        }
    }
    let source = source.and_then(|ip| IpNetwork::new(ip, message.header.src_len).ok());
    let leads = message.header.action == RuleAction::ToTable;
    Some(Rule { source, table: Some(table).filter(|_| leads), message })
}
