//! The messages of the kubelet's PodResources API v1 (package `v1`, service `PodResourcesLister`),
//! with the fields that are needed; the wire format lets a reader leave out the rest.
//!
//! Derived by hand rather than generated: ten messages of one or two fields are less to read and to
//! build than a compiler for them. The tests hold them against the published proto.

use prost::Message;

/// What `Get` is asked.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetPodResourcesRequest {
    #[prost(string, tag = "1")]
    pub(super) pod_name: String,
    #[prost(string, tag = "2")]
    pub(super) pod_namespace: String,
}

/// What `Get` answers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetPodResourcesResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) pod_resources: Option<PodResources>,
}

/// What `List` is asked: nothing.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ListPodResourcesRequest {}

/// What `List` answers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListPodResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) pod_resources: Vec<PodResources>,
}

/// A pod and what its containers have.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodResources {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) containers: Vec<ContainerResources>,
}

/// A container and what it has.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerResources {
    #[prost(message, repeated, tag = "2")]
    pub(super) devices: Vec<ContainerDevices>,
    #[prost(message, repeated, tag = "5")]
    pub(super) dynamic_resources: Vec<DynamicResource>,
}

/// Devices of one resource of a device plugin. A resource comes once for each NUMA node.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerDevices {
    #[prost(string, tag = "1")]
    pub(super) resource_name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) device_ids: Vec<String>,
}

/// What dynamic resource allocation gave for one claim.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DynamicResource {
    /// The claim's class, up to Kubernetes 1.30; claims have none since.
    #[prost(string, tag = "1")]
    pub(super) class_name: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) claim_resources: Vec<ClaimResource>,
}

/// One device of a claim; up to Kubernetes 1.33 all that one driver gave.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ClaimResource {
    #[prost(message, repeated, tag = "1")]
    pub(super) cdi_devices: Vec<CdiDevice>,
    /// From Kubernetes 1.34 on.
    #[prost(string, tag = "2")]
    pub(super) driver_name: String,
}

/// A device's name in the Container Device Interface: `vendor.com/class=device`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CdiDevice {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}
