//! The store of cluster-wide addresses: the Kubernetes API.

use cni::deadline::Deadline;
use plugins::ipam::cluster::store::{AddressStore, Request, StoreError};

use super::{Cluster, ClusterError};

impl AddressStore for Cluster {
    fn send(
        &mut self,
        requests: &[Request],
        deadline: Deadline,
    ) -> Vec<Result<Vec<u8>, StoreError>> {
        let answers = self.address_objects(requests, deadline.remaining());
        answers.into_iter().map(|answer| answer.map_err(StoreError::from)).collect()
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
    use std::time::Duration;

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
