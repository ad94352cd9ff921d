//! The names of the interfaces: asked for, or given.

use std::collections::BTreeSet;

use super::{Inputs, PlanError, label};
use crate::selection::Selection;
use cni::name::InterfaceName;

/// The names that interfaces get by themselves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Series {
    /// `net1` and so on, as in Multus.
    #[default]
    Net,
    /// `eth1` and so on, as in CNI-Genie.
    Eth,
}

impl Series {
    fn name(self, number: usize) -> String {
        match self {
            Self::Net => format!("net{number}"),
            Self::Eth => format!("eth{number}"),
        }
    }
}

/// One name for each extra network: the one asked for, or `net<position>`, as Multus counts, or the
/// next number that is neither taken nor asked for.
pub(super) fn interface_names(inputs: &Inputs<'_>) -> Result<Vec<InterfaceName>, PlanError> {
    let primary = &inputs.sandbox.interface;
    for selected in &inputs.selected {
        check_asked_name(&selected.selection, primary, &inputs.links)?;
    }
    let asked = inputs.selected.iter().map(|selected| selected.selection.interface.as_ref());
    let mut taken: BTreeSet<String> = inputs.links.clone();
    taken.insert(primary.to_string());
    taken.extend(asked.clone().flatten().map(ToString::to_string));
    let of_node = inputs.node_networks.iter().map(|network| (network.series, None));
    let slots = of_node.chain(asked.map(|asked| (Series::Net, asked)));
    let (mut nets, mut eths) = (0, 0);
    let name_for = |(series, asked): (Series, Option<&InterfaceName>)| {
        let position: &mut usize = if series == Series::Eth { &mut eths } else { &mut nets };
        *position += 1;
        asked.cloned().or_else(|| {
            let free = (*position..)
                .map(|number| series.name(number))
                .find(|name| !taken.contains(name))?;
            taken.insert(free.clone());
            free.parse().ok()
        })
    };
    Ok(slots.filter_map(name_for).collect())
}

fn check_asked_name(
    selection: &Selection,
    primary: &InterfaceName,
    links: &BTreeSet<String>,
) -> Result<(), PlanError> {
    let Some(interface) = &selection.interface else { return Ok(()) };
    let reason = if interface == primary {
        "it is the pod's primary interface"
    } else if links.contains(interface.as_str()) {
        "the sandbox already has an interface of that name"
    } else {
        return Ok(());
    };
    Err(PlanError::InterfaceTaken {
        label: label(selection),
        interface: interface.clone(),
        reason: reason.to_owned(),
    })
}
