//! Certificates: from files that change, of clients, and those that the replicas make.

use std::os::unix::fs::symlink;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::webhook::{Pair, Webhook, eventually};
use super::{pod, review};
use crate::apiserver::{ApiServer, Setup, User};

/// The rights of the webhook, as the manifests give them.
const MANIFESTS: [&str; 2] =
    ["optional/admission/base/rbac.yaml", "optional/admission/self-signed/rbac.yaml"];

/// A version of a mounted Secret, and the link that the kubelet turns to it at once.
fn mount(directory: &Path, version: &str, pair: &Pair) {
    pair.write(&directory.join(version));
    let next = directory.join("..data_tmp");
    symlink(version, &next).unwrap();
    std::fs::rename(next, directory.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let link = directory.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Pair::new(), Pair::new());
    mount(directory.path(), "..1", &first);
    let mut webhook = Webhook::start(&[
        "--certificates",
        directory.path().to_str().unwrap(),
        "--without-definitions",
    ]);
    let (old, new) = (webhook.client(&first.certificate), webhook.client(&second.certificate));
    assert_eq!(old.get("/readyz").0, 200);
    assert!(new.connect().is_err());

    // A certificate without its key: the one from before is shown.
    let mixed = Pair { certificate: second.certificate.clone(), key: first.key.clone() };
    mount(directory.path(), "..2", &mixed);
    webhook.wait_for("the one from before is still shown");
    assert_eq!(old.get("/readyz").0, 200);

    mount(directory.path(), "..3", &second);
    webhook.wait_for("has changed and is shown from now on");
    assert_eq!(new.get("/readyz").0, 200);
    assert!(old.connect().is_err());
}

#[test]
fn with_an_authority_for_clients_only_they_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (pair, clients) = (Pair::new(), Pair::new());
    pair.write(directory.path());
    let authority = directory.path().join("clients.crt");
    std::fs::write(&authority, &clients.certificate).unwrap();
    let webhook = Webhook::start(&[
        "--certificates",
        directory.path().to_str().unwrap(),
        "--client-ca",
        authority.to_str().unwrap(),
        "--without-definitions",
    ]);
    let mut client = webhook.client(&pair.certificate);
    let body = review(&pod("blue")).to_string();
    assert_eq!(client.request("POST /validate", body.as_bytes()).0, 401);
    assert_eq!(client.get("/readyz").0, 200, "the kubelet has no certificate");
    client.identity = Some(clients);
    assert_eq!(client.review(&review(&pod("blue")))["allowed"], true);
}

/// A cluster with the Secret and the configuration of the manifests.
fn cluster() -> ApiServer {
    let server = ApiServer::with(Setup { manifests: MANIFESTS.to_vec(), ..Setup::default() });
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes/optional/admission");
    for file in ["self-signed/secret.yaml", "base/webhook.yaml"] {
        for object in crate::kustomize::documents(&conf.join(file)) {
            server.objects().put(object);
        }
    }
    server
}

fn kubeconfig(server: &ApiServer) -> std::path::PathBuf {
    let user = User::service_account("braid", "braid-admission");
    server.kubeconfig(json!({"token": server.token(&user, 3600)}))
}

fn start(server: &ApiServer) -> Webhook {
    let file = kubeconfig(server);
    Webhook::start(&[
        "--self-signed",
        "braid/braid-admission",
        "--kubeconfig",
        file.to_str().unwrap(),
    ])
}

/// Whom the API server trusts.
fn trusted(server: &ApiServer) -> String {
    let objects = server.objects();
    let configuration =
        objects.get("validatingwebhookconfigurations", "", "braid-admission").unwrap();
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str();
    bundle
        .map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
        .unwrap_or_default()
}

fn secret(server: &ApiServer) -> Value {
    server.objects().get("secrets", "braid", "braid-admission").unwrap()["data"].clone()
}

#[test]
fn replicas_share_a_certificate_that_they_make() {
    let server = cluster();
    let (mut one, mut two) = (start(&server), start(&server));
    for webhook in [&mut one, &mut two] {
        webhook.wait_for("is shown from now on");
    }
    eventually("the API server trusts the authority", || !trusted(&server).is_empty());
    for webhook in [&one, &two] {
        let client = webhook.client(&trusted(&server));
        eventually("it is ready", || client.get("/readyz").0 == 200);
        assert_eq!(client.review(&review(&pod("team-b/red")))["allowed"], true);
    }
    let rules = server.objects();
    let denied: Vec<_> = rules.rights.iter().filter(|(_, granted)| !granted).collect();
    assert!(denied.is_empty(), "{denied:?}");
}

#[test]
fn a_certificate_that_is_due_is_made_anew_by_the_same_authority() {
    let server = cluster();
    let mut first = start(&server);
    first.wait_for("is shown from now on");
    eventually("the API server trusts the authority", || !trusted(&server).is_empty());
    let before = secret(&server);
    drop(first);
    let object = server.objects().get("secrets", "braid", "braid-admission").cloned();
    let mut due = object.unwrap();
    due["data"]["renew-after"] = json!(STANDARD.encode("2020-01-01T00:00:00+00:00"));
    server.objects().put(due);
    let mut second = start(&server);
    second.wait_for("is shown from now on");
    let after = secret(&server);
    assert_eq!(before["ca.crt"], after["ca.crt"]);
    assert_ne!(before["tls.crt"], after["tls.crt"]);
    assert_eq!(second.client(&trusted(&server)).get("/healthz").0, 200);
}
