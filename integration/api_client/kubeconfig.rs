//! Kubeconfigs that cannot be used, and the TLS settings in them.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use braid::internals::kube::ClusterError;
use serde_json::{Value, json};

use super::{BLUE, blue, cluster, kubeconfig_error};
use crate::apiserver::{ApiServer, Setup, User};

#[test]
fn a_server_that_is_not_trusted_is_no_outage() {
    let server = ApiServer::start();
    let other = ApiServer::start();
    let token = json!({"token": "t"});
    let foreign = json!({"server": server.url(), "certificate-authority-data": STANDARD.encode(other.authority())});
    let kubeconfig = server.kubeconfig_for(foreign, token.clone());
    let error = blue(&mut cluster(&kubeconfig)).unwrap_err();
    assert!(matches!(error, ClusterError::Untrusted { .. }) && !error.is_outage(), "{error:?}");
    let check = format!("check certificate-authority-data in {}", kubeconfig.display());
    assert!(
        error.to_string().contains("UnknownIssuer") && error.to_string().ends_with(&check),
        "{error}"
    );

    let mut entry = server.cluster_entry();
    entry["tls-server-name"] = json!("another.example");
    let error = blue(&mut cluster(&server.kubeconfig_for(entry, token.clone()))).unwrap_err();
    assert!(matches!(error, ClusterError::Untrusted { .. }), "{error:?}");

    let unknown = json!({"server": server.url()});
    let error = blue(&mut cluster(&server.kubeconfig_for(unknown, token))).unwrap_err();
    assert!(!error.is_outage(), "{error:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn the_name_in_the_certificate_can_be_given() {
    let server = ApiServer::with(Setup { names: vec!["api.example"], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let user = json!({"token": server.token(&User::braid(), 3600)});
    let mut entry = server.cluster_entry();
    entry["tls-server-name"] = json!("api.example");
    blue(&mut cluster(&server.kubeconfig_for(entry, user.clone()))).unwrap();
    blue(&mut cluster(&server.kubeconfig_for(server.cluster_entry(), user))).unwrap_err();
}

#[test]
fn a_certificate_is_not_checked_if_the_kubeconfig_says_so() {
    let server = ApiServer::with(Setup { names: vec!["api.example"], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let entry = json!({"server": server.url(), "insecure-skip-tls-verify": true});
    let user = json!({"token": server.token(&User::braid(), 3600)});
    blue(&mut cluster(&server.kubeconfig_for(entry, user))).unwrap();
}

#[test]
fn a_server_may_stand_behind_a_prefix_and_a_name() {
    let server = ApiServer::with(Setup { prefix: "/k8s/clusters/c-1", ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let mut entry = server.cluster_entry();
    entry["server"] = json!(format!("https://localhost:{}/k8s/clusters/c-1/", server.port()));
    let user = json!({"token": server.token(&User::braid(), 3600)});
    blue(&mut cluster(&server.kubeconfig_for(entry, user))).unwrap();
    assert!(server.requests()[0].path.starts_with("/k8s/clusters/c-1/apis/k8s.cni.cncf.io/v1/"));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_with_the_reason() {
    let server = ApiServer::start();
    let missing = PathBuf::from("/does/not/exist");
    assert!(kubeconfig_error(&missing).starts_with("/does/not/exist: cannot read it: "));
    let texts = [
        ("", "has no \"current-context\""),
        ("a: [b", "is not a kubeconfig"),
        ("users: {token: s3cret", "is not a kubeconfig"),
        ("users: s3cret", "is not a kubeconfig"),
        ("current-context: x", "has no context \"x\", its current-context"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}]}",
            "has no cluster \"c\"",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], \
             clusters: [{name: c, cluster: {server: 'https://h'}}]}",
            "has no user \"u\"",
        ),
    ];
    for (text, problem) in texts {
        let file = server.file(text);
        let error = kubeconfig_error(&file);
        assert!(error.starts_with(&format!("{}: {problem}", file.display())), "{error}");
    }
}

#[test]
fn parts_of_a_kubeconfig_that_cannot_be_used_are_named() {
    let server = ApiServer::start();
    let entry = |key: &str, value: Value| {
        let mut entry = server.cluster_entry();
        entry[key] = value;
        entry
    };
    let token = json!({"token": "s3cret"});
    let cases = [
        (
            entry("server", json!("http://127.0.0.1:1")),
            token.clone(),
            "is not an https URL with a host",
        ),
        (entry("server", Value::Null), token.clone(), "its cluster has no \"server\""),
        (
            entry("certificate-authority-data", json!("%")),
            token.clone(),
            "certificate-authority-data is not base64",
        ),
        (
            entry("certificate-authority-data", json!("aGk=")),
            token.clone(),
            "holds no certificate in PEM",
        ),
        (entry("proxy-url", json!("http://p:1")), token, "\"proxy-url\" is not supported"),
        (server.cluster_entry(), json!({"token": "s3cret", "as": "root"}), "impersonation"),
        (
            server.cluster_entry(),
            json!({"auth-provider": {"name": "gcp"}}),
            "\"auth-provider\" is not supported",
        ),
        (
            server.cluster_entry(),
            json!({"client-certificate": "/does/not/exist"}),
            "/does/not/exist",
        ),
        (
            server.cluster_entry(),
            json!({"client-certificate-data": "aGk=", "client-key-data": "aGk="}),
            "key",
        ),
        (server.cluster_entry(), json!({"tokenFile": "/does/not/exist"}), "cannot read the token"),
        (server.cluster_entry(), json!({"tokenFile": server.file("\n")}), "holds no token"),
        (server.cluster_entry(), json!({"token": "a\ns3cret"}), "has characters in it"),
        (server.cluster_entry(), json!({"exec": {"args": ["x"]}}), "\"exec\" has no \"command\""),
    ];
    for (entry, user, problem) in cases {
        let error = kubeconfig_error(&server.kubeconfig_for(entry, user));
        assert!(error.contains(problem), "{error} / {problem}");
    }
    assert!(server.requests().is_empty());
}
