//! One question to the kubelet: which resources does this pod have? gRPC over its unix socket, and
//! the runtime for it, exist only as long as the question.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::message::{
    ContainerResources, GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesRequest,
    ListPodResourcesResponse, PodResources,
};
use crate::pod::name::Namespace;
use cni::quoted::Quoted;
use linux::signal::unless_stopped;

/// The largest answer that is read, the bound that the kubelet's own client and Multus have. An
/// answer to `List` covers every pod of the node with the NUMA nodes of each device.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The wait before a question that the kubelet was too busy for is asked again; it doubles each
/// time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

const GET: &str = "/v1.PodResourcesLister/Get";
const LIST: &str = "/v1.PodResourcesLister/List";

/// How asking the kubelet failed.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// There is no socket.
    #[error(
        "its socket {} is missing; see that the kubelet runs, and with the root directory that the \
         path names",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// What is there is no socket.
    #[error("{} is no socket; see what has taken the place of the kubelet's", .0.display())]
    NotASocket(PathBuf),
    /// No process answers at the socket.
    #[error("cannot connect to its socket {}: {source}; see that the kubelet runs", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The time is over.
    #[error("no answer within {} ms at {}; see whether the kubelet is overloaded", limit.as_millis(), path.display())]
    Slow {
        /// The socket.
        path: PathBuf,
        /// The time it had.
        limit: Duration,
    },
    /// The connection breaks before the answer is complete.
    #[error(
        "the connection breaks before {method} is answered: {problem}; see whether the kubelet \
         restarts"
    )]
    Broken {
        /// What it was asked.
        method: &'static str,
        /// What is seen of it here.
        problem: Quoted,
    },
    /// The answer is larger than the bound.
    #[error("its answer to {method} is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge {
        /// What it was asked.
        method: &'static str,
    },
    /// The answer is not gRPC, or not the message that it must be.
    #[error("its answer to {method} cannot be read: {problem}")]
    Unreadable {
        /// What it was asked.
        method: &'static str,
        /// What is wrong with it.
        problem: Quoted,
    },
    /// It answers with an error.
    #[error("it refuses {method}: {message} (gRPC code {code})")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// The status code.
        code: i32,
        /// What it says.
        message: Quoted,
    },
    /// It does not know the pod.
    #[error("it does not list the pod; the pod may be gone")]
    UnknownPod,
    /// It knows several pods of the name.
    #[error("it lists {0} pods of that name with devices; an earlier one is still going away")]
    SeveralPods(usize),
    /// The runtime wants us to end.
    #[error("braid was asked to stop")]
    Stopped,
    /// The system has no event loop to give.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

impl KubeletError {
    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotASocket(_) | Self::TooLarge { .. } | Self::Unreadable { .. } => false,
            Self::NoSocket(_)
            | Self::Connect { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::Refused { .. }
            | Self::UnknownPod
            | Self::SeveralPods(_)
            | Self::Stopped
            | Self::Runtime(_) => true,
        }
    }
}

/// What the containers of a pod have, in the pod's order.
///
/// # Errors
/// [`KubeletError`], after `limit` at the latest.
pub(super) fn containers_of(
    socket: &Path,
    namespace: &Namespace,
    pod: &str,
    limit: Duration,
) -> Result<Vec<ContainerResources>, KubeletError> {
    check_socket(socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(KubeletError::Runtime)?;
    let answer = runtime.block_on(async {
        let asking = async { Kubelet::connect(socket).await?.ask(namespace, pod).await };
        unless_stopped(tokio::time::timeout(limit, asking)).await
    });
    answer
        .ok_or(KubeletError::Stopped)?
        .map_err(|_| KubeletError::Slow { path: socket.to_owned(), limit })?
}

fn check_socket(path: &Path) -> Result<(), KubeletError> {
    match path.metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
        Ok(_) => Err(KubeletError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(KubeletError::NoSocket(path.to_owned()))
        }
        Err(source) => Err(KubeletError::Connect { path: path.to_owned(), source }),
    }
}

/// A connection to the kubelet.
struct Kubelet {
    grpc: Grpc<crate::grpc::Connection>,
}

impl Kubelet {
    async fn connect(socket: &Path) -> Result<Self, KubeletError> {
        let failed = |source| KubeletError::Connect { path: socket.to_owned(), source };
        let grpc = crate::grpc::connect(socket, MAX_ANSWER_BYTES).await.map_err(failed)?;
        Ok(Self { grpc })
    }

    /// `Get`, and `List` if the kubelet does not answer that: before Kubernetes 1.34 it is
    /// disabled by default, which the kubelet says with the code of an unknown error, as it does
    /// for a pod that it does not find.
    async fn ask(
        &mut self,
        namespace: &Namespace,
        pod: &str,
    ) -> Result<Vec<ContainerResources>, KubeletError> {
        match self.get(namespace, pod).await {
            Ok(Some(found)) if is_pod(&found, namespace, pod) => return Ok(found.containers),
            Ok(_) => {}
            Err(Failure::Of(error)) => return Err(error),
            Err(Failure::Refused(status)) => {
                log::debug!("the kubelet does not answer PodResources Get, asking List: {status}");
            }
        }
        containers_in(self.list().await?, namespace, pod)
    }

