//! Credentials: tokens, token files, certificates, the files of a pod; and the 401 of each.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use braid::internals::kube::{Cluster, ClusterConfig, ClusterError, Expiry};
use cni::request::Environment;
use serde_json::json;

use super::{BLUE, blue, cluster, kubeconfig_error};
use crate::apiserver::{ApiServer, Setup, User};

#[test]
fn in_cluster_files_are_used_if_no_kubeconfig_is_configured() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let config =
        ClusterConfig { service_account: server.service_account(), ..ClusterConfig::default() };
    let port = server.port().to_string();
    let environment = Environment::from([
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port),
    ]);
    let mut cluster = Cluster::configured(&config, &environment).unwrap();
    blue(&mut cluster).unwrap();
    assert_eq!(server.requests()[0].user.as_deref(), Some("system:serviceaccount:braid:braid"));
}

#[test]
fn a_token_file_is_read_again_for_each_request() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let first = server.token(&User::braid(), 3600);
    let file = server.file(&format!("{first}\n"));
    let mut cluster = cluster(&server.kubeconfig(json!({"tokenFile": file})));
    blue(&mut cluster).unwrap();
    server.revoke(&first);
    std::fs::write(&file, server.token(&User::braid(), 3600)).unwrap();
    blue(&mut cluster).unwrap();
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_token_file_counts_before_a_token_and_a_token_if_the_file_is_gone() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let token = server.token(&User::braid(), 3600);
    let file = server.file(&token);
    blue(&mut cluster(&server.kubeconfig(json!({"tokenFile": file, "token": "stale"})))).unwrap();
    blue(&mut cluster(&server.kubeconfig(json!({"tokenFile": "/does/not/exist", "token": token}))))
        .unwrap();
}

#[test]
fn paths_in_a_kubeconfig_are_relative_to_it() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    std::fs::write(server.directory().join("ca.pem"), server.authority()).unwrap();
    std::fs::write(server.directory().join("token"), server.token(&User::braid(), 3600)).unwrap();
    let entry = json!({"server": server.url(), "certificate-authority": "ca.pem"});
    blue(&mut cluster(&server.kubeconfig_for(entry, json!({"tokenFile": "token"})))).unwrap();
}

#[test]
fn client_certificates_are_read_from_data_and_from_files() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    server.objects().rbac.is_off = true;
    let pair = server.certificate(&User::named("system:node:n1"));
    let data = json!({
        "client-certificate-data": STANDARD.encode(&pair.certificate),
        "client-key-data": STANDARD.encode(&pair.key),
    });
    let files = json!({"client-certificate": server.file(&pair.certificate), "client-key": server.file(&pair.key)});
    for user in [data, files] {
        blue(&mut cluster(&server.kubeconfig(user))).unwrap();
    }
    assert!(
        server.requests().iter().all(|request| request.user.as_deref() == Some("system:node:n1"))
    );
}

/// A FIFO would wait for a writer, a device begin to work or never end.
#[test]
fn only_regular_files_lead_to_the_api() {
    let server = ApiServer::start();
    let fifo = server.directory().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pair = server.certificate(&User::named("system:node:n1"));
    let (certificate, key) = (server.file(&pair.certificate), server.file(&pair.key));
    for bad in [fifo.as_path(), Path::new("/dev/zero"), server.directory()] {
        let in_cluster = tempfile::tempdir().unwrap();
        std::fs::write(in_cluster.path().join("token"), "t").unwrap();
        std::os::unix::fs::symlink(bad, in_cluster.path().join("ca.crt")).unwrap();
        let entry = json!({"server": server.url(), "certificate-authority": bad});
        let errors = [
            kubeconfig_error(bad),
            kubeconfig_error(&server.kubeconfig(json!({"tokenFile": bad}))),
            kubeconfig_error(&server.kubeconfig_for(entry, json!({"token": "s3cret"}))),
            kubeconfig_error(
                &server.kubeconfig(json!({"client-certificate": bad, "client-key": key})),
            ),
            kubeconfig_error(
                &server.kubeconfig(json!({"client-certificate": certificate, "client-key": bad})),
            ),
            in_cluster_error(&server, in_cluster.path()),
        ];
        for error in errors {
            assert!(error.ends_with("it is not a regular file"), "{}: {error}", bad.display());
        }
    }
    assert_eq!(server.connections(), 0);
}

