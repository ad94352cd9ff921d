//! Sources of a zone of firewalld, over the system's message bus. They are gone at its restart.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::Call;
use cni::request::Environment;

use crate::rules::bus::{self, Address, Bus, BusError, Reply};
use crate::rules::owner::host;

const SERVICE: &str = "org.fedoraproject.FirewallD1";
const ZONES: Address = Address {
    service: SERVICE,
    path: "/org/fedoraproject/FirewallD1",
    interface: "org.fedoraproject.FirewallD1.zone",
};

/// How long firewalld may take for one change: it may be loading its rules.
const LIMIT: Duration = Duration::from_secs(30);

/// firewalld on the bus.
#[derive(Debug)]
pub(super) struct FirewallD(Bus);

/// Whether firewalld runs. Without a bus it does not.
pub(super) fn is_running(call: &Call, deadline: Deadline) -> bool {
    let bus = Bus::open(&bus::socket(&call.environment), deadline.within(LIMIT));
    bus.and_then(|mut bus| bus.has_owner(SERVICE)).unwrap_or(false)
}

/// Whether firewalld runs, or the bus of this process does not tell.
pub(super) fn may_run() -> bool {
    let socket = bus::socket(&Environment::of_process());
    match Bus::open(&socket, Deadline::after(LIMIT)) {
        Ok(mut bus) => bus.has_owner(SERVICE).unwrap_or(true),
        Err(BusError::Unreachable(error)) => {
            !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
        }
        Err(_) => true,
    }
}

impl FirewallD {
    pub(super) fn open(call: &Call, deadline: Deadline) -> Result<Self, Error> {
        Bus::open(&bus::socket(&call.environment), deadline.within(LIMIT)).map(Self).map_err(about)
    }

    /// Fails if firewalld does not run.
    pub(super) fn check_running(&mut self) -> Result<(), Error> {
        if self.0.has_owner(SERVICE).map_err(about)? {
            return Ok(());
        }
        Err(Error::new(Code::IO, "firewalld does not run: start it, or set \"backend\""))
    }

    pub(super) fn add_source(&mut self, zone: &str, ip: IpAddr) -> Result<(), Error> {
        match self.0.call(&ZONES, "addSource", &[zone, &host(ip).to_string()]) {
            Err(error) if error.says("ZONE_ALREADY_SET") => Ok(()),
            outcome => outcome.map(drop).map_err(about),
        }
    }

    fn remove_source(&mut self, zone: &str, ip: IpAddr) -> Result<(), Error> {
        match self.0.call(&ZONES, "removeSource", &[zone, &host(ip).to_string()]) {
            Err(error) if error.says("UNKNOWN_SOURCE") || error.says("INVALID_ZONE") => Ok(()),
            outcome => outcome.map(drop).map_err(about),
        }
    }

    pub(super) fn has_source(&mut self, zone: &str, ip: IpAddr) -> Result<bool, Error> {
        let answer = self.0.call(&ZONES, "querySource", &[zone, &host(ip).to_string()]);
        answer.map(|reply: Reply| reply.is_true()).map_err(about)
    }
}

/// Takes the addresses out of the zone. A firewalld that does not run has none.
pub(super) fn close(
    call: &Call,
    deadline: Deadline,
    zone: &str,
    ips: &[IpAddr],
) -> Result<(), Error> {
    if !is_running(call, deadline) {
        return Ok(());
    }
    let mut service = FirewallD::open(call, deadline)?;
    ips.iter().try_for_each(|ip| service.remove_source(zone, *ip))
}

fn about(error: BusError) -> Error {
    Error::new(Code::IO, error).about("firewalld")
}
