//! Plugins that are neither Braid's nor among the reference plugins.

use crate::facts::{DeviceFact, Facts, HostLinks, Key, Property, Shape};

/// A plugin whose state is in the API, a daemon, a switch or a device.
const OUTSIDE: &[Property] = &[Property::StateOutsideNode];

/// A plugin that works on a device which the configuration names, and keeps its state in it.
const fn of_device(kind: &'static str) -> Facts {
    Facts { properties: OUTSIDE, device: DeviceFact::Needed(&["deviceID"]), ..Facts::chain(kind) }
}

/// A plugin of a cluster's network, with an agent of its own.
const fn of_agent(kind: &'static str) -> Facts {
    Facts { properties: OUTSIDE, ..Facts::chain(kind) }
}

/// A plugin that reads no device, whatever it is given.
const fn without_device(kind: &'static str) -> Facts {
    Facts { device: DeviceFact::None, ..Facts::chain(kind) }
}

pub(super) const FACTS: &[Facts] = &[
    Facts {
        properties: &[Property::StateOutsideNode, Property::FailsWithoutDevice],
        ..of_device("sriov")
    },
    Facts {
        properties: &[Property::StateOutsideNode, Property::FailsWithoutDevice],
        ..of_device("ib-sriov")
    },
    of_device("accelerated-bridge"),
    of_device("vdpa"),
    of_device("rdma"),
    of_device("userspace"),
    Facts { device: DeviceFact::Needed(&["deviceID", "pciBusID"]), ..of_device("dpdk") },
    Facts {
        key_of_host_interface: Some("master"),
        master: Some("master"),
        ..without_device("macvtap")
    },
    Facts {
        master: Some("master"),
        host_links: Some(HostLinks { key: "links", name: "name", inside: "linksInContainer" }),
        ..without_device("bond")
    },
    without_device("cnv-bridge"),
    without_device("cnv-tuning"),
    Facts {
        properties: OUTSIDE,
        keys: &[Key::host("bridge", Shape::HostInterface)],
        ..Facts::chain("ovs")
    },
    Facts {
        properties: &[Property::StateOutsideNode, Property::NameOutsideNode],
        ..Facts::chain("ovn-k8s-cni-overlay")
    },
    of_agent("calico"),
    Facts {
        properties: &[Property::StateOutsideNode, Property::RemovesOtherConfs],
        ..Facts::chain("cilium-cni")
    },
    of_agent("kube-ovn"),
    of_agent("antrea"),
    Facts { properties: OUTSIDE, ..Facts::ipam("calico-ipam") },
];
