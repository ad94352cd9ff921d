//! Questions to a runtime that runs, over its CRI socket (`runtime.v1`, service `RuntimeService`):
//! what it has loaded of its network configuration, and which sandboxes it has. Nothing is changed
//! by them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use prost::Message;
use serde::Deserialize;
use tonic_prost::ProstCodec;

use super::{Runtime, below};
use cni::quoted::Quoted;

/// The time that one answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// The bound that the kubelet's own client has.
const MAX_ANSWER_BYTES: usize = 16 << 20;
const STATUS: &str = "/runtime.v1.RuntimeService/Status";
const LIST: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const SANDBOX: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";
/// The key under which containerd shows its network configuration, as `crictl info` does.
const CNI_CONFIG: &str = "cniconfig";
/// `NamespaceMode` of a pod with the node's own network.
const NODE: i32 = 2;

/// Why a runtime cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum CriError {
    /// No socket is known of such a runtime.
    #[error("the socket of this runtime is not known")]
    NoSocket,
    /// Nothing answers.
    #[error("the runtime cannot be asked at {}: {source}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The time is over.
    #[error("the runtime does not answer within {} s at {}", LIMIT.as_secs(), .0.display())]
    Slow(PathBuf),
    /// It refuses.
    #[error("the runtime refuses the question at {}: {problem}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The runtime's own words.
        problem: Quoted,
    },
    /// It has no dump of its network configuration, as CRI-O.
    #[error("the runtime does not show which network configuration it has loaded")]
    NotShown,
    /// It reads another directory.
    #[error("the runtime that runs reads {}, and not this directory", .0.display())]
    Elsewhere(PathBuf),
}

/// A sandbox of the runtime.
#[derive(Clone, PartialEq, Message)]
pub(in crate::operator) struct Sandbox {
    #[prost(string, tag = "1")]
    pub(in crate::operator) id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<Metadata>,
    /// 0 while it runs.
    #[prost(int32, tag = "3")]
    state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(in crate::operator) annotations: BTreeMap<String, String>,
}

impl Sandbox {
    /// `namespace/name` of the pod.
    pub(in crate::operator) fn pod(&self) -> String {
        let metadata = self.metadata.clone().unwrap_or_default();
        format!("{}/{}", metadata.namespace, metadata.name)
    }

    /// Whether it runs, and was made after `moment`, in seconds since 1970.
    pub(in crate::operator) fn runs_since(&self, moment: i64) -> bool {
        self.state == 0 && self.created_at / 1_000_000_000 > moment
    }
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct SandboxList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatus {
    #[prost(message, optional, tag = "6")]
    linux: Option<LinuxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxStatus {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(message, optional, tag = "2")]
    options: Option<NamespaceOptions>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct NamespaceOptions {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(btree_map = "string, string", tag = "2")]
    info: BTreeMap<String, String>,
}

/// containerd's dump, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    plugin_conf_dir: PathBuf,
    #[serde(default)]
    networks: Option<Vec<DumpedNetwork>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DumpedNetwork {
    config: DumpedConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DumpedConfig {
    name: String,
    #[serde(default)]
    plugins: Option<Vec<DumpedPlugin>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DumpedPlugin {
    network: DumpedKind,
}

#[derive(Debug, Deserialize)]
struct DumpedKind {
    #[serde(rename = "type", default)]
    kind: String,
}

impl Runtime {
    /// Whether the runtime that runs has loaded a plugin of type braid in the network `name`.
    ///
    /// # Errors
    /// [`CriError`] if it cannot be asked, or does not say.
    pub(in crate::operator) fn has_loaded(
        &self,
        root: &Path,
        name: &str,
    ) -> Result<bool, CriError> {
        let answer: StatusAnswer = self.ask(root, STATUS, StatusRequest { verbose: true })?;
        let dump = answer.info.get(CNI_CONFIG).ok_or(CriError::NotShown)?;
        let dump: Dump = serde_json::from_str(dump).map_err(|_| CriError::NotShown)?;
        if dump.plugin_conf_dir != self.conf_dir {
            return Err(CriError::Elsewhere(dump.plugin_conf_dir));
        }
        Ok(dump.has_braid_in(name))
    }

    /// Every sandbox of the runtime.
    ///
    /// # Errors
    /// [`CriError`].
    pub(in crate::operator) fn sandboxes(&self, root: &Path) -> Result<Vec<Sandbox>, CriError> {
        let list: SandboxList = self.ask(root, LIST, Nothing {})?;
        Ok(list.items)
    }

    /// Whether a sandbox has a network of its own, and not the node's.
    ///
    /// # Errors
    /// [`CriError`], for a sandbox that has gone meanwhile too.
    pub(in crate::operator) fn has_own_network(
        &self,
        root: &Path,
        id: &str,
    ) -> Result<bool, CriError> {
        let answer: SandboxAnswer =
            self.ask(root, SANDBOX, SandboxRequest { id: id.to_owned() })?;
        let linux = answer.status.and_then(|status| status.linux);
        let options =
            linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
        Ok(options.unwrap_or_default().network != NODE)
    }

    fn ask<Q, A>(&self, root: &Path, method: &'static str, question: Q) -> Result<A, CriError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let socket = below(root, self.socket.as_deref().ok_or(CriError::NoSocket)?);
        let connect = |source| CriError::Connect { socket: socket.clone(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connect)?;
        let answer = async {
            let mut grpc =
                crate::grpc::connect(&socket, MAX_ANSWER_BYTES).await.map_err(connect)?;
            grpc.ready().await.map_err(|error| connect(io::Error::other(error)))?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(method);
            let answer = grpc.unary(tonic::Request::new(question), path, codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| CriError::Refused {
                socket: socket.clone(),
                problem: Quoted::text(status.message()),
            })
        };
        let answer = runtime.block_on(async { tokio::time::timeout(LIMIT, answer).await });
        answer.map_err(|_| CriError::Slow(socket.clone()))?
    }
}

impl Dump {
    fn has_braid_in(&self, name: &str) -> bool {
        let configs = self.networks.iter().flatten().map(|network| &network.config);
        let plugins =
            configs.filter(|config| config.name == name).flat_map(|config| &config.plugins);
        plugins.flatten().any(|plugin| plugin.network.kind == "braid")
    }
}