    async fn get(
        &mut self,
        namespace: &Namespace,
        pod: &str,
    ) -> Result<Option<PodResources>, Failure> {
        let request = GetPodResourcesRequest {
            pod_name: pod.to_owned(),
            pod_namespace: namespace.to_string(),
        };
        let answer: GetPodResourcesResponse = self.call("Get", GET, request).await?;
        Ok(answer.pod_resources)
    }

    async fn list(&mut self) -> Result<Vec<PodResources>, KubeletError> {
        let answer: Result<ListPodResourcesResponse, _> =
            self.call("List", LIST, ListPodResourcesRequest {}).await;
        match answer {
            Ok(answer) => Ok(answer.pod_resources),
            Err(Failure::Of(error)) => Err(error),
            Err(Failure::Refused(status)) => Err(refused("List", &status)),
        }
    }

    /// One call, asked again while the kubelet says that too many are asking: it takes 100 a
    /// second.
    async fn call<Q, A>(
        &mut self,
        method: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            self.grpc.ready().await.map_err(|error| broken(method, &error))?;
            match self.grpc.unary(tonic::Request::new(request.clone()), path, codec).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::ResourceExhausted => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(status) => return Err(Failure::read(method, status)),
            }
        }
    }
}

/// How a call failed: the kubelet said so itself, or there is no answer of it.
enum Failure {
    Refused(Box<Status>),
    Of(KubeletError),
}

impl From<KubeletError> for Failure {
    fn from(error: KubeletError) -> Self {
        Self::Of(error)
    }
}

impl Failure {
    fn read(method: &'static str, status: Status) -> Self {
        // A status of the kubelet's own has no cause on this side.
        if std::error::Error::source(&status).is_some() {
            return broken(method, &status).into();
        }
        match status.code() {
            // What tonic says of a message that is larger than the bound.
            Code::OutOfRange => Self::Of(KubeletError::TooLarge { method }),
            Code::Unimplemented | Code::NotFound | Code::Unknown => Self::Refused(Box::new(status)),
            // What tonic says of a message that is none.
            Code::Internal => Self::Of(KubeletError::Unreadable {
                method,
                problem: Quoted::text(status.message()),
            }),
            _ => refused(method, &status).into(),
        }
    }
}

fn refused(method: &'static str, status: &Status) -> KubeletError {
    KubeletError::Refused {
        method,
        code: status.code().into(),
        message: Quoted::text(status.message()),
    }
}

/// The last cause says most: the first is "transport error" each time.
fn broken(method: &'static str, error: &dyn std::error::Error) -> KubeletError {
    let cause = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    KubeletError::Broken { method, problem: Quoted::text(&cause.to_string()) }
}

/// What the containers of a pod have in an answer of `List` as it is on the wire.
///
/// # Errors
/// [`KubeletError::Unreadable`], [`KubeletError::UnknownPod`], [`KubeletError::SeveralPods`].
pub(super) fn containers_in_bytes(
    answer: &[u8],
    namespace: &Namespace,
    pod: &str,
) -> Result<Vec<ContainerResources>, KubeletError> {
    let unreadable = |error: prost::DecodeError| KubeletError::Unreadable {
        method: "List",
        problem: Quoted::text(&error.to_string()),
    };
    let answer: ListPodResourcesResponse = prost::Message::decode(answer).map_err(unreadable)?;
    containers_in(answer.pod_resources, namespace, pod)
}

fn containers_in(
    listed: Vec<PodResources>,
    namespace: &Namespace,
    pod: &str,
) -> Result<Vec<ContainerResources>, KubeletError> {
    only_one(listed.into_iter().filter(|found| is_pod(found, namespace, pod)).collect())
}

fn is_pod(found: &PodResources, namespace: &Namespace, pod: &str) -> bool {
    found.namespace == namespace.as_str() && found.name == pod
}

/// The one pod among those of its name. `List` may still show an earlier one, which has no devices
/// any more once they are free.
fn only_one(mut pods: Vec<PodResources>) -> Result<Vec<ContainerResources>, KubeletError> {
    if pods.len() > 1 {
        pods.retain(has_devices);
        match pods.len() {
            0 => return Ok(Vec::new()),
            1 => {}
            several => return Err(KubeletError::SeveralPods(several)),
        }
    }
    pods.pop().map(|pod| pod.containers).ok_or(KubeletError::UnknownPod)
}

fn has_devices(pod: &PodResources) -> bool {
    pod.containers
        .iter()
        .any(|container| !container.devices.is_empty() || !container.dynamic_resources.is_empty())
}
