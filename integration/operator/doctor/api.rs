//! The Kubernetes API: credentials, rights and silence.

use std::process::Command;

use serde_json::{Value, json};

use super::{arguments, node};
use crate::apiserver::{ApiServer, User};
use crate::node::BRAID;
use crate::operator::kubeconfig_of_multus;

/// In the test's own network namespace, where the API server is.
fn with_api(server: &ApiServer, kubeconfig: &std::path::Path, more: &[&str]) -> String {
    let node = node(json!({"kubeconfig": kubeconfig, "apiTimeout": "3s"}), json!({}));
    let output = Command::new(BRAID)
        .args(arguments(&node, "containerd", more))
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace(&server.name(), "SERVER");
    format!("status {}\n{text}", output.status.code().unwrap())
}

#[test]
fn the_api_with_its_rights_and_its_token() {
    let server = ApiServer::start();
    let said = with_api(&server, &server.usual_kubeconfig(), &[]);
    assert!(
        said.starts_with("status 0\n") && said.contains("ok    token         good until "),
        "{said}"
    );
    assert!(
        said.contains("ok    api           it answers, and lets braid read definitions\n"),
        "{said}"
    );
    assert!(
        said.contains("ok    api           it lets braid publish the status of pods\n"),
        "{said}"
    );

    // Multus's account may read definitions, and not patch pods/status.
    let kubeconfig = kubeconfig_of_multus(&server);
    let said = with_api(&server, &kubeconfig, &[]);
    assert!(
        said.starts_with("status 1\n") && said.contains("lets braid read definitions"),
        "{said}"
    );
    assert!(said.contains("grant the right, or set \"statusPolicy\": \"never\""), "{said}");

    let soon = server.kubeconfig(json!({"token": server.token(&User::braid(), 60)}));
    let said = with_api(&server, &soon, &[]);
    assert!(
        said.starts_with("status 0\n") && said.contains("warn  token         it ends at "),
        "{said}"
    );
    assert!(with_api(&server, &soon, &["--strict"]).starts_with("status 1\n"));
    let late = server.kubeconfig(json!({"token": server.token(&User::braid(), -60)}));
    let said = with_api(&server, &late, &[]);
    assert!(
        said.starts_with("status 1\n") && said.contains("fail  token         it ended at "),
        "{said}"
    );
}

/// A person is told what takes so long.
#[test]
fn an_api_that_hangs_is_waited_for_and_said() {
    let server = ApiServer::start();
    server.be_mute(true);
    let node =
        node(json!({"kubeconfig": server.usual_kubeconfig(), "apiTimeout": "3s"}), json!({}));
    let doctor = format!("{BRAID} {}", arguments(&node, "containerd", &[]).join(" "));
    let output =
        Command::new("script").args(["-qec", &doctor, "/dev/null"]).env("NO_COLOR", "1").output();
    let screen =
        String::from_utf8(output.expect("script is missing: install bsdutils").stdout).unwrap();
    assert!(screen.starts_with("braid doctor: still at work after 2 s\r\n"), "{screen}");
    assert!(screen.contains("fail  api ") && !screen.contains('\u{1b}'), "{screen}");
    // Without a terminal nothing is said.
    let output = Command::new(BRAID)
        .args(arguments(&node, "containerd", &["--json"]))
        .env_clear()
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let api = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "api")
        .unwrap();
    assert_eq!(api["level"], "fail", "{api}");
}
