//! Plugins find an interface by its name, and a pod that may change its network may rename it:
//! KubeVirt's bridge binding does, and leaves a dummy under the name. Before a plugin's DEL the
//! interface gets its name back.

use crate::attach::snapshot::Snapshot;
use crate::ledger::Record;
use crate::verb::add::read_snapshot;
use linux::netlink::{Change, Inside, InsideError, LinkId, LinkKind, LinkSettings, Netlink};
use linux::netns::Netns;

/// What a link is called that stands under the name of the attachment at `at` and is not a dummy:
/// several can be put aside at once.
fn aside(at: usize) -> String {
    format!("braid-aside{at}")
}

/// Gives the interface of the attachment at `at` its name back, if it has another one. A dummy that
/// stands under the name goes: it only stood in for it. If that fails, the plugins have to find
/// what they can, as at a DEL.
pub(super) fn give_back(record: &Record, at: usize, netns: &Netns) {
    let (Some(attachment), Some(then)) = (record.plan.attachments.get(at), &record.complete) else {
        return;
    };
    let name = attachment.interface.as_str();
    match rename(then, name, &aside(at), netns) {
        Ok(Some(former)) => log::info!(
            "network \"{}\": interface {former} was {name} when it was attached, and is so again",
            attachment.label
        ),
        Ok(None) => {}
        Err(error) => log::warn!(
            "network \"{}\": its interface has another name than {name}, and cannot be renamed: \
             {error}",
            attachment.label
        ),
    }
}

/// Returns the name that the link had.
fn rename(
    then: &Snapshot,
    name: &str,
    aside: &str,
    netns: &Netns,
) -> Result<Option<String>, InsideError> {
    let mut inside = Inside::new(netns);
    let netlink = inside.netlink()?;
    let now = read_snapshot(netlink)?;
    let Some(link) = then.renamed(&now, name) else { return Ok(None) };
    put_aside(name, aside, netlink)?;
    // Kernels before 6.3 rename no link that is up.
    let changes = [set_up(link.index, false), Change::rename_link(link.index, name)];
    netlink.apply(&changes)?;
    Ok(Some(link.name.clone()))
}

/// Gives what was put aside its name back, once the attachment is gone.
pub(super) fn restore_aside(record: &Record, at: usize, netns: &Netns) {
    let Some(attachment) = record.plan.attachments.get(at) else { return };
    let (name, aside_name) = (attachment.interface.as_str(), aside(at));
    let restore = || -> Result<(), InsideError> {
        let mut inside = Inside::new(netns);
        let netlink = inside.netlink()?;
        let Some(aside) = netlink.find(LinkId::Name(&aside_name))? else { return Ok(()) };
        let changes = [Change::rename_link(aside.index, name), set_up(aside.index, aside.up)];
        Ok(netlink.apply(&changes)?)
    };
    if let Err(error) = restore() {
        log::warn!("the pod's own interface {name} is called {aside_name} now: {error}");
    }
}

fn set_up<'a>(index: u32, up: bool) -> Change<'a> {
    Change::set_link(
        LinkId::Index(index),
        &LinkSettings { up: Some(up), ..LinkSettings::default() },
    )
}

/// Takes what stands under a name out of the way.
fn put_aside(name: &str, aside: &str, netlink: &mut Netlink) -> Result<(), InsideError> {
    let Some(other) = netlink.find(LinkId::Name(name))? else { return Ok(()) };
    let changes = if other.kind == LinkKind::Dummy {
        vec![Change::delete_link(LinkId::Index(other.index))]
    } else {
        vec![set_up(other.index, false), Change::rename_link(other.index, aside)]
    };
    Ok(netlink.apply(&changes)?)
}
