//! The kinds of container runtime, and where each has its files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BIN_DIR, CONF_DIR};

/// A kind of node, by what runs its pods.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(in crate::operator) enum Kind {
    /// containerd, as kubeadm and kind have it.
    Containerd,
    /// CRI-O.
    Crio,
    /// K3s and its containerd.
    K3s,
    /// RKE2 and its containerd.
    Rke2,
    /// MicroK8s and its containerd.
    Microk8s,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::K3s, Self::Rke2, Self::Microk8s, Self::Crio, Self::Containerd];

    /// Files of which the first that is there is the runtime's configuration.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["/etc/containerd/config.toml", "/etc/cri/containerd.toml"],
            Self::Crio => &["/etc/crio/crio.conf", "/etc/crio/crio.conf.d"],
            Self::K3s => &["/var/lib/rancher/k3s/agent/etc/containerd/config.toml"],
            Self::Rke2 => &["/var/lib/rancher/rke2/agent/etc/containerd/config.toml"],
            Self::Microk8s => &[
                "/var/snap/microk8s/current/args/containerd.toml",
                "/var/snap/microk8s/current/args/containerd-template.toml",
            ],
        }
    }

    /// Where it answers, unless its configuration says otherwise.
    pub(super) fn socket(self) -> &'static str {
        match self {
            Self::Containerd => "/run/containerd/containerd.sock",
            Self::Crio => "/run/crio/crio.sock",
            Self::K3s | Self::Rke2 => "/run/k3s/containerd/containerd.sock",
            Self::Microk8s => "/var/snap/microk8s/common/run/containerd.sock",
        }
    }

    /// Where the runtime's own executable is; it has libcni in it.
    pub(super) fn executables(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["/usr/bin/containerd", "/usr/local/bin/containerd"],
            Self::Crio => &["/usr/bin/crio", "/usr/local/bin/crio"],
            Self::K3s => &["/var/lib/rancher/k3s/data/current/bin/containerd"],
            Self::Rke2 => &["/var/lib/rancher/rke2/bin/containerd"],
            Self::Microk8s => &["/snap/microk8s/current/bin/containerd"],
        }
    }

    /// The directories if the configuration does not name them.
    pub(super) fn defaults(self) -> (&'static str, &'static str) {
        match self {
            Self::K3s => (
                "/var/lib/rancher/k3s/agent/etc/cni/net.d",
                "/var/lib/rancher/k3s/data/current/bin",
            ),
            Self::Microk8s => (
                "/var/snap/microk8s/current/args/cni-network",
                "/var/snap/microk8s/current/opt/cni/bin",
            ),
            _ => (CONF_DIR, BIN_DIR),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
            Self::K3s => "K3s",
            Self::Rke2 => "RKE2",
            Self::Microk8s => "MicroK8s",
        })
    }
}
