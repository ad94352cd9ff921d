//! The devices of one pod, and who has got which: one bookkeeping for all its networks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::kubelet::{self, KubeletError};
use super::message::{ContainerDevices, ContainerResources, DynamicResource};
use super::name::{InvalidName, check_resource, is_pci_address};
use crate::pod::name::Namespace;
use cni::error::{Code, Error};
use cni::quoted::Quoted;

/// Why a network gets no device. The pod is named by the call's error, and the network by the
/// caller.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The kubelet does not say.
    #[error("cannot ask the kubelet which devices the pod has: {source}")]
    Kubelet {
        /// Why.
        #[source]
        source: Box<KubeletError>,
    },
    /// The definition names something that is no resource.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The pod has no such devices.
    #[error(
        "the pod has no device of resource {resource}, it has {has}; add the resource to \
         \"limits\" of one of its containers, or correct \"k8s.v1.cni.cncf.io/resourceName\" in \
         the definition"
    )]
    NotAllocated {
        /// The resource.
        resource: Quoted,
        /// What the kubelet has given the pod.
        has: String,
    },
    /// Every device is given.
    #[error(
        "the pod has {allocated} of resource {resource}, and its networks ask for {asked} or more; \
         raise the resource in \"limits\" of its containers, or leave a network out"
    )]
    Exhausted {
        /// The resource.
        resource: Quoted,
        /// How many devices the kubelet has given the pod.
        allocated: usize,
        /// How many have been asked for, this one included.
        asked: usize,
    },
    /// A selection names a device that the pod does not have.
    #[error(
        "the pod asks for device {device} of resource {resource}, and the kubelet has given it \
         {has}; leave \"deviceID\" out, and the pod gets one of them"
    )]
    NotOfPod {
        /// The resource.
        resource: Quoted,
        /// The device that was asked for.
        device: Quoted,
        /// The devices that the pod has.
        has: String,
    },
    /// A selection names a device that another network has.
    #[error(
        "the pod asks for device {device} of resource {resource} twice; leave \"deviceID\" out of \
         one of the networks"
    )]
    Given {
        /// The resource.
        resource: Quoted,
        /// The device.
        device: Quoted,
    },
}

impl DeviceError {
    /// The error as the protocol has it: 11 if trying again may help.
    pub fn to_protocol(&self) -> Error {
        let code = match self {
            Self::Kubelet { source, .. } if source.is_transient() => Code::TRY_AGAIN,
            Self::Kubelet { .. } => Code::IO,
            Self::Name(_)
            | Self::NotAllocated { .. }
            | Self::Exhausted { .. }
            | Self::NotOfPod { .. }
            | Self::Given { .. } => Code::CONFIG,
        };
        Error::new(code, self)
    }
}

/// What the kubelet has given a pod.
///
/// Devices keep the kubelet's order: containers as the pod has them, and each one's devices. A
/// device of a device plugin is found under its resource's name. A device of dynamic resource
/// allocation has the part of its CDI name after the `=` as its ID, as in Multus, and is found
/// under each of: the claim's class (Kubernetes up to 1.30, as in Multus up to 4.2), the driver's
/// name (from 1.34), and the part of its CDI name before the `=`, which every version has.
#[derive(Debug)]
pub struct Allocation {
    /// `namespace/name`, for messages.
    pod: String,
    devices: Vec<Device>,
}

/// One device of a pod.
#[derive(Debug, Eq, PartialEq)]
struct Device {
    /// What it is, whatever resource it is asked under. Two IDs can be the same word in two
    /// resources; two PCI addresses can not.
    identity: String,
    /// The names that it is found under.
    resources: Vec<String>,
    /// What plugins are told.
    id: String,
    given: bool,
}

impl Device {
    fn found_under(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            if !self.is_of(&name) {
                self.resources.push(name);
            }
        }
    }

    fn is_of(&self, resource: &str) -> bool {
        self.resources.iter().any(|name| name == resource)
    }
}

impl Allocation {
    /// Asks the kubelet at `socket` what it has given to a pod.
    ///
    /// # Errors
    /// [`DeviceError::Kubelet`], after `limit` at the latest.
    pub fn of_pod(
        socket: &Path,
        namespace: &Namespace,
        pod: &str,
        limit: Duration,
    ) -> Result<Self, DeviceError> {
        Self::of_answer(namespace, pod, kubelet::containers_of(socket, namespace, pod, limit))
    }

    /// Reads the same from an answer of the kubelet's `List` as it is on the wire.
    ///
    /// # Errors
    /// [`DeviceError::Kubelet`].
    pub fn in_list(answer: &[u8], namespace: &Namespace, pod: &str) -> Result<Self, DeviceError> {
        Self::of_answer(namespace, pod, kubelet::containers_in_bytes(answer, namespace, pod))
    }

