//! One mapping of a port (capability `portMappings`).

use std::fmt;
use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::keys;
use cni::quoted::Quoted;
use linux::family::Family;
use serde_json::{Map, Value};

/// The most mappings of an attachment: beyond, a kernel would be busy with one pod.
pub(super) const MAX_MAPPINGS: usize = 4096;

/// A port of the host, and the port of the container that it leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    pub(super) host_port: u16,
    pub(super) container_port: u16,
    /// The address of the host, without which the port is open on all.
    pub(super) host_ip: Option<IpAddr>,
}

/// A protocol that has ports. The order is that of the names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Protocol {
    Sctp,
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Sctp, Self::Tcp, Self::Udp];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sctp => "sctp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Mapping {
    /// Whether it is one of the family: of both, unless it names an address.
    pub(super) fn is_of(&self, family: Family) -> bool {
        self.host_ip.is_none_or(|ip| Family::of(ip) == family)
    }

    /// The address of the host, unless it stands for all.
    pub(super) fn only_ip(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    fn read(at: usize, value: &Value) -> Result<Self, Error> {
        let path = format!("runtimeConfig.portMappings[{at}]");
        let object = value.as_object().ok_or_else(|| wrong(&path, "an object", value))?;
        Ok(Self {
            protocol: read_protocol(&path, object)?,
            host_port: read_port(&path, object, "hostPort")?,
            container_port: read_port(&path, object, "containerPort")?,
            host_ip: read_ip(&path, object)?,
        })
    }
}

/// The mappings that the runtime hands over.
pub(super) fn read_all(value: Option<&Value>) -> Result<Vec<Mapping>, Error> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let path = "runtimeConfig.portMappings";
    let list = value.as_array().ok_or_else(|| wrong(path, "a list", value))?;
    if list.len() > MAX_MAPPINGS {
        let problem = format!("\"{path}\" has {} entries: {MAX_MAPPINGS} are the most", list.len());
        return Err(Error::new(Code::CONFIG, problem));
    }
    list.iter().enumerate().map(|(at, value)| Mapping::read(at, value)).collect()
}

fn read_protocol(path: &str, object: &Map<String, Value>) -> Result<Protocol, Error> {
    let value = keys::get(object, "protocol").unwrap_or(&Value::Null);
    let name = value.as_str().map(str::to_ascii_lowercase);
    let known = Protocol::ALL.into_iter().find(|known| Some(known.as_str()) == name.as_deref());
    known.ok_or_else(|| wrong(&format!("{path}.protocol"), "\"tcp\", \"udp\" or \"sctp\"", value))
}

fn read_port(path: &str, object: &Map<String, Value>, key: &str) -> Result<u16, Error> {
    let value = keys::get(object, key).unwrap_or(&Value::Null);
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| wrong(&format!("{path}.{key}"), "a port from 1 to 65535", value))
}

fn read_ip(path: &str, object: &Map<String, Value>) -> Result<Option<IpAddr>, Error> {
    let Some(value) = keys::get(object, "hostIP") else { return Ok(None) };
    match value.as_str() {
        Some("") => Ok(None),
        text => {
            let parsed = text.and_then(|text| text.parse::<IpAddr>().ok());
            let ip = parsed.ok_or_else(|| wrong(&format!("{path}.hostIP"), "an IP address", value));
            Ok(Some(ip?.to_canonical()))
        }
    }
}

fn wrong(path: &str, expected: &str, found: &Value) -> Error {
    let found = Quoted::value(found);
    Error::new(Code::CONFIG, format!("\"{path}\" must be {expected}, not {found}"))
}
