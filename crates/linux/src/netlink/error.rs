//! What the kernel refused, and what to do about the refusals that people meet.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use crate::family::Family;

/// Most characters of a name that an error quotes.
const QUOTED: usize = 64;

/// A call that the kernel refused or did not answer.
///
/// No sentence says "not found" or "no such file": runtimes take these for a DEL that succeeded.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}: {}", reason(object, errno))]
pub struct NetlinkError {
    /// What was to be done.
    pub operation: Operation,
    /// To what.
    pub object: Object,
    /// The kernel's answer as an OS error, or why there was none.
    #[source]
    pub errno: io::Error,
}

impl NetlinkError {
    /// Whether the kernel knows no way to the gateway of a route.
    pub fn is_unreachable(&self) -> bool {
        let errno = self.errno.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH))
    }
}

/// What was to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Opening the socket.
    Open,
    /// Sending to it, or waiting for its answer.
    Reach,
    /// Listing objects of a kind.
    List,
    /// Looking one up.
    Find,
    /// Making a link.
    Create,
    /// Changing one.
    Configure,
    /// Giving one another name.
    Rename,
    /// Moving one into another namespace.
    Move,
    /// Adding a route, an address or a VLAN.
    Add,
    /// Deleting any of these.
    Delete,
    /// Putting a deleted route back.
    Restore,
}

/// What it was to be done to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Object {
    /// The socket itself.
    Socket,
    /// All links.
    Links,
    /// The addresses of all links.
    Addresses,
    /// The routes of a family.
    Routes(Family),
    /// The routing rules of a family.
    Rules(Family),
    /// The queueing disciplines of the link of this index.
    Qdiscs(u32),
    /// A routing rule.
    Rule {
        /// The sources that it is for, if not all.
        source: Option<IpNetwork>,
        /// The table that it leads to.
        table: u32,
    },
    /// The link of this name.
    Link(String),
    /// The link of this index.
    LinkIndex(u32),
    /// A link that is to be made.
    NewLink {
        /// Its name.
        name: String,
        /// Its kind, as the kernel names it.
        kind: &'static str,
    },
    /// A VLAN of a bridge's port.
    Vlan {
        /// The port's index.
        port: u32,
        /// The VLAN's ID.
        vlan: u16,
    },
    /// An address of a link.
    Address {
        /// The address.
        address: IpNetwork,
        /// The link's index.
        link: u32,
    },
    /// A route.
    Route {
        /// Its family.
        family: Family,
        /// Where it leads; `None` for a default route.
        destination: Option<IpNetwork>,
        /// The next router, if any.
        gateway: Option<IpAddr>,
        /// The link that it leaves through, if any.
        link: Option<RouteLink>,
    },
}

/// A route's link, as it was found after the refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteLink {
    /// The link of this name, which is set up.
    Up(String),
    /// The link of this name, which is down.
    Down(String),
    /// No link has this index any more.
    Gone(u32),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Reach => "reach the kernel by",
            Self::Create => "create",
            Self::Configure => "configure",
            Self::Rename => "rename",
            Self::Move => "move",
            Self::List => "list",
            Self::Find => "look up",
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Restore => "restore",
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("a netlink socket"),
            Self::Links => f.write_str("the interfaces"),
            Self::Addresses => f.write_str("the addresses"),
            Self::Routes(family) => write!(f, "the {family} routes"),
            Self::Qdiscs(link) => write!(f, "the queueing discipline of interface #{link}"),
            Self::Rules(family) => write!(f, "the {family} routing rules"),
            Self::Rule { source: None, table } => write!(f, "the rule to table {table}"),
            Self::Rule { source: Some(source), table } => {
                write!(f, "the rule from {source} to table {table}")
            }
            Self::Link(name) => write!(f, "interface {}", quoted(name)),
            Self::LinkIndex(index) => write!(f, "interface #{index}"),
            Self::NewLink { name, kind } => write!(f, "{kind} interface {}", quoted(name)),
            Self::Vlan { port, vlan } => write!(f, "VLAN {vlan} of bridge port #{port}"),
            Self::Address { address, link } => write!(f, "address {address} of interface #{link}"),
            Self::Route { family, destination, gateway, link } => {
                write_route(f, *family, *destination)?;
                gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))?;
                link.as_ref().map_or(Ok(()), |link| write!(f, " on interface {link}"))
            }
        }
    }
}

impl fmt::Display for RouteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(name) | Self::Down(name) => f.write_str(&quoted(name)),
            Self::Gone(index) => write!(f, "#{index}"),
        }
    }
}

