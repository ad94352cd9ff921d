//! The plan of networks that a running pod gets beside those that it has: the same reading, rules
//! and refusals as at its start.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{PodRequest, admission, devices, host_link, link_names, refuse_while_draining};
use crate::config::Config;
use crate::definition::{Api, Finder, NodeDefinitions};
use crate::delegate::Installed;
use crate::plan::{self, Attachment, Plan, PlanError, Source};
use crate::pod::Pod;
use crate::selection::Selection;
use cni::error::{Code, Error};
use cni::request::Sandbox;
use linux::netlink::Inside;

/// What a running pod is to get.
#[derive(Debug)]
pub(crate) struct AddedNetworks<'a> {
    /// The networks.
    pub selections: Vec<Selection>,
    /// What it has.
    pub existing: &'a [Attachment],
    /// What it has no more and could not be torn down yet.
    pub resisting: &'a [Attachment],
}

/// Makes the plan of the networks that are `added`, and holds it against the node and the sandbox.
///
/// # Errors
/// [`Error`] for the first thing that makes the plan impossible.
pub(crate) fn plan_addition(
    config: &Config,
    plugin_path: &[PathBuf],
    sandbox: &Sandbox,
    inside: &mut Inside<'_>,
    pod: &Pod,
    added: AddedNetworks<'_>,
    definitions: &mut Finder<'_>,
) -> Result<Plan, Error> {
    let AddedNetworks { selections, existing, resisting } = added;
    check_count(config, &selections, existing, resisting)?;
    check_no_ruins(&selections, resisting)?;
    check_one_default_route(&selections, existing)?;
    let pod_request = PodRequest { networks: selections, ..PodRequest::default() };
    refuse_while_draining(config, pod, &pod_request)?;
    definitions.node = NodeDefinitions::read(&config.conf_dirs);
    fetch(&pod_request, definitions);
    let mut admitted = admission::admit(config, pod, &pod_request, definitions)?;
    let has = || existing.iter().chain(resisting);
    let taken: Vec<_> = has().filter_map(|it| it.device.as_ref()).collect();
    let (networks, none) = (&mut admitted.networks, std::iter::empty());
    let without_device = devices::assign(networks, none, &taken, config, pod)?;
    let mut plan = plan::make(plan::Inputs {
        config,
        sandbox,
        primary: None,
        node_networks: Vec::new(),
        selected: admitted.networks,
        links: taken_names(inside, has())?,
    })?;
    plan.admissions = admitted.admissions;
    let found = std::mem::take(&mut definitions.warnings);
    let on_node = std::mem::take(&mut definitions.node.warnings);
    plan.warnings.extend([without_device, admitted.warnings, found, on_node].concat());
    let installed = Installed::new(plugin_path.to_vec(), config.built_in_plugins);
    plan.check_node(|kind| installed.executor(kind).map(drop), host_link, |path| path.exists())?;
    Ok(plan)
}

/// Asks the API for the definitions, all at the same time, if there is one.
fn fetch(pod_request: &PodRequest, definitions: &mut Finder<'_>) {
    if matches!(definitions.api, Api::Asked(_)) {
        let selected = pod_request.networks.iter();
        let wanted: Vec<_> = selected.map(|it| (it.namespace.clone(), it.name.clone())).collect();
        definitions.fetch(&wanted);
    }
}

/// A pod has no more networks by being changed than it may start with. Those that are not torn down
/// count, too: each is in the record until then.
fn check_count(
    config: &Config,
    selections: &[Selection],
    existing: &[Attachment],
    resisting: &[Attachment],
) -> Result<(), Error> {
    let is_of_node = |it: &&Attachment| it.source() == Source::Node;
    let extras = existing.iter().chain(resisting).filter(|it| !is_of_node(it)).count();
    let most = config.limits().networks;
    if extras + selections.len() <= most {
        return Ok(());
    }
    let problem = format!(
        "the pod would have {} extra networks, and may have {most} (maxNetworks): detach one first",
        extras + selections.len()
    );
    Err(Error::new(Code::CONFIG, problem))
}

fn check_one_default_route(
    selections: &[Selection],
    existing: &[Attachment],
) -> Result<(), PlanError> {
    let has = existing.iter().find(|it| it.default_route.is_some());
    let asks = selections.iter().find(|it| it.default_route.is_some());
    match (has, asks) {
        (Some(has), Some(asks)) => Err(PlanError::DefaultRouteTaken {
            label: format!("{}/{}", asks.namespace, asks.name),
            other: has.label.clone(),
            interface: has.interface.clone(),
        }),
        _ => Ok(()),
    }
}

/// A plugin finds what it tears down by the name of the interface, and would take what is new there
/// for its own.
fn check_no_ruins(selections: &[Selection], resisting: &[Attachment]) -> Result<(), Error> {
    let is_on = |selection: &Selection, other: &Attachment| {
        selection.interface.as_ref() == Some(&other.interface)
    };
    let on_ruins = selections.iter().find_map(|selection| {
        Some((selection, resisting.iter().find(|other| is_on(selection, other))?))
    });
    let Some((selection, other)) = on_ruins else { return Ok(()) };
    let problem = format!(
        "network \"{}/{}\": network \"{}\" on {} is not torn down yet, and has to be before another one is \
         attached there",
        selection.namespace, selection.name, other.label, other.interface
    );
    Err(Error::new(Code::TRY_AGAIN, problem))
}

/// The names that an interface cannot have: those in the sandbox, and those of attachments without
/// a link (DPDK, or one whose link alone is torn down).
fn taken_names<'a>(
    inside: &mut Inside<'_>,
    attachments: impl Iterator<Item = &'a Attachment>,
) -> Result<BTreeSet<String>, Error> {
    let mut names = link_names(inside)?;
    names.extend(attachments.map(|attachment| attachment.interface.to_string()));
    Ok(names)
}
