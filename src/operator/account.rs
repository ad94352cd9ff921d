//! The node's way to the API: a kubeconfig beside the definitions, and beside it the token that it
//! names, of a service account. The token is bound to no pod, so that pods get their networks while
//! the one that installs is away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::change::Change;
use super::install::RunMode;
use super::runtime::below;
use crate::kube::{self, Cluster, ClusterConfig, ClusterError};
use crate::pod::name::NamespacedName;
use cni::request::Environment;

/// The files' names, in the directory of definitions.
pub(super) const KUBECONFIG: &str = "braid.kubeconfig";
pub(super) const TOKEN: &str = "braid.token";
/// How long a token lasts. It is renewed at half of it, so that Braid can do without the API for
/// the other.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Root alone reads them.
const MODE: u32 = 0o600;

/// Who Braid on the node is to the API.
#[derive(Args, Debug, Default)]
pub(super) struct Account {
    /// In a pod: write a kubeconfig with a token of this service account, and use it
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "kubeconfig")]
    service_account: Option<NamespacedName>,
    /// The API server as the node reaches it [default: as pods reach it]
    #[arg(long, value_name = "URL", requires = "service_account")]
    api_server: Option<String>,
}

/// Why the node has no way to the API.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    /// There is no credential to ask with.
    #[error(
        "--service-account works in a pod that has a service account of its own: \
         KUBERNETES_SERVICE_HOST is not set, or {}/token is missing", .0.display()
    )]
    NotInPod(PathBuf),
    /// The certificate authority cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The API gives no token.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Account {
    /// Where the kubeconfig is that the configuration is to name, as the node sees it.
    pub(super) fn kubeconfig(&self, definitions: &Path) -> Option<PathBuf> {
        self.service_account.as_ref().map(|_| definitions.join(KUBECONFIG))
    }

    /// The two files, as the node sees them.
    pub(super) fn files(&self, definitions: &Path) -> Vec<PathBuf> {
        let names = self.service_account.iter().flat_map(|_| [KUBECONFIG, TOKEN]);
        names.map(|name| definitions.join(name)).collect()
    }

    /// What they are made from, if a change of it has to be noticed.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        self.service_account.iter().map(|_| authority()).collect()
    }

    /// The two files, the token first: a kubeconfig never names one that is not there.
    pub(super) fn changes(
        &self,
        root: &Path,
        definitions: &Path,
        occasion: RunMode,
    ) -> Result<Vec<Change>, AccountError> {
        let Some(account) = &self.service_account else { return Ok(Vec::new()) };
        let environment = Environment::of_process();
        let server = self.api_server.clone().or_else(|| kube::in_cluster_server(&environment));
        let server = server.ok_or_else(not_in_pod)?;
        let mut changes = Vec::new();
        if occasion == RunMode::DryRun || self.is_due(root, definitions, occasion) {
            let contents = match occasion {
                RunMode::DryRun => Vec::new(),
                _ => ask(account, &environment)?,
            };
            changes.push(Change::File { path: definitions.join(TOKEN), contents, mode: MODE });
        }
        let contents = kubeconfig(&server)?.into_bytes();
        changes.push(Change::File { path: definitions.join(KUBECONFIG), contents, mode: MODE });
        Ok(changes)
    }

    /// Whether a token has to be asked for: always on an installation, since the account may be
    /// another one of the same name.
    pub(super) fn is_due(&self, root: &Path, definitions: &Path, occasion: RunMode) -> bool {
        let token = || std::fs::read_to_string(below(root, &definitions.join(TOKEN)));
        self.service_account.is_some()
            && (occasion != RunMode::Reconcile
                || token().is_ok_and(|token| kube::token_is_due(&token, Utc::now()))
                || token().is_err())
    }
}

fn directory() -> PathBuf {
    ClusterConfig::default().service_account
}

fn authority() -> PathBuf {
    directory().join("ca.crt")
}

fn not_in_pod() -> AccountError {
    AccountError::NotInPod(directory())
}

fn ask(account: &NamespacedName, environment: &Environment) -> Result<Vec<u8>, AccountError> {
    let mut cluster =
        Cluster::configured(&ClusterConfig::default(), environment).ok_or_else(not_in_pod)?;
    let token = cluster.token(account, LIFETIME)?;
    Ok(token.expose_secret().as_bytes().to_vec())
}

/// The token is named by its file alone: a reader of a kubeconfig finds it beside it.
fn kubeconfig(server: &str) -> Result<String, AccountError> {
    let path = authority();
    let authority =
        std::fs::read(&path).map_err(|source| AccountError::Authority { path, source })?;
    let document = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": server, "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": "braid", "user": {"tokenFile": TOKEN}}],
        "contexts": [{"name": "braid", "context": {"cluster": "cluster", "user": "braid"}}],
        "current-context": "braid",
    });
    Ok(format!("{document:#}\n"))
}
