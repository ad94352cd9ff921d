//! The API behind the node: whether it answers, what it lets Braid do, and how long the token is
//! good.

use std::path::Path;

use chrono::{TimeDelta, Utc};

use super::{Finding, fail, ok, warn};
use crate::conf_file;
use crate::config::{Config, StatusPolicy};
use crate::kube::Cluster;
use crate::operator::credential;

/// How long before its end a token is worth a warning.
const TOKEN_MARGIN: TimeDelta = TimeDelta::minutes(10);

/// The API that the configuration names.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(mut cluster) = credential::cluster(config) else {
        return vec![ok("api", "none is configured: definitions are the node's")];
    };
    let mut findings: Vec<Finding> =
        config.kubeconfig.iter().filter_map(|file| token(file)).collect();
    if let Err(error) = credential::may_read(&mut cluster, config) {
        let advice = "without it, pods with networks of the cluster do not start";
        findings.push(fail("api", error.to_string(), advice));
        return findings;
    }
    findings.push(ok("api", "it answers, and lets braid read definitions"));
    if config.status_policy != StatusPolicy::Never {
        findings.push(match credential::may_publish(&mut cluster, config) {
            Ok(()) => ok("api", "it lets braid publish the status of pods"),
            Err(error) => fail(
                "api",
                error.to_string(),
                "grant the right, or set \"statusPolicy\": \"never\"",
            ),
        });
    }
    findings.extend(everywhere(&mut cluster, config));
    findings
}

/// Rights that one namespace alone grants.
fn everywhere(cluster: &mut Cluster, config: &Config) -> Option<Finding> {
    let (message, advice) = match credential::lacks_everywhere(cluster, config) {
        Ok(None) => return None,
        Ok(Some(right)) => (
            format!("it does not let braid {right} in every namespace"),
            "pods of other namespaces do not start with networks of the cluster: grant it by a \
             ClusterRoleBinding",
        ),
        Err(error) => {
            (error.to_string(), "whether braid has its rights in every namespace is not known")
        }
    };
    Some(warn("api", message, advice))
}

/// A token that ends soon, and that nothing renews.
fn token(kubeconfig: &Path) -> Option<Finding> {
    use secrecy::ExposeSecret;
    let read = crate::kube::parse_kubeconfig(&conf_file::read(kubeconfig).ok()?).ok()?;
    let directory = kubeconfig.parent()?;
    let users = read.auth_infos.into_iter().filter_map(|user| user.auth_info);
    let text = users.into_iter().find_map(|user| match (user.token_file, user.token) {
        (Some(file), _) => conf_file::read(&directory.join(file)).ok(),
        (None, token) => token.map(|token| token.expose_secret().to_owned()),
    })?;
    let end = crate::kube::token_end(&text)?;
    let shown = end.format("%Y-%m-%d %H:%M:%S UTC");
    Some(if end < Utc::now() {
        fail(
            "token",
            format!("it ended at {shown}"),
            "renew it: braid install, or the DaemonSet, writes a new one",
        )
    } else if end < Utc::now() + TOKEN_MARGIN {
        warn("token", format!("it ends at {shown}"), "make sure that it is renewed")
    } else {
        ok("token", format!("good until {shown}"))
    })
}
