//! The Kubernetes API: definitions by name, a pod, its status, an event about it.
//!
//! kube's typed clients know the paths and the objects. Below them is a service of our own
//! (`client`) that has the limits, the retry policy, and the sentences: which credential, from
//! which file, expired when.
//!
//! Nothing is started before the first call, or [`Cluster::connect_ahead`]: no runtime, no TLS, no
//! connection. All calls of a process then share one connection. The caller waits.
//!
//! The caller decides what an error leads to; [`ClusterError::is_outage`] tells silence from a
//! clear answer.

mod access;
mod access_review;
mod address_api;
mod address_store;
pub mod answer;
mod api_request;
mod client;
mod connection;
mod credential;
mod daemon_set;
mod definition_watch;
mod definitions;
mod error;
mod event;
mod exec;
mod failure;
mod file;
mod kubeconfig;
mod lasting_client;
mod nodes;
mod pod_list;
mod pods;
mod refusals;
mod retry;
mod server_message;
mod service_account;
mod session;
mod shared;
mod tls;
mod tls_alert;
mod transport_error;
mod watch;
mod webhook_secret;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub(crate) use access::in_cluster_server;
pub(crate) use access_review::NeededRight;
pub(crate) use address_store::ApiStores;
pub(crate) use credential::{end_of as token_end, is_due as token_is_due};
pub(crate) use daemon_set::DaemonSetWatch;
pub(crate) use definition_watch::{DefinitionChange, watch_definitions};
pub use definitions::ClusterDefinition;
pub use error::{ClusterError, Expiry};
pub(crate) use kubeconfig::parse as parse_kubeconfig;
pub(crate) use lasting_client::lasting_client;
pub(crate) use pod_list::PodState;
pub use pods::{ClusterPod, PodReference};
pub(crate) use refusals::Refusals;
pub use watch::{PodNetworks, PodWatch, Seen};
pub(crate) use webhook_secret::{SecretContents, WebhookSecret};

use access::{Access, Source};
use api_request::ApiRequest;
use client::CallError;
use retry::RetryPolicy;
use session::Session;
use shared::{Background, Shared, shared};

use cni::request::Environment;
use linux::signal::unless_stopped;

/// Where the API is and how long it may take.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The kubeconfig (`kubeconfig`); the in-cluster files are used if there is none.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL in place of that of the kubeconfig.
    pub server: Option<String>,
    /// The limit for one call with all its repetitions (`apiTimeout`); a connection gets half of
    /// it.
    pub timeout: Duration,
    /// The limit for reading the configuration's files and running its exec plugin together; half as
    /// much again as `timeout` if it is not said.
    pub open_limit: Option<Duration>,
    /// Where Kubernetes puts the in-cluster files.
    pub service_account: PathBuf,
    /// Variables of our environment that an exec plugin of the kubeconfig gets beside the default
    /// ones.
    pub pass_environment: Vec<String>,
    /// The node's record of refusals. With it, a new one is a delay; without it, each is final.
    pub refusals: Option<Refusals>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            server: None,
            timeout: Duration::from_secs(10),
            open_limit: None,
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
            pass_environment: Vec::new(),
            refusals: None,
        }
    }
}

/// A client of the Kubernetes API.
pub struct Cluster {
    source: Source,
    timeout: Duration,
    open_limit: Duration,
    /// What an exec plugin of the kubeconfig gets.
    variables: exec::Variables,
    refusals: Option<Refusals>,
    open: Option<Open>,
    /// Whether a call has been made.
    was_asked: bool,
    /// Why the credential or the connection's files cannot be used: what hangs costs its limit
    /// once.
    failed: Option<ClusterError>,
    /// Whether the last call found the API silent.
    is_silent: bool,
}

/// What the first call starts.
struct Open {
    runtime: Arc<Background>,
    session: Arc<Session>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The API that `config` or Kubernetes itself names; `None` if neither does. Reads no file.
    pub fn configured(config: &ClusterConfig, environment: &Environment) -> Option<Self> {
        let source = match &config.kubeconfig {
            Some(path) => Source::Kubeconfig { path: path.clone(), server: config.server.clone() },
            None => Source::in_cluster(environment, &config.service_account)?,
        };
        let variables = exec::variables(environment, &config.pass_environment);
        Some(Self {
            source,
            timeout: config.timeout,
            open_limit: config.open_limit.unwrap_or(config.timeout * 3 / 2),
            variables,
            refusals: config.refusals.clone(),
            open: None,
            was_asked: false,
            failed: None,
            is_silent: false,
        })
    }

    /// Whether a call has been made so far.
    pub fn was_asked(&self) -> bool {
        self.was_asked
    }

    /// Reads the configuration's files, and returns the server, as `host:port`, and the namespace
    /// of the kubeconfig's current context. Nothing is connected.
    ///
    /// # Errors
    /// [`ClusterError`] for files that cannot be used.
    pub(crate) fn place(&mut self) -> Result<(String, Option<String>), ClusterError> {
        let (_, session) = self.open()?;
        Ok((session.server(), session.access().namespace.clone()))
    }