fn in_cluster_error(server: &ApiServer, directory: &Path) -> String {
    let port = server.port().to_string();
    let environment = Environment::from([
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", port.as_str()),
    ]);
    let config =
        ClusterConfig { service_account: directory.to_owned(), ..ClusterConfig::default() };
    blue(&mut Cluster::configured(&config, &environment).unwrap()).unwrap_err().to_string()
}

#[test]
fn a_token_that_ended_is_named_with_its_file_and_its_end() {
    let server = ApiServer::start();
    let token = server.token(&User::braid(), -60);
    let file = server.file(&token);
    let in_file = server.kubeconfig(json!({"tokenFile": file}));
    let error = blue(&mut cluster(&in_file)).unwrap_err();
    let ClusterError::Unauthorized { expiry: Some(Expiry::Expired(end)), file: named, .. } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(named.as_deref(), Some(file.as_path()));
    let expected = format!(
        "the API server at {} does not accept the token of the file {}: it expired at {}",
        server.name(),
        file.display(),
        end.format("%Y-%m-%dT%H:%M:%SZ")
    );
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_outage());
    assert_eq!(server.requests().len(), 1, "a 401 is not asked again");

    let inline = server.kubeconfig(json!({"token": token}));
    let error = blue(&mut cluster(&inline)).unwrap_err().to_string();
    assert!(
        error.contains(&format!("the token in {}: it expired at", inline.display())),
        "{error}"
    );
}

#[test]
fn every_credential_that_is_not_accepted_is_named() {
    let server = ApiServer::start();
    let revoked = server.token(&User::braid(), 3600);
    server.revoke(&revoked);
    let plugin = server.program(
        "echo '{\"kind\": \"ExecCredential\", \"status\": {\"token\": \"opaque\", \
                                 \"expirationTimestamp\": \"2026-01-01T00:00:00Z\"}}'",
    );
    let cases = [
        (json!({}), "does not accept a call without a credential, and KUBECONFIG has none"),
        (json!({"token": "opaque"}), "does not accept the token in KUBECONFIG"),
        (
            json!({"username": "u", "password": "p"}),
            "does not accept the password of \"u\" in KUBECONFIG",
        ),
        (
            json!({"exec": {"command": plugin}}),
            "gave, named in KUBECONFIG: it expired at 2026-01-01T00:00:00Z",
        ),
    ];
    for (user, end) in cases {
        let kubeconfig = server.kubeconfig(user);
        let error = blue(&mut cluster(&kubeconfig)).unwrap_err();
        assert!(matches!(error, ClusterError::Unauthorized { .. }), "{error:?}");
        let end = end.replace("KUBECONFIG", &kubeconfig.display().to_string());
        assert!(error.to_string().ends_with(&end), "{error} / {end}");
        assert!(!error.to_string().contains("opaque"), "{error}");
    }
    let error =
        blue(&mut cluster(&server.kubeconfig(json!({"token": revoked})))).unwrap_err().to_string();
    assert!(error.contains(": it would be valid until 2"), "{error}");
}

#[test]
fn a_client_certificate_that_ended_is_a_credential_and_no_outage() {
    for protocols in [vec!["h2"], vec!["http/1.1"]] {
        let server = ApiServer::with(Setup { protocols, ..Setup::default() });
        let pair = server.expired_certificate();
        let certificate = server.file(&pair.certificate);
        let user = json!({"client-certificate": certificate, "client-key": server.file(&pair.key)});
        let error = blue(&mut cluster(&server.kubeconfig(user))).unwrap_err();
        let ClusterError::Unauthorized { credential, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*credential, format!("the client certificate in {}", certificate.display()));
        assert_eq!(server.connections(), 1);
    }
}
