//! `braid::internals::kube` against the API server's double: every credential, every refusal, every
//! way in which a server can fail, and how many requests and connections each thing takes.

mod credentials;
mod definitions;
mod exec_plugin;
mod kubeconfig;
mod outage;
mod rights;
mod status_and_events;

use std::path::Path;
use std::time::{Duration, Instant};

use braid::internals::kube::{
    Cluster, ClusterConfig, ClusterDefinition, ClusterError, PodReference,
};
use braid::internals::pod::name::{DefinitionName, Namespace};
use cni::request::Environment;

use crate::apiserver::ApiServer;

const BLUE: &str = r#"{"cniVersion": "1.0.0", "type": "bridge"}"#;

fn cluster(kubeconfig: &Path) -> Cluster {
    cluster_within(kubeconfig, Duration::from_secs(10))
}

fn cluster_within(kubeconfig: &Path, timeout: Duration) -> Cluster {
    let config =
        ClusterConfig { kubeconfig: Some(kubeconfig.into()), timeout, ..ClusterConfig::default() };
    Cluster::configured(&config, &Environment::default()).unwrap()
}

fn wanted(names: &[&str]) -> Vec<(Namespace, DefinitionName)> {
    let split = |name: &&str| {
        let (namespace, name) = name.split_once('/').unwrap();
        (namespace.parse().unwrap(), name.parse().unwrap())
    };
    names.iter().map(split).collect()
}

/// Asks for `team-a/blue`.
fn blue(cluster: &mut Cluster) -> Result<ClusterDefinition, ClusterError> {
    let mut answers = cluster.definitions(&wanted(&["team-a/blue"]));
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// A server with `team-a/blue`, and a cluster that may read it.
fn server_and_cluster() -> (ApiServer, Cluster) {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let cluster = cluster(&server.usual_kubeconfig());
    (server, cluster)
}

fn web(uid: Option<&str>) -> PodReference {
    PodReference {
        namespace: "team-a".parse().unwrap(),
        name: "web".to_owned(),
        uid: uid.map(str::to_owned),
    }
}

/// Runs `ask`; it must take at least `least` and less than `most`.
fn timed<T>(least: Duration, most: Duration, ask: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = ask();
    let taken = start.elapsed();
    assert!(taken >= least && taken < most, "took {taken:?}, not {least:?} to {most:?}");
    answer
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn kubeconfig_error(path: &Path) -> String {
    let error = blue(&mut cluster_within(path, ms(2000))).unwrap_err();
    assert!(matches!(error, ClusterError::Kubeconfig { .. }) && !error.is_outage(), "{error:?}");
    let text = error.to_string();
    assert!(!text.contains("s3cret"), "{text}");
    text
}
