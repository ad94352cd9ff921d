//! Credentials from exec plugins: their environment, failures and limits.

use std::time::{Duration, Instant};

use braid::internals::kube::{Cluster, ClusterConfig, ClusterError};
use cni::request::Environment;
use serde_json::{Value, json};

use super::{BLUE, blue, cluster, cluster_within, ms, timed, web};
use crate::apiserver::{ApiServer, User};

#[test]
fn an_exec_plugin_gives_a_token() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let token = server.token(&User::braid(), 3600);
    let info = server.directory().join("info");
    let program = server.program(&format!(
        "test \"$EXTRA:$1:$2\" = 'more:get:token' || exit 9\nprintf '%s' \"$KUBERNETES_EXEC_INFO\" \
         > {}\necho '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \
         \"ExecCredential\", \"status\": {{\"token\": \"{token}\"}}}}'",
        info.display()
    ));
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": program, "args": ["get", "token"],
        "env": [{"name": "EXTRA", "value": "more"}], "interactiveMode": "IfAvailable", "provideClusterInfo": true,
    });
    let mut cluster = cluster(&server.kubeconfig(json!({"exec": exec})));
    blue(&mut cluster).unwrap();
    blue(&mut cluster).unwrap();
    let info: Value = serde_json::from_str(&std::fs::read_to_string(info).unwrap()).unwrap();
    assert_eq!(info["kind"], "ExecCredential");
    assert_eq!(info["spec"]["interactive"], false);
    assert_eq!(info["spec"]["cluster"]["server"], server.url());
}

/// Of the runtime's environment a plugin gets what it needs to work, and what the administrator
/// passes on.
#[test]
fn an_exec_plugin_does_not_get_the_whole_environment() {
    let server = ApiServer::start();
    let seen = server.directory().join("environment");
    let program = server.program(&format!("env > {}; exit 1", seen.display()));
    let exec = json!({"command": program, "env": [{"name": "OF_KUBECONFIG", "value": "1"}]});
    let config = ClusterConfig {
        kubeconfig: Some(server.kubeconfig(json!({"exec": exec}))),
        pass_environment: vec!["PASSED_ON".to_owned()],
        ..ClusterConfig::default()
    };
    let environment = Environment::from([
        ("PATH", "/usr/bin:/bin"),
        ("HTTPS_PROXY", "http://p"),
        ("CNI_COMMAND", "ADD"),
        ("SECRET", "1"),
        ("PASSED_ON", "1"),
    ]);
    blue(&mut Cluster::configured(&config, &environment).unwrap()).unwrap_err();
    let text = std::fs::read_to_string(seen).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    names.sort_unstable();
    assert_eq!(
        names,
        ["HTTPS_PROXY", "KUBERNETES_EXEC_INFO", "OF_KUBECONFIG", "PASSED_ON", "PATH"]
    );
}

#[test]
fn an_exec_plugin_gives_a_certificate() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let pair = server.certificate(&User::braid());
    let credential = json!({
        "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"clientCertificateData": pair.certificate, "clientKeyData": pair.key},
    });
    let output = server.file(&credential.to_string());
    let program = server.program(&format!("cat {}", output.display()));
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": program});
    blue(&mut cluster(&server.kubeconfig(json!({"exec": exec})))).unwrap();
}

/// The error of an exec plugin that does `script`, with the path of the plugin replaced.
fn exec_error(server: &ApiServer, script: &str, timeout: Duration) -> String {
    let program = server.program(script);
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": program});
    let mut cluster = cluster_within(&server.kubeconfig(json!({"exec": exec})), timeout);
    let error = blue(&mut cluster).unwrap_err();
    assert!(matches!(error, ClusterError::Kubeconfig { .. }) && !error.is_outage(), "{error:?}");
    let text = error.to_string();
    text.split_once(": ").unwrap().1.replace(&program.display().to_string(), "PLUGIN")
}

#[test]
fn an_exec_plugin_that_fails_is_named_with_its_last_words() {
    let server = ApiServer::start();
    let error = |script| exec_error(&server, script, ms(5000));
    assert_eq!(
        error("echo 'log in first' >&2; exit 1"),
        "\"PLUGIN\" gave no credential: log in first"
    );
    assert_eq!(
        error("echo s3cret"),
        "\"PLUGIN\" gave no credential: its output is not an ExecCredential of \
         client.authentication.k8s.io"
    );
    assert_eq!(error("head -c 2000000 /dev/zero"), "\"PLUGIN\": prints more than 1 MiB");
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_exec_plugin_that_hangs_is_killed_with_its_children() {
    let server = ApiServer::start();
    let file = server.directory().join("pids");
    let script = format!("sleep 3600 & echo $$ $! > {}; wait", file.display());
    let error = timed(ms(500), ms(4000), || exec_error(&server, &script, ms(500)));
    assert_eq!(error, "\"PLUGIN\" did not give a credential in 0.5 s");
    for pid in std::fs::read_to_string(file).unwrap().split_whitespace() {
        let deadline = Instant::now() + ms(2000);
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "process {pid} is still there");
            std::thread::sleep(ms(10));
        }
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The event about the pod that was refused for it asks no more.
#[test]
fn an_exec_plugin_that_hangs_or_fails_is_run_once() {
    let server = ApiServer::start();
    for (script, least) in [("sleep 3600", ms(500)), ("exit 1", ms(0))] {
        let runs = server.directory().join("runs");
        let program = server.program(&format!("echo run >> {}; {script}", runs.display()));
        let kubeconfig = server.kubeconfig(json!({"exec": {"command": program}}));
        let mut cluster = cluster_within(&kubeconfig, ms(500));
        timed(least, ms(950), || {
            let error = blue(&mut cluster).unwrap_err();
            assert_eq!(blue(&mut cluster).unwrap_err(), error);
            assert_eq!(
                cluster.publish_event(&web(None), "NetworkRefused", "x").unwrap_err(),
                error
            );
        });
        assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n");
        std::fs::remove_file(runs).unwrap();
    }
}

#[test]
fn an_exec_plugin_that_is_missing_shows_how_to_install_it() {
    let server = ApiServer::start();
    let exec = json!({"command": "/does/not/exist", "installHint": "get it from the shelf"});
    let error =
        blue(&mut cluster(&server.kubeconfig(json!({"exec": exec})))).unwrap_err().to_string();
    assert!(
        error.contains("cannot start \"/does/not/exist\"")
            && error.ends_with("; get it from the shelf"),
        "{error}"
    );
}
