//! The Kubernetes API: definitions by name, a pod, its status, an event about it.
//!
//! Nothing is started before the first question: no runtime, no TLS, no connection. All questions of a
//! process then share one connection. Each has a limit of its own and is put again where that can help
//! (after 429, 5xx and a broken connection); the caller waits.
//!
//! What becomes of an error is the caller's business; [`ClusterError::is_outage`] tells silence from a
//! clear answer.

mod access;
mod access_review;
pub mod answer;
mod connection;
mod credential;
mod daemon_set;
mod error;
mod event;
mod exec;
mod file;
mod question;
mod refusals;
mod retry;
mod service_account;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::ACCEPT;
use http::{HeaderValue, Request};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Resource;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

pub(crate) use access::in_cluster_server;
pub(crate) use credential::{end_of as token_end, is_due as token_is_due};
pub use error::{ClusterError, Expiry};
pub use refusals::Refusals;

use access::{Access, Source};
use question::{Question, Session};
use retry::Retries;

use crate::pod::name::{DefinitionName, Namespace};
use cni::error::one_line;
use cni::request::Environment;
use linux::signal::unless_stopped;

/// The resource of definitions, as `kubectl` and RBAC name it.
const DEFINITIONS: &str = "network-attachment-definitions.k8s.cni.cncf.io";
/// The resource that the nodes' pod of Braid's own belongs to.
const DAEMON_SETS: &str = "daemonsets.apps";
/// What a service account's tokens are asked of.
const TOKENS: &str = "serviceaccounts/token";
/// The most names that are asked for.
const MAX_NAMES: u32 = 500;
/// The limit for an event: nobody waits long for one.
const EVENT_LIMIT: Duration = Duration::from_secs(3);
/// Shortens the answer to what nobody reads.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The annotation that carries the status (NPWG 1.3, section 5).
const STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";
/// Set by the kubelet on what it puts into the API for a static pod: that pod's UID in its own eyes.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Where the kubelet has a pod from: `api`, `file` or `http`.
const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";

/// Where the API is and how long it may take.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The kubeconfig (`kubeconfig`); the in-cluster files count where there is none.
    pub kubeconfig: Option<PathBuf>,
    /// The limit for one question with all its repetitions (`apiTimeout`); a connection gets half of it.
    pub timeout: Duration,
    /// Where Kubernetes puts the in-cluster files.
    pub service_account: PathBuf,
    /// Variables of our environment that an exec plugin of the kubeconfig gets beside the usual ones.
    pub pass_environment: Vec<String>,
    /// What is remembered of refusals. With it, one that is new is a delay; without it, each is final.
    pub refusals: Option<Refusals>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            timeout: Duration::from_secs(10),
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
            pass_environment: Vec::new(),
            refusals: None,
        }
    }
}

/// A definition as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterDefinition {
    /// `metadata.namespace`.
    pub namespace: Namespace,
    /// `metadata.name`.
    pub name: DefinitionName,
    /// `spec.config`, where it is there and not empty.
    pub config: Option<String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// A pod as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterPod {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deletion: bool,
}

impl ClusterPod {
    /// Whether this is the mirror of a pod that the kubelet has from a file or a URL. Its runtime knows it
    /// by another UID than the API.
    pub fn is_static(&self) -> bool {
        let source = self.annotations.get(SOURCE_ANNOTATION);
        self.annotations.contains_key(MIRROR_ANNOTATION) || source.is_some_and(|source| source != "api")
    }
}

/// A pod to write to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodReference {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// Its UID, where it must be this very pod: not for static pods, which the API knows by another.
    pub uid: Option<String>,
}

/// The way to the Kubernetes API.
pub struct Cluster {
    source: Source,
    timeout: Duration,
    /// What an exec plugin of the kubeconfig gets.
    variables: exec::Variables,
    refusals: Option<Refusals>,
    open: Option<Open>,
    /// Why there is no way to the API: what hangs (an exec plugin, a file) costs its limit once.
    failed: Option<ClusterError>,
    /// Whether the last question found the API silent.
    is_silent: bool,
}

