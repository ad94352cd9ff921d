//! CHECK (CNI 1.1.0, section 2): each delegate's own CHECK with the result of its own ADD, then the
//! kernel against what it showed when ADD ended.

use std::cell::LazyCell;

use serde_json::Value;

use super::{Session, add, del, key_of, open_netns, repair};
use crate::attach::default_route;
use crate::attach::snapshot::Snapshot;
use crate::attach::{Attacher, Place};
use crate::config::CheckNetworks;
use crate::ledger::{Mode, Record};
use crate::plan::{Attachment, Role};
use crate::pod::Pod;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::family::Family;
use cni::request::Sandbox;
use cni::result::AttachmentResult;
use linux::netlink::{Inside, Link, Netlink};
use plugins::kernel::kernel_error;

pub(super) fn check(session: &mut Session<'_>, sandbox: &Sandbox) -> Result<(), Error> {
    let pod = Pod::from_args(&sandbox.args)?;
    check_pod(session, sandbox).map_err(|error| error.about(format!("pod {pod}")))
}

fn check_pod(session: &mut Session<'_>, sandbox: &Sandbox) -> Result<(), Error> {
    let deadline = Deadline::after(super::limit::OTHER);
    let netns = open_netns(sandbox)?;
    let Some(record) = session.ledger.read(&key_of(sandbox))? else {
        return check_unrecorded(session, sandbox, deadline);
    };
    if record.plan.netns.id != netns.id() {
        let problem = format!(
            "{} is not the network namespace that container {} was attached in",
            sandbox.netns, sandbox.container
        );
        return Err(Error::new(Code::DRIFT, problem));
    }
    let now = add::read_snapshot(Inside::new(&netns).netlink().map_err(kernel_error)?)
        .map_err(kernel_error)?;
    check_delegates(session, sandbox, &record, &now, deadline)
        .and_then(|()| check_kernel(session, &record, &now))
        .map_err(|error| with_advice(&record, error))
}

/// A pod that asked for nothing has no record behind a chained Braid, nor may one that ran while
/// the state directory could not be written: the primary's CHECK is all there is.
fn check_unrecorded(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    deadline: Deadline,
) -> Result<(), Error> {
    let Some(primary) = del::current_primary(session, sandbox)? else { return Ok(()) };
    let result = del::requested_result(session, &primary).unwrap_or_default();
    Ok(attacher(session, sandbox).check(&primary, &result, deadline)?)
}

fn attacher<'s, 'a>(session: &'s mut Session<'a>, sandbox: &'s Sandbox) -> Attacher<'s, 'a> {
    let place = Place { container: &sandbox.container, netns: &sandbox.netns };
    session.attacher(place)
}

fn check_delegates(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    record: &Record,
    now: &Snapshot,
    deadline: Deadline,
) -> Result<(), Error> {
    let scope = session.config.check_networks;
    let host = LazyCell::new(|| {
        Netlink::open().and_then(|mut netlink| netlink.links()).unwrap_or_default()
    });
    for (at, attachment, result) in record.remaining() {
        let is_extra = attachment.role == Role::Extra;
        if is_extra && (scope != CheckNetworks::All || is_left_alone(record, at, attachment, now)) {
            continue;
        }
        let Some(result) = result else {
            let problem = format!(
                "network \"{}\" on {} was never attached",
                attachment.label, attachment.interface
            );
            return Err(Error::new(Code::DRIFT, problem));
        };
        let mut result = expected_result(record, at, attachment, result)?;
        show_current_host_macs(&mut result, &host);
        attacher(session, sandbox).check(attachment, &result, deadline)?;
    }
    Ok(())
}

/// Whether the pod is not expected to have an extra network as its ADD has left it: it is being
/// attached or detached, or the pod has put something in place of its interface, which plugins
/// would find by its name.
fn is_left_alone(record: &Record, at: usize, attachment: &Attachment, now: &Snapshot) -> bool {
    let then = record.complete.as_ref();
    record.pending.contains(&at)
        || then.is_some_and(|then| then.stood_in_for(now, attachment.interface.as_str()).is_some())
}

/// The result that an attachment's CHECK is held against: its own, without the default routes that
/// we moved elsewhere or gave back, and those that took it in its place, since reference plugins
/// look for each route of it.
fn expected_result(
    record: &Record,
    at: usize,
    attachment: &Attachment,
    result: &Value,
) -> Result<Value, Error> {
    let mover = record.remaining().find_map(|(mover, other, result)| {
        Some((mover, other, other.default_route.as_ref()?, result?))
    });
    let version = attachment.network.version;
    let mut expected = AttachmentResult::read_lenient(result, version)?;
    let given_back = given_back(record, attachment, &expected);
    let routes = expected.routes.len();
    if let Some(then) = &record.complete {
        expected.routes.retain(|route| !then.has_removed(&attachment.interface, route));
    }
    if mover.is_none() && given_back.is_empty() && expected.routes.len() == routes {
        return Ok(result.clone());
    }
    given_back.into_iter().for_each(|family| expected.replace_default_routes(family, &[]));
    let Some((mover, other, gateways, moved)) = mover else { return Ok(expected.write(version)) };
    let moved = AttachmentResult::read_lenient(moved, other.network.version)?;
    for change in default_route::changes(gateways, &moved) {
        let kept = if mover == at { change.hops.as_slice() } else { &[] };
        expected.replace_default_routes(change.family, kept);
    }
    Ok(expected.write(version))
}