fn write_route(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    destination: Option<IpNetwork>,
) -> fmt::Result {
    match destination {
        Some(destination) => write!(f, "the route to {destination}"),
        None => write!(f, "the {family} default route"),
    }
}

/// A name, quoted: bounded, control characters escaped.
fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(QUOTED).collect::<String>())
}

/// Why, in the user's words if the errno is one that people meet.
fn reason(object: &Object, error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else { return error.to_string() };
    match advice(object, errno) {
        Some(advice) => format!("{advice} ({errno:?})"),
        None => errno.to_string(),
    }
}

fn advice(object: &Object, errno: Errno) -> Option<String> {
    match object {
        Object::Route { family, gateway, link, .. } => {
            let link = link.as_ref();
            gateway_advice(*gateway, link, errno).or_else(|| family_advice(*family, link, errno))
        }
        Object::Routes(family) | Object::Rules(family) => family_advice(*family, None, errno),
        Object::Address { address, .. } => address_advice(*address, errno),
        Object::NewLink { kind, .. } => new_link_advice(kind, errno),
        Object::Link(_) | Object::LinkIndex(_) => link_advice(errno),
        _ => None,
    }
    .or_else(|| general_advice(errno))
}

/// The kernel calls a gateway unreachable also if its link is down or gone.
fn gateway_advice(
    gateway: Option<IpAddr>,
    link: Option<&RouteLink>,
    errno: Errno,
) -> Option<String> {
    let gateway = gateway?;
    match (errno, link) {
        (Errno::ENETUNREACH | Errno::EHOSTUNREACH, Some(RouteLink::Gone(_))) => {
            general_advice(Errno::ENODEV)
        }
        (Errno::ENETUNREACH | Errno::EHOSTUNREACH, Some(RouteLink::Down(_))) => {
            general_advice(Errno::ENETDOWN)
        }
        (Errno::ENETUNREACH | Errno::EHOSTUNREACH, _) => {
            Some(format!("gateway {gateway} is in no subnet of the interface"))
        }
        (Errno::EINVAL, _) => {
            Some(format!("is gateway {gateway} one of our own addresses, or no router's?"))
        }
        _ => None,
    }
}

fn family_advice(family: Family, link: Option<&RouteLink>, errno: Errno) -> Option<String> {
    let refused = matches!(errno, Errno::EACCES | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT);
    (family == Family::V6 && refused).then(|| {
        let conf = sysctl_name(link);
        format!(
            "is IPv6 enabled in the kernel and not disabled by sysctl \
                 net.ipv6.conf.{conf}.disable_ipv6?"
        )
    })
}

fn address_advice(address: IpNetwork, errno: Errno) -> Option<String> {
    match errno {
        Errno::EEXIST => Some("the interface has it already".to_owned()),
        Errno::EINVAL => Some("the kernel takes no such address".to_owned()),
        _ => family_advice(Family::of(address.ip()), None, errno),
    }
}

fn new_link_advice(kind: &str, errno: Errno) -> Option<String> {
    let advice = match errno {
        Errno::EEXIST if kind == "vlan" => {
            "there is an interface of this name, or the parent interface has this VLAN already"
        }
        Errno::EEXIST => "there is an interface of this name already",
        Errno::EOPNOTSUPP => {
            return Some(format!(
                "the kernel does not support such a {kind}: is its module loaded?"
            ));
        }
        Errno::EBUSY => "the parent interface is in use by another kind of virtual interface",
        Errno::EINVAL | Errno::ERANGE => {
            "does the parent interface allow such an MTU, and such a kind on top?"
        }
        Errno::ENODEV => "the parent interface is gone",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn link_advice(errno: Errno) -> Option<String> {
    let advice = match errno {
        Errno::EEXIST => "there is an interface of the new name already",
        Errno::EOPNOTSUPP => "the kernel does not allow it for this kind of interface",
        Errno::EINVAL | Errno::ERANGE => "the interface does not take this value",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn sysctl_name(link: Option<&RouteLink>) -> &str {
    match link {
        Some(RouteLink::Up(name) | RouteLink::Down(name)) => name,
        Some(RouteLink::Gone(_)) | None => "all",
    }
}

fn general_advice(errno: Errno) -> Option<String> {
    let advice = match errno {
        Errno::EPERM => "needs CAP_NET_ADMIN",
        Errno::ENODEV | Errno::ENXIO => "the interface is gone",
        Errno::ENETDOWN => "the interface is down",
        Errno::EEXIST => "there is one with the same metric already",
        Errno::ENOENT | Errno::ESRCH => "the kernel does not have it",
        Errno::EINTR => "they kept changing while they were read, try again",
        Errno::ENOBUFS => "the kernel's answers did not fit the socket's buffer, try again",
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests;
