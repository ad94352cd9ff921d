//! Which device of the pod each network gets.

use crate::config::Config;
use crate::device::{Allocation, DeviceError, KUBELET_LIMIT};
use crate::plan::{Device, NodeNetwork, SelectedNetwork};
use crate::pod::Pod;
use cni::error::Error;
use plugins::facts::{self, DeviceUse};

/// A network that may have a device of the pod.
struct Claim<'n> {
    /// How messages name the network.
    label: String,
    /// The resource that its definition names.
    resource: &'n str,
    device_use: DeviceUse,
    /// The device: first the one that the pod asks for by its ID, at the end the one that the
    /// network gets.
    device: &'n mut Option<String>,
}

/// Gives each network whose definition names a resource one of the pod's devices: those that a
/// selection names first, so that they are not given to another. The kubelet is asked once, and
/// only if there is such a network. Those in `taken` are in use. Returns what an administrator
/// should know.
///
/// # Errors
/// [`Error`] with the network's name if a device is required and there is none.
pub(super) fn assign<'n>(
    selected: &'n mut [SelectedNetwork],
    of_node: impl Iterator<Item = &'n mut NodeNetwork>,
    taken: &[&Device],
    config: &Config,
    pod: &Pod,
) -> Result<Vec<String>, Error> {
    let of_pod = selected.iter_mut().filter_map(selected_claim);
    let claims: Vec<Claim<'_>> = of_node.filter_map(node_claim).chain(of_pod).collect();
    let Some(first) = claims.first() else { return Ok(Vec::new()) };
    let allocation =
        Allocation::of_pod(&config.kubelet_socket, &pod.namespace, &pod.name, KUBELET_LIMIT);
    let mut allocation = allocation.map_err(|error| about(&first.label, error))?;
    for device in taken {
        // The kubelet may have forgotten it since: then no network can get it.
        let _ =
            allocation.take_specific(device.resource.as_deref().unwrap_or_default(), &device.id);
    }
    distribute(&mut allocation, claims)
}

fn node_claim(network: &mut NodeNetwork) -> Option<Claim<'_>> {
    let NodeNetwork { label, network, resource, device_id, .. } = network;
    let (resource, device_use) = (resource.as_deref()?, facts::device_use(network));
    Some(Claim { label: label.clone(), resource, device_use, device: device_id })
        .filter(Claim::is_due)
}

fn selected_claim(selected: &mut SelectedNetwork) -> Option<Claim<'_>> {
    let SelectedNetwork { selection, network, resource, .. } = selected;
    let label = format!("{}/{}", selection.namespace, selection.name);
    let (resource, device_use) = (resource.as_deref()?, facts::device_use(network));
    Some(Claim { label, resource, device_use, device: &mut selection.device_id })
        .filter(Claim::is_due)
}

impl Claim<'_> {
    /// Whether the kubelet has to be asked: not for plugins that read no device, nor for a resource
    /// that only marks nodes for the scheduler. A device that the pod asks for by its ID must be
    /// the pod's in any case.
    fn is_due(&self) -> bool {
        let may_have_device = match self.device_use {
            DeviceUse::Required => true,
            DeviceUse::IfGiven => !facts::is_scheduling_marker(self.resource),
            DeviceUse::Never => false,
        };
        may_have_device || self.device.is_some()
    }

    fn take(&mut self, allocation: &mut Allocation) -> Result<Option<String>, Error> {
        match allocation.take(self.resource) {
            Ok(device) => {
                *self.device = Some(device);
                Ok(None)
            }
            Err(DeviceError::NotAllocated { resource, .. })
                if self.device_use == DeviceUse::IfGiven =>
            {
                Ok(Some(format!(
                    "network \"{}\": the pod has no device of resource {resource}, and is attached \
                     without one: if the plugin needs a device, declare \"capabilities\": \
                     {{\"deviceID\": true}} in its definition",
                    self.label
                )))
            }
            Err(error) => Err(about(&self.label, error)),
        }
    }
}

fn distribute(allocation: &mut Allocation, claims: Vec<Claim<'_>>) -> Result<Vec<String>, Error> {
    let (named, unnamed): (Vec<_>, Vec<_>) =
        claims.into_iter().partition(|claim| claim.device.is_some());
    for Claim { label, resource, device, .. } in &named {
        let taken =
            device.as_deref().map_or(Ok(()), |device| allocation.take_specific(resource, device));
        taken.map_err(|error| about(label, error))?;
    }
    let mut warnings = Vec::new();
    for mut claim in unnamed {
        warnings.extend(claim.take(allocation)?);
    }
    Ok(warnings)
}

fn about(label: &str, error: DeviceError) -> Error {
    Error::from(error).about(format!("network \"{label}\""))
}