/// What the first question starts.
struct Open {
    runtime: Option<Runtime>,
    session: Session,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Without waiting: a name lookup that hangs must not hold up a pod.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
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
            Some(path) => Source::Kubeconfig(path.clone()),
            None => Source::in_cluster(environment, &config.service_account)?,
        };
        let variables = exec::variables(environment, &config.pass_environment);
        Some(Self {
            source,
            timeout: config.timeout,
            variables,
            refusals: config.refusals.clone(),
            open: None,
            failed: None,
            is_silent: false,
        })
    }

    /// Whether anything has been asked so far.
    pub fn was_asked(&self) -> bool {
        self.open.is_some()
    }

    /// The definitions, in the order of `wanted`; each is asked for once, all at the same time.
    pub fn definitions(
        &mut self,
        wanted: &[(Namespace, DefinitionName)],
    ) -> Vec<Result<ClusterDefinition, ClusterError>> {
        let mut distinct: Vec<_> = wanted.iter().collect();
        distinct.sort();
        distinct.dedup();
        let questions = distinct.iter().map(|(namespace, name)| definition_question(namespace, name));
        let answers = self.ask_all(&questions.collect::<Vec<_>>(), Patience::Usual, |question, body| {
            answer::definition(&question.namespace, &question.name, body)
        });
        let found: BTreeMap<_, _> = distinct.into_iter().zip(answers).collect();
        wanted.iter().filter_map(|wanted| found.get(wanted).cloned()).collect()
    }

    /// The names of the definitions in `namespace`, up to 500, asked for once and not for long: they are for
    /// a message. Needs the optional right to list them.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn definition_names(&mut self, namespace: &Namespace) -> Result<Vec<String>, ClusterError> {
        let question = Question {
            verb: "list",
            resource: DEFINITIONS,
            namespace: namespace.to_string(),
            name: String::new(),
            what: format!("the definitions in namespace {namespace}"),
            request: definitions_path(namespace)
                .list_metadata(&ListParams::default().limit(MAX_NAMES))
                .map_err(|error| error.to_string()),
        };
        self.ask(&question, Patience::Little, |_, body| answer::names(body))
    }

    /// A pod. Needs the optional right to get pods.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn pod(&mut self, namespace: &Namespace, name: &str) -> Result<ClusterPod, ClusterError> {
        let what = pod_in_words(namespace, name)?;
        let question = Question {
            verb: "get",
            resource: "pods",
            namespace: namespace.to_string(),
            name: name.to_owned(),
            what,
            request: pods_path(namespace).get(name, &GetParams::default()).map_err(|error| error.to_string()),
        };
        self.ask(&question, Patience::Usual, |question, body| {
            answer::pod(&question.namespace, &question.name, body)
        })
    }

    /// Sets the network-status annotation of a pod to `status`, through the pod's status, in one request.
    ///
    /// # Errors
    /// [`ClusterError`]: `NotFound` where the pod is gone, `Conflict` where another one has its name.
    pub fn publish_status(&mut self, pod: &PodReference, status: &str) -> Result<(), ClusterError> {
        let what = pod_in_words(&pod.namespace, &pod.name)?;
        let mut metadata = json!({"annotations": {STATUS_ANNOTATION: status}});
        if let (Some(uid), Some(metadata)) = (&pod.uid, metadata.as_object_mut()) {
            metadata.insert("uid".to_owned(), json!(uid));
        }
        let parameters = PatchParams { field_manager: Some("braid".to_owned()), ..PatchParams::default() };
        let request = pods_path(&pod.namespace).patch_subresource(
            "status",
            &pod.name,
            &parameters,
            &Patch::Merge(json!({ "metadata": metadata })),
        );
        let question = Question {
            verb: "patch",
            resource: "pods/status",
            namespace: pod.namespace.to_string(),
            name: pod.name.clone(),
            what,
            request: request.map(metadata_only).map_err(|error| error.to_string()),
        };
        self.ask(&question, Patience::Great, |_, _| Ok(()))
    }

    /// Publishes a warning about a pod: once, within 3 seconds, and not at all where the API was silent a
    /// moment ago. The same warning about the same pod makes one event.
    ///
    /// # Errors
    /// [`ClusterError`], for the log alone: what was to be told has failed already.
    pub fn publish_event(
        &mut self,
        pod: &PodReference,
        reason: &str,
        message: &str,
    ) -> Result<(), ClusterError> {
        if self.is_silent {
            return Ok(());
        }
        let what = format!("an event about {}", pod_in_words(&pod.namespace, &pod.name)?);
        let node = nix::unistd::gethostname().unwrap_or_default();
        let event = event::warning(pod, reason, message, &node.to_string_lossy());
        let body = serde_json::to_vec(&event).map_err(|error| error.to_string());
        let path = kube::core::Request::new(Event::url_path(&(), Some(pod.namespace.as_str())));
        let parameters = PostParams { field_manager: Some("braid".to_owned()), ..PostParams::default() };
        let question = Question {
            verb: "create",
            resource: "events.events.k8s.io",
            namespace: pod.namespace.to_string(),
            name: String::new(),
            what,
            request: body.and_then(|body| path.create(&parameters, body).map_err(|error| error.to_string())),
        };
        match self.ask(&question, Patience::Little, |_, _| Ok(())) {
            // It is there already.
            Err(ClusterError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    fn ask<T>(
        &mut self,
        question: &Question,
        patience: Patience,
        read: impl Fn(&Question, &[u8]) -> Result<T, String>,
    ) -> Result<T, ClusterError> {
        let mut answers = self.ask_all(std::slice::from_ref(question), patience, read);
        answers.pop().unwrap_or_else(|| Err(self.cannot_start("the question was lost")))
    }

    /// One answer for each question, in their order.
    fn ask_all<T>(
        &mut self,
        questions: &[Question],
        patience: Patience,
        read: impl Fn(&Question, &[u8]) -> Result<T, String>,
    ) -> Vec<Result<T, ClusterError>> {
        let limit = patience.limit(self.timeout);
        let (runtime, session) = match self.open() {
            Ok(open) => open,
            Err(error) => return questions.iter().map(|_| Err(error.clone())).collect(),
        };
        let asked = questions.iter().map(|question| session.ask(question, limit, patience.retries()));
        let Some(bodies) = runtime.block_on(unless_stopped(join_all(asked))) else {
            return questions.iter().map(|question| Err(stopped(question))).collect();
        };
        let mut answers: Vec<_> = questions
            .iter()
            .zip(bodies)
            .map(|(question, body)| {
                body.and_then(|body| {
                    read(question, &body).map_err(|problem| session.useless(question, &problem))
                })
            })
            .collect();
        self.is_silent = answers.iter().any(|answer| answer.as_ref().is_err_and(ClusterError::is_outage));
        let unusable = |error: &&ClusterError| matches!(error, ClusterError::Kubeconfig { .. });
        if patience != Patience::Little {
            self.doubt_refusals(&mut answers);
        }
        self.failed = answers.iter().filter_map(|answer| answer.as_ref().err()).find(unusable).cloned();
        answers
    }

    /// A right that the API has missed for a few seconds alone may be missing only until it has read all rights.
    fn doubt_refusals<T>(&self, answers: &mut [Result<T, ClusterError>]) {
        let mut refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        let is_new = |refusals: &Refusals| {
            refused.any(|error| matches!(error, ClusterError::Forbidden { .. })) && !refusals.stay()
        };
        if self.refusals.as_ref().is_some_and(is_new) {
            for error in answers.iter_mut().filter_map(|answer| answer.as_mut().err()) {
                *error = error.clone().doubted();
            }
        }
    }

    fn open(&mut self) -> Result<(&Runtime, &Session), ClusterError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.open.is_none() {
            let opened = self.start();
            self.open = Some(opened.inspect_err(|error| self.failed = Some(error.clone()))?);
        }
        match self.open.as_ref().map(|open| (open.runtime.as_ref(), &open.session)) {
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
        let opening = Access::open(&self.source, &self.variables, self.timeout);
        let access = runtime
            .block_on(unless_stopped(opening))
            .unwrap_or_else(|| Err(ClusterError::Stopped { what: "a credential".to_owned() }))?;
        Ok(Open { runtime: Some(runtime), session: Session::new(access, self.timeout) })
    }

    fn cannot_start(&self, problem: &str) -> ClusterError {
        ClusterError::Kubeconfig {
            path: self.source.path().to_owned(),
            problem: format!("cannot start a client: {problem}"),
        }
    }
}

/// How much trouble a question is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Patience {
    /// The whole limit, however often it takes.
    Great,
    Usual,
    /// Once, and not for long.
    Little,
}

impl Patience {
    fn limit(self, usual: Duration) -> Duration {
        match self {
            Self::Great | Self::Usual => usual,
            Self::Little => usual.min(EVENT_LIMIT),
        }
    }

    fn retries(self) -> Retries {
        match self {
            Self::Great => Retries::until_the_limit(),
            Self::Usual => Retries::usual(),
            Self::Little => Retries::none(),
        }
    }
}

fn definition_question(namespace: &Namespace, name: &DefinitionName) -> Question {
    Question {
        verb: "get",
        resource: DEFINITIONS,
        namespace: namespace.to_string(),
        name: name.to_string(),
        what: format!("network \"{namespace}/{name}\""),
        request: definitions_path(namespace)
            .get(name.as_str(), &GetParams::default())
            .map_err(|error| error.to_string()),
    }
}

fn definitions_path(namespace: &Namespace) -> kube::core::Request {
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    kube::core::Request::new(DynamicObject::url_path(&resource, Some(namespace.as_str())))
}

fn pods_path(namespace: &Namespace) -> kube::core::Request {
    kube::core::Request::new(Pod::url_path(&(), Some(namespace.as_str())))
}

/// The pod in words. A name that no object can have is one that does not exist, and never becomes a path.
fn pod_in_words(namespace: &Namespace, name: &str) -> Result<String, ClusterError> {
    let what = format!("pod \"{namespace}/{}\"", one_line(name, 253));
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && name.len() <= 253 && name.chars().all(is_plain) {
        Ok(what)
    } else {
        Err(ClusterError::NotFound { what })
    }
}

fn metadata_only(mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
    request
}

fn stopped(question: &Question) -> ClusterError {
    ClusterError::Stopped { what: question.what.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_pod_has_never_become_a_path() {
        let namespace = "a".parse().unwrap();
        for name in ["", "..", "../../secrets/x", "x/status", "x?y", "x%2f", "X", "x y", &"x".repeat(254)] {
            assert!(matches!(pod_in_words(&namespace, name), Err(ClusterError::NotFound { .. })), "{name}");
        }
        // A pod's name is one long label more often than not.
        assert_eq!(pod_in_words(&namespace, "web-0.x").unwrap(), "pod \"a/web-0.x\"");
        assert!(pod_in_words(&namespace, &"x".repeat(253)).is_ok());
    }
}