    /// Reads the configuration's files and begins to connect, for a caller that has something else
    /// to do before a call that is certain: the server answers meanwhile. A failure is the call's.
    pub fn connect_ahead(&mut self) {
        if let Ok((runtime, session)) = self.open() {
            runtime.block_on(unless_stopped(session.connect_ahead()));
        }
    }

    /// The result of one call: `operation` with a client for it.
    fn call<T, F>(
        &mut self,
        request: ApiRequest,
        policy: RetryPolicy,
        operation: impl FnOnce(kube::Client) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut results = self.call_all(vec![(request, operation)], policy);
        results.pop().unwrap_or_else(|| Err(self.cannot_start("the call was lost")))
    }

    /// One result for each call, in their order; all are made at the same time.
    fn call_all<T, O, F>(
        &mut self,
        calls: Vec<(ApiRequest, O)>,
        policy: RetryPolicy,
    ) -> Vec<Result<T, ClusterError>>
    where
        O: FnOnce(kube::Client) -> F,
        F: Future<Output = Result<T, CallError>>,
    {
        self.was_asked = true;
        let (requests, operations): (Vec<_>, Vec<_>) =
            calls.into_iter().map(|(request, operation)| (Arc::new(request), operation)).unzip();
        let (runtime, session) = match self.open() {
            Ok(open) => open,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let pending = requests
            .iter()
            .zip(operations)
            .map(|(request, operation)| client::call(session, request.clone(), policy, operation));
        let Some(mut results) = runtime.block_on(unless_stopped(join_all(pending))) else {
            let stopped =
                |request: &Arc<ApiRequest>| ClusterError::Stopped { what: request.what.clone() };
            return requests.iter().map(|request| Err(stopped(request))).collect();
        };
        self.note_outcome(&mut results, policy);
        results
    }

    /// Keeps what the next call must know, and softens a refusal that may pass.
    fn note_outcome<T>(&mut self, results: &mut [Result<T, ClusterError>], policy: RetryPolicy) {
        self.is_silent =
            results.iter().any(|result| result.as_ref().is_err_and(ClusterError::is_outage));
        if policy != RetryPolicy::Once {
            self.soften_new_refusals(results);
        }
        let unusable = |error: &&ClusterError| matches!(error, ClusterError::Kubeconfig { .. });
        self.failed =
            results.iter().filter_map(|result| result.as_ref().err()).find(unusable).cloned();
    }

    /// A right that has been missing for a few seconds only may be one that the API server has yet
    /// to read.
    fn soften_new_refusals<T>(&self, results: &mut [Result<T, ClusterError>]) {
        let mut errors = results.iter().filter_map(|result| result.as_ref().err());
        let is_new = |refusals: &Refusals| {
            errors.any(|error| matches!(error, ClusterError::Forbidden { .. })) && !refusals.stay()
        };
        if self.refusals.as_ref().is_some_and(is_new) {
            for error in results.iter_mut().filter_map(|result| result.as_mut().err()) {
                *error = error.clone().into_not_yet_allowed();
            }
        }
    }

    fn open(&mut self) -> Result<(&Runtime, &Arc<Session>), ClusterError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.open.is_none() {
            let opened = self.start();
            self.open = Some(opened.inspect_err(|error| self.failed = Some(error.clone()))?);
        }
        match self.open.as_ref().map(|open| (open.runtime.runtime(), &open.session)) {
            Some((Some(runtime), session)) => Ok((runtime, session)),
            _ => Err(self.cannot_start("the runtime is gone")),
        }
    }

    fn start(&self) -> Result<Open, ClusterError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| self.cannot_start(&error.to_string()))?;
        let access = runtime
            .block_on(unless_stopped(self.read_access()))
            .unwrap_or_else(|| Err(ClusterError::Stopped { what: "a credential".to_owned() }))?;
        let Shared { runtime, access, link } = shared(Background::new(runtime), access);
        Ok(Open { runtime, session: Arc::new(Session::new(access, link, self.timeout)) })
    }

    /// Each file and program has a limit, and all together half as much again: the error of one that
    /// takes too long names it.
    async fn read_access(&self) -> Result<Access, ClusterError> {
        let all = self.open_limit;
        let reading = Access::open(&self.source, &self.variables, all * 2 / 3);
        timeout(all, reading).await.unwrap_or_else(|_| {
            Err(ClusterError::Kubeconfig {
                path: self.source.path().to_owned(),
                problem: format!("was not read in {:.1} s, with all it names", all.as_secs_f64()),
            })
        })
    }

    fn cannot_start(&self, problem: &str) -> ClusterError {
        ClusterError::Kubeconfig {
            path: self.source.path().to_owned(),
            problem: format!("cannot start a client: {problem}"),
        }
    }
}
