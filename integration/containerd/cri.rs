//! The kubelet's side of CRI v1 (package `runtime.v1`, service `RuntimeService`), as far as pod
//! sandboxes go: the messages with the fields that are needed, and one connection for each
//! question.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use braid::internals::grpc;
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// The kubelet's own patience is two minutes; a shared machine gets no more.
const TIMEOUT: Duration = Duration::from_secs(120);

/// As gRPC reads unless told otherwise.
const MAX_ANSWER_BYTES: usize = 4 << 20;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxConfig {
    #[prost(string, tag = "1")]
    pub(super) cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(string, tag = "3")]
    pub(super) log_directory: String,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<LinuxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<NetworkStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct NetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional: Vec<PodIp>,
}

#[derive(Clone, PartialEq, Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListAnswer {
    #[prost(message, repeated, tag = "1")]
    items: Vec<SandboxId>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    info: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RuntimeStatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    holds: bool,
    #[prost(string, tag = "4")]
    message: String,
}

/// What `PodSandboxStatus` says.
#[derive(Debug)]
pub(super) struct Seen {
    /// The pod's addresses, the first one first.
    pub(super) ips: Vec<String>,
    /// The path of the network namespace, where containerd has it mounted.
    pub(super) netns: String,
}

/// Starts a sandbox and returns its ID.
pub(super) fn run(socket: &Path, config: SandboxConfig) -> Result<String, Status> {
    let request = RunRequest { config: Some(config) };
    ask::<_, SandboxId>(socket, "/runtime.v1.RuntimeService/RunPodSandbox", request)
        .map(|answer| answer.id)
}

/// Stops a sandbox: DEL.
pub(super) fn stop(socket: &Path, id: &str) -> Result<(), Status> {
    let request = SandboxId { id: id.to_owned() };
    ask::<_, Nothing>(socket, "/runtime.v1.RuntimeService/StopPodSandbox", request).map(drop)
}

/// Removes a sandbox that is stopped.
pub(super) fn remove(socket: &Path, id: &str) -> Result<(), Status> {
    let request = SandboxId { id: id.to_owned() };
    ask::<_, Nothing>(socket, "/runtime.v1.RuntimeService/RemovePodSandbox", request).map(drop)
}

/// Every sandbox that containerd knows.
pub(super) fn list(socket: &Path) -> Result<Vec<String>, Status> {
    let answer: ListAnswer = ask(socket, "/runtime.v1.RuntimeService/ListPodSandbox", Nothing {})?;
    Ok(answer.items.into_iter().map(|item| item.id).collect())
}

/// What the kubelet sees of a sandbox.
pub(super) fn status(socket: &Path, id: &str) -> Result<Seen, Status> {
    let request = StatusRequest { id: id.to_owned(), verbose: true };
    let answer: StatusAnswer = ask(socket, "/runtime.v1.RuntimeService/PodSandboxStatus", request)?;
    let info: serde_json::Value =
        serde_json::from_str(answer.info.get("info").map_or("null", String::as_str)).unwrap();
    let namespaces =
        info["runtimeSpec"]["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    let netns = namespaces.iter().find(|namespace| namespace["type"] == "network");
    let network = answer.status.and_then(|status| status.network).unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional.into_iter().map(|ip| ip.ip));
    Ok(Seen {
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
        netns: netns.and_then(|netns| netns["path"].as_str()).unwrap_or_default().to_owned(),
    })
}

/// Whether the runtime answers and has its network; else why not.
pub(super) fn is_ready(socket: &Path) -> Result<(), String> {
    let answer: RuntimeStatusAnswer = ask(socket, "/runtime.v1.RuntimeService/Status", Nothing {})
        .map_err(|status| status.to_string())?;
    let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
    match conditions.iter().find(|condition| condition.kind == "NetworkReady") {
        Some(condition) if condition.holds => Ok(()),
        Some(condition) => Err(condition.message.clone()),
        None => Err("no word about the network".to_owned()),
    }
}

/// The plugins of the network `name` that the runtime has loaded, in their order.
pub(super) fn loaded(socket: &Path, name: &str) -> Vec<String> {
    let question = RuntimeStatusRequest { verbose: true };
    let answer: RuntimeStatusAnswer =
        ask(socket, "/runtime.v1.RuntimeService/Status", question).unwrap();
    let dump: serde_json::Value = serde_json::from_str(&answer.info["cniconfig"]).unwrap();
    let networks = dump["Networks"].as_array().into_iter().flatten();
    let network = networks.map(|network| &network["Config"]).find(|config| config["Name"] == name);
    let plugins = network.and_then(|config| config["Plugins"].as_array()).into_iter().flatten();
    plugins.map(|plugin| plugin["Network"]["type"].as_str().unwrap().to_owned()).collect()
}

/// One question on a connection of its own: containerd may have been restarted since the last.
fn ask<Q, A>(socket: &Path, method: &'static str, question: Q) -> Result<A, Status>
where
    Q: Message + Clone + 'static,
    A: Message + Default + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime
        .block_on(async { tokio::time::timeout(TIMEOUT, call(socket, method, question)).await });
    answer
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("{method}: no answer in time"))))
}

async fn call<Q, A>(socket: &Path, method: &'static str, question: Q) -> Result<A, Status>
where
    Q: Message + Clone + 'static,
    A: Message + Default + 'static,
{
    let unavailable = |problem: String| Status::new(Code::Unavailable, problem);
    let connected = grpc::connect(socket, MAX_ANSWER_BYTES).await;
    let mut grpc = connected.map_err(|error| unavailable(error.to_string()))?;
    grpc.ready().await.map_err(|error| unavailable(error.to_string()))?;
    let codec = ProstCodec::<Q, A>::default();
    let answer =
        grpc.unary(tonic::Request::new(question), PathAndQuery::from_static(method), codec).await?;
    Ok(answer.into_inner())
}