    fn of_answer(
        namespace: &Namespace,
        pod: &str,
        answer: Result<Vec<ContainerResources>, KubeletError>,
    ) -> Result<Self, DeviceError> {
        match answer {
            Ok(containers) => Ok(Self::new(format!("{namespace}/{pod}"), &containers)),
            Err(source) => Err(DeviceError::Kubelet { source: Box::new(source) }),
        }
    }

    /// The resources that the pod has devices of.
    pub fn resources(&self) -> BTreeSet<&str> {
        self.devices.iter().flat_map(|device| &device.resources).map(String::as_str).collect()
    }

    fn new(pod: String, containers: &[ContainerResources]) -> Self {
        let mut allocation = Self { pod, devices: Vec::new() };
        for container in containers {
            container.devices.iter().for_each(|devices| allocation.add_plugin_devices(devices));
            container.dynamic_resources.iter().for_each(|claim| allocation.add_claim(claim));
        }
        allocation
    }

    fn add_plugin_devices(&mut self, devices: &ContainerDevices) {
        for id in &devices.device_ids {
            self.add(id, &format!("{}={id}", devices.resource_name), &[&devices.resource_name]);
        }
    }

    fn add_claim(&mut self, claim: &DynamicResource) {
        for resource in &claim.claim_resources {
            for device in &resource.cdi_devices {
                match device.name.split_once('=') {
                    Some((kind, id)) if !id.contains('=') => {
                        self.add(
                            id,
                            &device.name,
                            &[&claim.class_name, &resource.driver_name, kind],
                        );
                    }
                    _ => log::warn!(
                        "pod {}: the kubelet names a CDI device {}, which is not of the form \
                         kind=device",
                        self.pod,
                        Quoted::text(&device.name)
                    ),
                }
            }
        }
    }

    fn add(&mut self, id: &str, full_name: &str, resources: &[&str]) {
        let identity =
            if is_pci_address(id) { id.to_ascii_lowercase() } else { full_name.to_owned() };
        let names =
            || resources.iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned());
        match self.devices.iter_mut().find(|device| device.identity == identity) {
            Some(device) => device.found_under(names()),
            None => {
                let mut device =
                    Device { identity, resources: Vec::new(), id: id.to_owned(), given: false };
                device.found_under(names());
                self.devices.push(device);
            }
        }
    }

    /// Gives away the next device of `resource` that no network of the pod has: its ID.
    ///
    /// # Errors
    /// [`DeviceError::Name`], [`DeviceError::NotAllocated`], [`DeviceError::Exhausted`].
    pub fn take(&mut self, resource: &str) -> Result<String, DeviceError> {
        let allocated = self.count(resource)?;
        let free = self.devices_of(resource).find(|device| !device.given);
        match free {
            Some(device) => {
                device.given = true;
                Ok(device.id.clone())
            }
            None => Err(DeviceError::Exhausted {
                resource: Quoted::text(resource),
                allocated,
                asked: allocated + 1,
            }),
        }
    }

    /// Gives away the device that a network of the pod has asked for. To be done before any
    /// [`Allocation::take`], which could give it to another.
    ///
    /// # Errors
    /// [`DeviceError::Name`], [`DeviceError::NotAllocated`], [`DeviceError::NotOfPod`],
    /// [`DeviceError::Given`].
    pub fn take_specific(&mut self, resource: &str, device: &str) -> Result<(), DeviceError> {
        self.count(resource)?;
        let found = self.devices_of(resource).find(|known| known.id == device);
        if let Some(known) = found {
            if !known.given {
                known.given = true;
                return Ok(());
            }
            let (resource, device) = (Quoted::text(resource), Quoted::text(device));
            return Err(DeviceError::Given { resource, device });
        }
        let has = list(self.devices_of(resource).map(|known| Quoted::text(&known.id).to_string()));
        let (resource, device) = (Quoted::text(resource), Quoted::text(device));
        Err(DeviceError::NotOfPod { resource, device, has })
    }

    fn devices_of<'a>(&'a mut self, resource: &'a str) -> impl Iterator<Item = &'a mut Device> {
        self.devices.iter_mut().filter(move |device| device.is_of(resource))
    }

    /// How many devices of a resource the pod has; an error if it has none.
    fn count(&mut self, resource: &str) -> Result<usize, DeviceError> {
        check_resource(resource)?;
        let count = self.devices_of(resource).count();
        if count > 0 {
            return Ok(count);
        }
        Err(DeviceError::NotAllocated { resource: Quoted::text(resource), has: self.summary() })
    }

    /// `2 of "vendor.com/a", 1 of "vendor.com/b"`, or `none at all`.
    fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.devices.iter().flat_map(|device| &device.resources) {
            *counts.entry(name).or_default() += 1;
        }
        list(counts.into_iter().map(|(name, count)| format!("{count} of {}", Quoted::text(name))))
    }
}

/// The first few of a list, in a sentence.
fn list(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let items: Vec<_> = items.collect();
    let shown: Vec<_> = items.iter().take(SHOWN).map(String::as_str).collect();
    match items.len().saturating_sub(SHOWN) {
        0 if items.is_empty() => "none at all".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
