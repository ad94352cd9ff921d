//! Tearing an attachment down: the interface in the container goes before its addresses are given
//! back.

use cni::error::Error;
use cni::plugin::{Call, Context};
use linux::netlink::{Change, LinkId};

use super::lease;
use super::site::{container_if_there, kernel_error};

/// DEL of a plugin whose interfaces are of the kind `kind`. What is gone is torn down: the
/// namespace, the interface.
pub(crate) fn del(call: &Call, context: &mut Context<'_>, kind: &str) -> Result<(), Error> {
    del_with_rules(call, context, kind, |_| Ok(()))
}

/// The same of a plugin that keeps rules on the host. They go before the addresses can be another
/// container's; rules that cannot be removed keep no address.
pub(crate) fn del_with_rules(
    call: &Call,
    context: &mut Context<'_>,
    kind: &str,
    remove_rules: impl FnOnce(&Context<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    delete_interface(call, kind)?;
    let removed = remove_rules(context);
    let released = lease::release(call, context);
    removed.and(released)
}

fn delete_interface(call: &Call, kind: &str) -> Result<(), Error> {
    let Some(mut netlink) = container_if_there(call)? else { return Ok(()) };
    let name = call.attachment()?.interface.as_str();
    match netlink.find(LinkId::Name(name)).map_err(kernel_error)? {
        Some(link) if link.kind.name() == kind => {
            let deletion = Change::delete_link(LinkId::Index(link.index));
            netlink.delete_links(&deletion, &[link.index]).map_err(kernel_error)
        }
        Some(link) => {
            log::warn!(
                "interface {name:?} is a {} and no {kind}: another plugin's, it stays",
                link.kind.name()
            );
            Ok(())
        }
        None => Ok(()),
    }
}
