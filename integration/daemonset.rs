//! The DaemonSet of `conf/kubernetes`: each overlay as a cluster would have it, and its pod on a
//! node, with the image's files, the volumes, the arguments and the rights that the manifests give
//! it.
//!
//! ```text
//! host   the node's root directory: the runtime's directories, braid's state, Debian's plugins
//! pod    the container's: /braid, and the volumes of the manifest mounted from host
//! ```

mod cluster;
mod deletion;
mod fleet;
mod installation;
mod manifests;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kustomize;

const OVERLAYS: [&str; 3] = ["containerd", "crio", "k3s"];

pub(crate) fn kubernetes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The DaemonSet of the containerd overlay with a component.
pub(crate) fn monitored_daemonset(component: &Path) -> Value {
    let mut objects = kustomize::render(&kubernetes().join("overlays/containerd"));
    objects = kustomize::add_component(component, objects);
    kustomize::object(&objects, "DaemonSet", "braid").clone()
}
