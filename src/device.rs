//! Devices that the kubelet has given to a pod, for networks whose definition names a resource
//! (`k8s.v1.cni.cncf.io/resourceName`): which they are, that each goes to one attachment only, and
//! the files that describe them (Device Information Specification 1.1.0).
//!
//! How the parts go together on ADD:
//!
//! 1. [`Allocation::of_pod`], once for the pod and only if a network names a resource;
//! 2. [`Allocation::take_specific`] for networks whose selection names a device, then
//!    [`Allocation::take`] for the others in their order;
//! 3. each attachment's device goes to its plugins as the `deviceID` capability argument and as the
//!    legacy keys, and the path of its device-info file as `CNIDeviceInfoFile`;
//! 4. [`DeviceInfoStore::prepare`] before the plugins run, [`DeviceInfoStore::read`] after them,
//!    and [`DeviceInfoStore::remove`] when the attachment goes.

mod allocation;
mod format;
mod kubelet;
mod message;
mod name;
mod store;

pub use allocation::{Allocation, DeviceError};
pub use format::parse as parse_device_info;
pub use kubelet::KubeletError;
pub use name::check_resource;
pub use store::{DeviceInfoError, DeviceInfoStore};

use std::time::Duration;

/// Where the kubelet answers, unless its root directory is elsewhere.
pub(crate) const KUBELET_SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// Where device-info files are (Device Information Specification, section 4).
pub(crate) const DEVICE_INFO_DIR: &str = "/var/run/k8s.cni.cncf.io/devinfo";

/// How long the kubelet may take to answer.
pub(crate) const KUBELET_LIMIT: Duration = Duration::from_secs(5);

/// The definition's annotation that names the resource its devices come from.
pub(crate) const RESOURCE_ANNOTATION: &str = "k8s.v1.cni.cncf.io/resourceName";

/// The capability by which a plugin is told its device (NPWG 1.3; CNI conventions, "deviceID").
pub(crate) const DEVICE_ID_CAPABILITY: &str = "deviceID";

/// The capability by which a plugin is told where its device-info file is (device-info 1.1.0,
/// section 5.1).
pub(crate) const DEVICE_INFO_CAPABILITY: &str = "CNIDeviceInfoFile";
