//! The store of cluster-wide addresses: the Kubernetes API.

use std::path::Path;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::request::Environment;
use plugins::ipam::cluster::store::{
    AddressStore, ApiAccess, OpenStore, Opened, Request, StoreError,
};

use super::retry::RetryPolicy;
use super::{Cluster, ClusterConfig, ClusterError, NeededRight};

/// Where whereabouts keeps its objects if the kubeconfig names no namespace.
const NAMESPACE: &str = "kube-system";

/// How long reading a kubeconfig with all it names may take, whatever time the call has left.
const OPEN: Duration = Duration::from_secs(15);

/// Opens the API by the kubeconfig of an IPAM configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiStores;

impl ApiStores {
    /// Lets the built-in IPAM plugin reach the API. `home` is the node's own journal of addresses.
    pub(crate) fn provide(home: &Path) {
        plugins::ipam::cluster::provide(&Self, home);
    }
}

impl OpenStore for ApiStores {
    fn open(&self, access: &ApiAccess, deadline: Deadline) -> Result<Opened, StoreError> {
        let missing =
            || StoreError::Refused("no \"kubernetes.kubeconfig\" is configured".to_owned());
        let config = ClusterConfig {
            kubeconfig: Some(access.kubeconfig.clone().ok_or_else(missing)?),
            server: access.server.clone(),
            open_limit: Some(deadline.remaining().min(OPEN)),
            ..ClusterConfig::default()
        };
        let environment = Environment::of_process();
        let mut cluster = Cluster::configured(&config, &environment).ok_or_else(missing)?;
        let (server, namespace) = cluster.place()?;
        let namespace = namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        Ok(Opened { store: Box::new(cluster), server, namespace })
    }
}

impl AddressStore for Cluster {
    fn send(
        &mut self,
        requests: &[Request],
        deadline: Deadline,
    ) -> Vec<Result<Vec<u8>, StoreError>> {
        let answers = self.address_objects(requests, deadline.remaining());
        answers.into_iter().map(|answer| answer.map_err(StoreError::from)).collect()
    }

    fn may_allocate(&mut self, namespace: &str, deadline: Deadline) -> Result<bool, StoreError> {
        let policy = RetryPolicy::OnceWithin(deadline.remaining());
        Ok(self.review(NeededRight::AllocateAddresses, namespace, policy)?)
    }
}

impl From<ClusterError> for StoreError {
    fn from(error: ClusterError) -> Self {
        let sentence = error.to_string();
        match error {
            ClusterError::NotFound { .. } => Self::Missing(sentence),
            ClusterError::NoResource { .. } | ClusterError::NoDefinitions { .. } => {
                Self::NoKind(sentence)
            }
            ClusterError::Conflict { .. } | ClusterError::Contended { .. } => {
                Self::Conflict(sentence)
            }
            ClusterError::Invalid { .. } => Self::Invalid(sentence),
            ClusterError::TooLarge { .. } => Self::TooLarge(sentence),
            ClusterError::Throttled { retry_after, .. } => {
                Self::Throttled { message: sentence, retry_after }
            }
            ClusterError::Unreachable { .. }
            | ClusterError::TimedOut { .. }
            | ClusterError::Failing { .. }
            | ClusterError::NotYetAllowed { .. } => Self::Unavailable(sentence),
            ClusterError::Stopped { .. } => Self::Stopped(sentence),
            ClusterError::Untrusted { .. }
            | ClusterError::Unauthorized { .. }
            | ClusterError::Forbidden { .. }
            | ClusterError::Kubeconfig { .. } => Self::Refused(sentence),
            ClusterError::Answer { .. } => Self::Answer(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_been_done_says_so() {
        let (server, what) = (|| "h:1".to_owned(), || "address pool \"a/b\"".to_owned());
        let problem = || "x".to_owned();
        let timed_out =
            ClusterError::TimedOut { server: server(), step: "answer", limit: Duration::ZERO };
        for (error, is_open) in [
            (timed_out, true),
            (ClusterError::Unreachable { server: server(), problem: problem() }, true),
            (ClusterError::Stopped { what: what() }, true),
            (ClusterError::NotFound { what: what() }, false),
            (ClusterError::Conflict { what: what(), problem: problem() }, false),
            (ClusterError::TooLarge { what: what(), problem: problem() }, false),
        ] {
            let shown = error.to_string();
            let error = StoreError::from(error);
            assert_eq!((error.may_have_been_done(), error.to_string()), (is_open, shown));
        }
    }
}
