//! The client of a program that goes on running in the cluster, unlike a plugin: kube's own, with
//! its connections, its renewal of tokens and its watches.

use std::path::Path;
use std::time::Duration;

use kube::config::KubeConfigOptions;

use super::kubeconfig;

/// How long reading a kubeconfig may take.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// A client by a kubeconfig, or by what Kubernetes puts into a pod.
///
/// # Errors
/// What is wrong, as a sentence.
pub(crate) async fn lasting_client(kubeconfig: Option<&Path>) -> Result<kube::Client, String> {
    let config = match kubeconfig {
        None => kube::Config::incluster().map_err(|error| error.to_string()),
        Some(path) => from_file(path).await.map_err(|error| format!("{}: {error}", path.display())),
    };
    kube::Client::try_from(config?).map_err(|error| error.to_string())
}

async fn from_file(path: &Path) -> Result<kube::Config, String> {
    let file = kubeconfig::read(path, READ_LIMIT).await?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.map_err(|error| error.to_string())
}
