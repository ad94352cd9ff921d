//! What the configuration of `firewall` says, checked before anything is changed.

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::Call;
use cni::quoted::Quoted;

use super::firewalld;
use super::ingress::Ingress;
use crate::link::config::Keys;
use crate::rules::iptables::check_chain_name;

const ADMIN_CHAIN: &str = "CNI-ADMIN";
const ZONE: &str = "trusted";

/// Longest name of a zone, in bytes.
const LONGEST_ZONE: usize = 64;

/// Chains that cannot be the administrator's.
const TAKEN: &[&str] = &[
    "CNI-FORWARD",
    "CNI-ISOLATION-STAGE-1",
    "CNI-ISOLATION-STAGE-2",
    "FORWARD",
    "INPUT",
    "OUTPUT",
    "PREROUTING",
    "POSTROUTING",
    "ACCEPT",
    "DROP",
    "QUEUE",
    "RETURN",
    "REJECT",
];

/// Who lets packets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    IpTables,
    FirewallD,
    /// firewalld if it runs.
    Automatic,
}

/// The configuration of `firewall`.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) choice: Choice,
    /// The chain with the administrator's own rules, which come first.
    pub(super) admin_chain: String,
    /// From where packets reach the container.
    pub(super) ingress: Ingress,
    zone: String,
}

impl Config {
    /// Reads the configuration of a call.
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &super::FACTS);
        let choice = match keys.text("backend")? {
            Some("iptables") => Choice::IpTables,
            Some("firewalld") => Choice::FirewallD,
            Some(other) => {
                log::warn!("firewall has no backend {}: it chooses one", Quoted::text(other));
                Choice::Automatic
            }
            None => Choice::Automatic,
        };
        let admin_chain = keys.text("iptablesAdminChainName")?.unwrap_or(ADMIN_CHAIN);
        check_chain_name("iptablesAdminChainName", admin_chain)?;
        if TAKEN.contains(&admin_chain) {
            let problem =
                format!("\"iptablesAdminChainName\" is {admin_chain:?}, which has another use");
            return Err(Error::new(Code::CONFIG, problem));
        }
        let zone = keys.text("firewalldZone")?.unwrap_or(ZONE);
        check_zone(zone)?;
        Ok(Self {
            choice,
            admin_chain: admin_chain.to_owned(),
            ingress: Ingress::read(keys.text("ingressPolicy")?)?,
            zone: zone.to_owned(),
        })
    }

    /// The zone that the container's addresses belong to; none if iptables has rules for them.
    pub(super) fn zone(&self, call: &Call, deadline: Deadline) -> Option<String> {
        let is_firewalld = match self.choice {
            Choice::IpTables => false,
            Choice::FirewallD => true,
            Choice::Automatic => firewalld::is_running(call, deadline),
        };
        is_firewalld.then(|| self.zone.clone())
    }
}

fn check_zone(zone: &str) -> Result<(), Error> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte);
    if zone.len() <= LONGEST_ZONE && zone.bytes().all(is_fit) {
        return Ok(());
    }
    let problem = format!(
        "\"firewalldZone\" must be a zone's name of 1 to {LONGEST_ZONE} letters, digits, \"-\", \
         \"_\", \".\" and \"/\", not {}",
        Quoted::text(zone)
    );
    Err(Error::new(Code::CONFIG, problem))
}