/// The families in which the result of an extra network has a default route that its link had no
/// more when ADD ended.
fn given_back(record: &Record, attachment: &Attachment, result: &AttachmentResult) -> Vec<Family> {
    let then = record.complete.as_ref().filter(|_| attachment.role == Role::Extra);
    let Some(then) = then.filter(|then| then.link(attachment.interface.as_str()).is_some()) else {
        return Vec::new();
    };
    let of =
        |family: Family| then.default_routes.iter().filter(move |route| route.family == family);
    let has_route = |family| of(family).any(|route| route.is_through(&attachment.interface));
    let lost = |family: &Family| !result.default_hops(*family).is_empty() && !has_route(*family);
    Family::ALL.into_iter().filter(lost).collect()
}

/// The MAC of a bridge without an address of its own follows its ports: it changes as other pods
/// come and go, and the bridge plugin's CHECK fails for one that is not as ADD saw it.
fn show_current_host_macs(result: &mut Value, host: &[Link]) {
    let text = |interface: &Value, key: &str| {
        interface.get(key).and_then(Value::as_str).map(str::to_owned)
    };
    let interfaces = result.get_mut("interfaces").and_then(Value::as_array_mut);
    for interface in interfaces.into_iter().flatten() {
        if text(interface, "sandbox").is_some_and(|sandbox| !sandbox.is_empty()) {
            continue;
        }
        let link = host.iter().find(|link| text(interface, "name").as_ref() == Some(&link.name));
        if let (Some(mac), Some(object)) =
            (link.and_then(|link| link.mac.clone()), interface.as_object_mut())
        {
            object.insert("mac".to_owned(), Value::from(mac));
        }
    }
}

fn check_kernel(session: &Session<'_>, record: &Record, now: &Snapshot) -> Result<(), Error> {
    let Some(then) = &record.complete else {
        return Err(Error::new(
            Code::DRIFT,
            "its ADD never ended: delete the pod to have it attached anew",
        ));
    };
    let primary_only = session.config.check_networks == CheckNetworks::Primary;
    let extras = record
        .remaining()
        .filter(|(_, attachment, _)| attachment.role == Role::Extra && !primary_only)
        .filter(|(at, ..)| !record.pending.contains(at));
    // Behind a chained Braid others of the primary's chain change its interface: tuning sets the
    // MAC, say.
    let primary = (record.plan.mode == Mode::Delegating).then_some(&record.plan.key.interface);
    let interfaces: Vec<_> =
        primary.into_iter().chain(extras.map(|(_, attachment, _)| &attachment.interface)).collect();
    let torn_down = record.torn_down().filter(|(_, it)| !(primary_only && it.role == Role::Extra));
    let mut drift = then.drift(now, &interfaces);
    drift.extend(torn_down.map(|(_, attachment)| repair::lacking(attachment)));
    if drift.is_empty() {
        return Ok(());
    }
    let drift: Vec<String> = drift.iter().map(ToString::to_string).collect();
    let drift = drift.join("; ");
    let advice = match record.changing().next() {
        None => "; delete the pod to have it attached anew",
        Some(_) => "",
    };
    let problem = format!("the sandbox is not as it was attached: {drift}{advice}");
    Err(Error::new(Code::DRIFT, problem))
}

/// What an attach or a detach has left that was killed, the default route on its way say, needs no
/// new pod.
fn with_advice(record: &Record, error: Error) -> Error {
    let Some((_, Attachment { label, interface, .. })) = record.changing().next() else {
        return error;
    };
    let msg = format!(
        "{}; an attach or a detach of network \"{label}\" on {interface} was broken off: run braid \
         repair on the node, which takes back what it has changed",
        error.msg
    );
    Error { msg, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_hosts_interfaces_are_shown_as_they_are_now() {
        let host = ["br-blue", "eth0"].map(|name| Link {
            index: 1,
            name: name.to_owned(),
            mac: Some("02:00:00:00:00:02".to_owned()),
            mtu: None,
            up: true,
            parent: None,
            addresses: Vec::new(),
        });
        let mut result = json!({"interfaces": [
            {"name": "br-blue", "mac": "02:00:00:00:00:01", "note": "kept"},
            {"name": "gone", "mac": "02:00:00:00:00:01", "sandbox": ""},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod"},
        ]});
        show_current_host_macs(&mut result, &host);
        let expected = json!({"interfaces": [
            {"name": "br-blue", "mac": "02:00:00:00:00:02", "note": "kept"},
            {"name": "gone", "mac": "02:00:00:00:00:01", "sandbox": ""},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod"},
        ]});
        assert_eq!(result, expected);
    }
}
