//! The whole plugin with a cluster behind it: definitions from the API, the network status, events,
//! devices.
//!
//! Everything here goes over the wire to an API server about which nothing is assumed. By default
//! that is a double for each test. With `BRAID_TEST_KUBECONFIG` it is the one that an
//! administrator's kubeconfig names:
//!
//! ```sh
//! BRAID_TEST_KUBECONFIG=$HOME/.kube/config cargo nextest run kubernetes
//! ```
//!
//! Each test makes a namespace and roles of its own there and removes them again, see [`server`].
//! Nodes, their plugins and their kubelet are this machine's in either case; Braid reaches the
//! server through [`relay`].
//!
//! What only a double can do is in `api_requests.rs`, and so not in that run: counting requests,
//! and answering otherwise than an API server would.

mod addresses;
mod cluster;
mod conditional_writes;
mod definitions;
mod devices;
mod events;
mod outage;
mod relay;
mod removal;
mod server;
mod status;
mod watch;

use crate::call::Call;
use cluster::Cluster;

/// With this UID in `CNI_ARGS`.
fn with_uid<'c>(call: Call<'c>, args: &str, uid: &str) -> Call<'c> {
    call.env("CNI_ARGS", &format!("{args};K8S_POD_UID={uid}"))
}
