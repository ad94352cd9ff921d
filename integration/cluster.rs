//! `braid::internals::kube` against the API server's double: every credential, every refusal, every way in
//! which a server can fail, and how many requests and connections each thing takes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use braid::internals::kube::{
    Cluster, ClusterConfig, ClusterDefinition, ClusterError, Expiry, PodReference,
};
use braid::internals::pod::name::{DefinitionName, Namespace};
use cni::request::Environment;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Right, Setup, User};

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

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

// What a definition is, and what it costs.

#[test]
fn a_definition_has_what_the_cluster_has() {
    let (server, mut cluster) = server_and_cluster();
    server.objects().put(json!({
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": "team-a", "name": "bare", "annotations": {"a": "b"}},
    }));
    let answers = cluster.definitions(&wanted(&["team-a/bare", "team-a/blue"]));
    let bare = answers[0].as_ref().unwrap();
    assert_eq!((bare.name.as_str(), &bare.config), ("bare", &None));
    assert_eq!(bare.annotations["a"], "b");
    let blue = answers[1].as_ref().unwrap();
    assert_eq!((blue.namespace.as_str(), blue.config.as_deref()), ("team-a", Some(BLUE)));
    assert_eq!(blue.resource_version, "1");
    let requests = server.requests();
    assert_eq!(requests[0].user.as_deref(), Some("system:serviceaccount:braid:braid"));
    assert_eq!((requests[0].accept.as_str(), requests[0].query.as_str()), ("application/json", ""));
}

#[test]
fn each_distinct_definition_is_one_request_and_all_share_a_connection() {
    let (server, mut cluster) = server_and_cluster();
    server.define("ops", "red", BLUE);
    server.times(3, &Fault::Late(ms(1000)));
    let asked = wanted(&["team-a/blue", "ops/red", "team-a/blue", "ops/none", "ops/red"]);
    let answers = timed(ms(1000), ms(2900), || cluster.definitions(&asked));
    let names: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_or("-", |found| found.name.as_str()))
        .collect();
    assert_eq!(names, ["blue", "red", "blue", "-", "red"]);
    let mut lines = server.lines();
    lines.sort();
    let path = |rest| format!("GET /apis/k8s.cni.cncf.io/v1/namespaces/{rest}");
    assert_eq!(
        lines,
        [
            path("ops/network-attachment-definitions/none"),
            path("ops/network-attachment-definitions/red"),
            path("team-a/network-attachment-definitions/blue"),
        ]
    );
    assert_eq!(server.connections(), 1);
    assert!(server.requests().iter().all(|request| request.version == http::Version::HTTP_2));
}

#[test]
fn questions_of_a_process_share_a_connection() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    blue(&mut cluster).unwrap();
    cluster.publish_status(&web(Some("u-1")), "[]").unwrap();
    cluster.publish_event(&web(Some("u-1")), "Refused", "because").unwrap();
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
}

#[test]
fn a_server_without_http2_is_asked_one_thing_at_a_time_on_one_connection() {
    let server = ApiServer::with(Setup { protocols: vec!["http/1.1"], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let mut cluster = cluster(&server.usual_kubeconfig());
    let answers = cluster.definitions(&wanted(&["team-a/blue", "team-a/red", "team-a/green"]));
    assert!(answers[0].is_ok());
    assert!(matches!(&answers[1], Err(ClusterError::NotFound { .. })), "{answers:?}");
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
    assert!(server.requests().iter().all(|request| request.version == http::Version::HTTP_11));
}

#[test]
fn a_server_without_protocol_negotiation_speaks_http1() {
    let server = ApiServer::with(Setup { protocols: vec![], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    blue(&mut cluster(&server.usual_kubeconfig())).unwrap();
}

#[test]
fn nothing_is_started_before_the_first_question() {
    let server = ApiServer::start();
    let before = threads();
    let cluster = cluster(Path::new("/does/not/exist"));
    let other = cluster_within(&server.usual_kubeconfig(), ms(1000));
    assert_eq!((threads(), server.connections()), (before, 0));
    drop((cluster, other));
    assert_eq!((threads(), server.connections()), (before, 0));
}

#[test]
fn a_question_needs_no_thread() {
    let (_server, mut cluster) = server_and_cluster();
    let before = threads();
    blue(&mut cluster).unwrap();
    assert_eq!(threads(), before);
}

#[test]
fn without_a_kubeconfig_and_outside_a_cluster_there_is_none() {
    assert!(Cluster::configured(&ClusterConfig::default(), &Environment::default()).is_none());
}

// Credentials.

#[test]
fn in_cluster_files_are_used_where_no_kubeconfig_is_configured() {
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
fn a_token_file_counts_before_a_token_and_a_token_where_the_file_is_gone() {
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

#[test]
fn an_exec_plugin_gives_a_token() {
    let server = ApiServer::start();
    server.define("team-a", "blue", BLUE);
    let token = server.token(&User::braid(), 3600);
    let info = server.directory().join("info");
    let program = server.program(&format!(
        "test \"$EXTRA:$1:$2\" = 'more:get:token' || exit 9\n\
         printf '%s' \"$KUBERNETES_EXEC_INFO\" > {}\n\
         echo '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \
         \"status\": {{\"token\": \"{token}\"}}}}'",
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
        "\"PLUGIN\" gave no credential: its output is not an ExecCredential of client.authentication.k8s.io"
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

// 401.

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

// 403.

#[test]
fn a_missing_right_comes_with_the_command_that_grants_it() {
    let server = ApiServer::with(Setup { manifests: vec![], ..Setup::default() });
    let mut cluster = cluster(&server.usual_kubeconfig());
    let error = blue(&mut cluster).unwrap_err();
    assert_eq!(
        error.to_string(),
        "user \"system:serviceaccount:braid:braid\" may not get network-attachment-definitions.k8s.cni.cncf.io in \
         namespace \"team-a\": grant it with: kubectl create clusterrole braid-get-network-attachment-definitions \
         --verb=get --resource=network-attachment-definitions.k8s.cni.cncf.io && \
         kubectl create clusterrolebinding braid-get-network-attachment-definitions \
         --clusterrole=braid-get-network-attachment-definitions --serviceaccount=braid:braid"
    );
    assert!(!error.is_outage());
    let namespace = "team-a".parse().unwrap();
    let lines = [
        cluster.definition_names(&namespace).unwrap_err(),
        cluster.pod(&namespace, "web").unwrap_err(),
        cluster.publish_status(&web(None), "[]").unwrap_err(),
        cluster.publish_event(&web(None), "r", "m").unwrap_err(),
    ]
    .map(|error| error.to_string());
    for (line, command) in lines.iter().zip([
        "create clusterrole braid-list-network-attachment-definitions --verb=list \
         --resource=network-attachment-definitions.k8s.cni.cncf.io",
        "create clusterrole braid-get-pods --verb=get --resource=pods",
        "create clusterrole braid-patch-pods-status --verb=patch --resource=pods/status",
        "create clusterrole braid-create-events --verb=create --resource=events.events.k8s.io",
    ]) {
        assert!(line.contains(command), "{line}");
    }
    let lines = server.lines();
    let asked = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        [
            asked("GET /apis/k8s.cni.cncf.io/v1/namespaces/team-a/network-attachment-definitions?"),
            asked("POST")
        ],
        [0, 1],
        "what is optional is asked once"
    );
    for needed in ["attachment-definitions/blue", "GET /api/v1/namespaces/team-a/pods/web", "PATCH"]
    {
        assert!((2..=8).contains(&asked(needed)), "{needed}: {lines:?}");
    }
}

/// A kube-apiserver that starts refuses everything until its caches of rights are filled.
#[test]
fn a_server_that_has_yet_to_read_the_rights_is_asked_again() {
    let server = ApiServer::with(Setup { manifests: vec![], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let mut cluster = cluster(&server.usual_kubeconfig());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(ms(500));
            server.objects().rbac.apply("rbac.yaml");
        });
        timed(ms(400), ms(2500), || blue(&mut cluster).unwrap());
    });
    let refused = server.requests().iter().filter(|request| request.status == 403).count();
    assert!((2..=6).contains(&refused), "{refused}");
}

#[test]
fn a_refusal_that_stays_is_asked_again_for_two_seconds_at_most() {
    let server = ApiServer::with(Setup { manifests: vec![], ..Setup::default() });
    let mut cluster = cluster(&server.usual_kubeconfig());
    timed(ms(300), ms(2500), || blue(&mut cluster).unwrap_err());
    let error = timed(ms(800), ms(2500), || cluster.publish_status(&web(None), "[]").unwrap_err());
    assert!(matches!(error, ClusterError::Forbidden { .. }), "{error:?}");
    // A limit that is shorter counts first.
    let mut hurried = cluster_within(&server.usual_kubeconfig(), ms(200));
    timed(ms(0), ms(600), || blue(&mut hurried).unwrap_err());
}

/// Admission plugins wait for caches of their own.
#[test]
fn a_server_whose_admission_is_not_ready_is_asked_again() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    let unready = "pods \"web\" is forbidden: not yet ready to handle request";
    for _ in 0..3 {
        server.next("PATCH", Fault::status(403, "Forbidden", unready));
    }
    cluster.publish_status(&web(None), "[]").unwrap();
    for _ in 0..20 {
        server.next("", Fault::status(403, "Forbidden", unready));
    }
    let error = blue(&mut cluster).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("not yet ready"), "{error:?}");
}

#[test]
fn a_refusal_of_admission_is_no_missing_right() {
    let (server, mut cluster) = server_and_cluster();
    server.next(
        "",
        Fault::status(403, "Forbidden", "admission webhook \"x\" denied the request: never"),
    );
    let error = cluster.publish_status(&web(None), "[]").unwrap_err();
    assert!(matches!(error, ClusterError::Answer { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("403: admission webhook \"x\" denied the request: never"),
        "{error}"
    );
}

fn right(verb: &str, group: &str, resource: &str) -> Right {
    Right { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() }
}

/// Everything that the client can do, once.
fn everything(server: &ApiServer) -> Vec<(Right, bool)> {
    server.define("team-a", "blue", BLUE);
    server.add_pod("team-a", "web", "u-1", json!({}));
    let mut cluster = cluster(&server.usual_kubeconfig());
    let namespace = "team-a".parse().unwrap();
    let _ = cluster.definitions(&wanted(&["team-a/blue"]));
    let _ = cluster.publish_status(&web(Some("u-1")), "[]");
    let _ = cluster.publish_event(&web(Some("u-1")), "r", "m");
    let _ = cluster.pod(&namespace, "web");
    let _ = cluster.definition_names(&namespace);
    let mut rights = server.objects().rights.clone();
    // A refusal is asked again.
    rights.dedup();
    rights
}

#[test]
fn the_manifests_grant_what_is_used_and_nothing_else_is_used() {
    let with = |manifests| everything(&ApiServer::with(Setup { manifests, ..Setup::default() }));
    let needed = [
        right("get", "k8s.cni.cncf.io", "network-attachment-definitions"),
        right("patch", "", "pods/status"),
        right("create", "events.k8s.io", "events"),
    ];
    let optional = [
        right("get", "", "pods"),
        right("list", "k8s.cni.cncf.io", "network-attachment-definitions"),
    ];
    let expected = |granted: [bool; 5]| -> Vec<_> {
        needed.iter().chain(&optional).cloned().zip(granted).collect()
    };
    assert_eq!(with(vec!["rbac.yaml"]), expected([true, true, true, false, false]));
    assert_eq!(
        with(vec!["rbac.yaml", "rbac-pods.yaml"]),
        expected([true, true, true, true, false])
    );
    assert_eq!(
        with(vec!["rbac.yaml", "rbac-names.yaml"]),
        expected([true, true, true, false, true])
    );
    // What the DaemonSet's pods may do is nothing that the nodes may.
    assert_eq!(with(vec!["rbac-installer.yaml"]), expected([false; 5]));
}

/// The DaemonSet's pods ask for two things, by name, in their namespace.
#[test]
fn the_installer_may_do_what_it_does_and_nothing_else() {
    let ask = |manifests, user: &User, namespace: &str, account: &str| {
        let server = ApiServer::with(Setup { manifests, ..Setup::default() });
        for (kind, version, name) in [
            ("ServiceAccount", "v1", account),
            ("DaemonSet", "apps/v1", account),
            ("ServiceAccount", "v1", "other"),
        ] {
            server.objects().put(json!({
                "apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, "name": name}
            }));
        }
        let mut cluster = cluster(&server.kubeconfig(json!({"token": server.token(user, 3600)})));
        let object = format!("{namespace}/{account}").parse().unwrap();
        let token = cluster.token(&object, Duration::from_secs(3600)).map(|_| ());
        let daemon_set = cluster.is_leaving(&object).map(|_| ());
        [token, daemon_set].map(|answer| match answer {
            Ok(()) => true,
            Err(ClusterError::Forbidden { kubectl, .. }) => {
                assert!(
                    kubectl.contains("create role ") && !kubectl.contains("clusterrole"),
                    "{kubectl}"
                );
                false
            }
            Err(error) => panic!("{error}"),
        })
    };
    let all = || vec!["rbac.yaml", "rbac-installer.yaml"];
    assert_eq!(ask(all(), &User::installer(), "braid", "braid"), [true, true]);
    assert_eq!(ask(all(), &User::braid(), "braid", "braid"), [false, false]);
    assert_eq!(ask(all(), &User::installer(), "braid", "default"), [false, false]);
    assert_eq!(ask(all(), &User::installer(), "kube-system", "braid"), [false, false]);
    assert_eq!(ask(vec!["rbac.yaml"], &User::installer(), "braid", "braid"), [false, false]);
}

#[test]
fn a_daemon_set_is_there_leaving_gone_or_unknown() {
    let server =
        ApiServer::with(Setup { manifests: vec!["rbac-installer.yaml"], ..Setup::default() });
    let token = server.token(&User::installer(), 3600);
    let mut cluster = cluster(&server.kubeconfig(json!({ "token": token })));
    let name = "braid/braid".parse().unwrap();
    let put = |deletion: Value| {
        server.objects().put(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"namespace": "braid", "name": "braid", "deletionTimestamp": deletion},
        }));
    };
    put(Value::Null);
    assert_eq!(cluster.is_leaving(&name), Ok(false));
    put(json!("2026-01-01T00:00:00Z"));
    assert_eq!(cluster.is_leaving(&name), Ok(true));
    server.objects().remove("daemonsets", "braid", "braid");
    assert_eq!(cluster.is_leaving(&name), Ok(true));
    // A 404 that names no object is the word of something else on the way.
    server.next("daemonsets", Fault::Answer(404, Vec::new(), "404 page not found\n".to_owned()));
    assert!(matches!(cluster.is_leaving(&name), Err(ClusterError::Answer { .. })));
    server.objects().put(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"namespace": "braid", "name": "other"}
    }));
    server.next(
        "daemonsets",
        Fault::Answer(200, Vec::new(), r#"{"metadata": {"name": "other"}}"#.to_owned()),
    );
    assert!(matches!(cluster.is_leaving(&name), Err(ClusterError::Answer { .. })));
}

// 404.

#[test]
fn what_does_not_exist_is_named() {
    let (server, mut cluster) = server_and_cluster();
    let error = cluster.definitions(&wanted(&["team-a/bleu"])).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "network \"team-a/bleu\" does not exist in the cluster");
    let error = cluster.publish_status(&web(None), "[]").unwrap_err();
    assert_eq!(error, ClusterError::NotFound { what: "pod \"team-a/web\"".to_owned() });
    assert!(!error.is_outage());
    server.objects().has_no_definitions = true;
    let error = blue(&mut cluster).unwrap_err();
    assert_eq!(error, ClusterError::NoDefinitions { server: server.name() });
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_names_that_exist_are_listed_as_metadata() {
    let server = ApiServer::with(Setup { manifests: vec!["rbac-names.yaml"], ..Setup::default() });
    for name in ["blue", "green"] {
        server.define("team-a", name, BLUE);
    }
    server.define("ops", "secret", BLUE);
    let mut cluster = cluster(&server.usual_kubeconfig());
    assert_eq!(cluster.definition_names(&"team-a".parse().unwrap()).unwrap(), ["blue", "green"]);
    let request = &server.requests()[0];
    assert!(
        request.query.contains("limit=500") && request.accept.contains("PartialObjectMetadataList")
    );
}

// Pods.

#[test]
fn a_pod_is_read_with_what_identifies_it() {
    let server = ApiServer::with(Setup { manifests: vec!["rbac-pods.yaml"], ..Setup::default() });
    server.add_pod("team-a", "web", "u-1", json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    server.add_pod(
        "team-a",
        "etcd-n1",
        "u-2",
        json!({"kubernetes.io/config.source": "file", "kubernetes.io/config.mirror": "hash"}),
    );
    let mut cluster = cluster(&server.usual_kubeconfig());
    let namespace: Namespace = "team-a".parse().unwrap();
    let pod = cluster.pod(&namespace, "web").unwrap();
    assert_eq!((pod.uid.as_str(), pod.deletion, pod.is_static()), ("u-1", false, false));
    assert_eq!(
        (pod.service_account.as_deref(), pod.node_name.as_deref()),
        (Some("default"), Some("node-1"))
    );
    assert_eq!(pod.annotations["k8s.v1.cni.cncf.io/networks"], "blue");
    assert!(cluster.pod(&namespace, "etcd-n1").unwrap().is_static());
    server.objects().put(json!({"kind": "Pod", "metadata": {
        "namespace": "team-a", "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert!(cluster.pod(&namespace, "going").unwrap().deletion);
    assert!(matches!(
        cluster.pod(&namespace, "../../nodes/n1"),
        Err(ClusterError::NotFound { .. })
    ));
    assert_eq!(server.requests().len(), 3, "a name that no pod has is not asked for");
}

// The status.

#[test]
fn a_status_is_one_merge_patch_that_leaves_the_rest_alone() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({"mine": "stays"}));
    let status = r#"[{"name": "team-a/blue"}]"#;
    cluster.publish_status(&web(Some("u-1")), status).unwrap();
    let requests = server.requests();
    assert_eq!(server.lines(), ["PATCH /api/v1/namespaces/team-a/pods/web/status"]);
    assert_eq!(requests[0].content_type, "application/merge-patch+json");
    assert!(requests[0].query.contains("fieldManager=braid"), "{}", requests[0].query);
    assert!(requests[0].accept.contains("as=PartialObjectMetadata"), "{}", requests[0].accept);
    let annotation = json!({"k8s.v1.cni.cncf.io/network-status": status});
    assert_eq!(requests[0].body, json!({"metadata": {"uid": "u-1", "annotations": annotation}}));
    let objects = server.objects();
    let pod = objects.get("pods", "team-a", "web").unwrap();
    let annotations = json!({"mine": "stays", "k8s.v1.cni.cncf.io/network-status": status});
    assert_eq!(pod["metadata"]["annotations"], annotations);
    assert_eq!(
        (&pod["status"]["phase"], &pod["spec"]["nodeName"]),
        (&json!("Pending"), &json!("node-1"))
    );
}

#[test]
fn another_pod_of_the_name_is_a_conflict_in_every_way_a_server_says_so() {
    for is_conflict in [false, true] {
        let (server, mut cluster) = server_and_cluster();
        server.add_pod("team-a", "web", "u-2", json!({}));
        server.objects().other_uid_is_conflict = is_conflict;
        let error = cluster.publish_status(&web(Some("u-1")), "[]").unwrap_err();
        assert!(matches!(error, ClusterError::Conflict { .. }), "{error:?}");
        assert!(
            error.to_string().starts_with("pod \"team-a/web\" is not the one that was asked for: "),
            "{error}"
        );
        assert!(!error.is_outage());
        assert_eq!(server.requests().len(), 1);
        assert_eq!(
            server.objects().get("pods", "team-a", "web").unwrap()["metadata"]["annotations"],
            json!({})
        );
        cluster.publish_status(&web(None), "[]").unwrap();
        assert_eq!(server.requests()[1].body["metadata"].get("uid"), None);
    }
}

#[test]
fn a_race_for_the_object_is_run_again() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    let words = "Operation cannot be fulfilled on pods \"web\": the object has been modified; please apply your changes";
    server.next("PATCH", Fault::status(409, "Conflict", words));
    cluster.publish_status(&web(Some("u-1")), "[]").unwrap();
    assert_eq!(server.requests().len(), 2);
}

/// Somebody else is quicker each time: no outage, for the server answers well, and worth another
/// ADD.
#[test]
fn a_race_that_is_never_won_is_no_outage() {
    let (server, _) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    let words = "Operation cannot be fulfilled on pods \"web\": the object has been modified; please apply your changes";
    server.times(100, &Fault::status(409, "Conflict", words));
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
    let error = cluster.publish_status(&web(Some("u-1")), "[]").unwrap_err();
    assert!(matches!(error, ClusterError::Contended { .. }), "{error:?}");
    assert!(!error.is_outage() && error.is_transient());
    assert!(server.requests().len() > 3, "{}", server.requests().len());
}

#[test]
fn an_answer_about_another_object_is_not_used() {
    let (server, mut cluster) = server_and_cluster();
    let other =
        json!({"metadata": {"namespace": "team-b", "name": "blue"}, "spec": {"config": BLUE}});
    server.next("", Fault::Answer(200, vec![], other.to_string()));
    let error = blue(&mut cluster).unwrap_err();
    assert!(
        error.to_string().ends_with("cannot be used: it is \"team-b/blue\"") && !error.is_outage(),
        "{error}"
    );
}

#[test]
fn a_status_that_is_not_valid_is_an_answer_in_the_servers_words() {
    let (server, mut cluster) = server_and_cluster();
    server.next(
        "PATCH",
        Fault::status(422, "Invalid", "Pod \"web\" is invalid: metadata.annotations: Too long"),
    );
    let error = cluster.publish_status(&web(None), "[]").unwrap_err();
    assert!(matches!(error, ClusterError::Answer { .. }), "{error:?}");
    assert!(
        error.to_string().contains("422: Pod \"web\" is invalid: metadata.annotations: Too long"),
        "{error}"
    );
}

// Events.

#[test]
fn an_event_says_what_the_error_says_and_says_it_once() {
    let (server, mut cluster) = server_and_cluster();
    let words =
        format!("network \"team-a/bleu\" does not exist in the cluster{}", "x".repeat(2000));
    for _ in 0..3 {
        cluster.publish_event(&web(Some("u-1")), "NetworkRefused", &words).unwrap();
    }
    let events = server.objects().all("events");
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        (&event["apiVersion"], &event["kind"]),
        (&json!("events.k8s.io/v1"), &json!("Event"))
    );
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("NetworkRefused")));
    assert_eq!(event["reportingController"], "braid");
    let regarding = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "team-a", "name": "web", "uid": "u-1"});
    assert_eq!(event["regarding"], regarding);
    let note = event["note"].as_str().unwrap();
    assert!(note.len() == 1024 && note.ends_with("x…"), "{note}");
    assert_eq!(server.lines()[0], "POST /apis/events.k8s.io/v1/namespaces/team-a/events");
    cluster.publish_event(&web(Some("u-1")), "NetworkRefused", "something else").unwrap();
    assert_eq!(server.objects().all("events").len(), 2);
}

#[test]
fn an_event_is_tried_once_and_not_for_long() {
    let (server, mut cluster) = server_and_cluster();
    server.next("POST", Fault::busy(503, 1));
    assert!(cluster.publish_event(&web(None), "r", "m").unwrap_err().is_outage());
    assert_eq!(server.requests().len(), 1);
    blue(&mut cluster).unwrap();
    server.next("POST", Fault::Hang);
    let error =
        timed(ms(2900), ms(5500), || cluster.publish_event(&web(None), "r", "m")).unwrap_err();
    assert!(matches!(error, ClusterError::TimedOut { .. }), "{error:?}");
}

#[test]
fn no_event_is_sent_to_a_server_that_was_silent_a_moment_ago() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    assert!(blue(&mut cluster).unwrap_err().is_outage());
    timed(ms(0), ms(500), || cluster.publish_event(&web(None), "r", "m")).unwrap();
}

// Too much to do.

#[test]
fn the_time_that_a_busy_server_asks_for_is_waited() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::busy(429, 1));
    timed(ms(1000), ms(5000), || blue(&mut cluster)).unwrap();
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
}

#[test]
fn a_wait_beyond_the_limit_is_not_begun() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::busy(429, 60));
    let error = timed(ms(0), ms(3000), || blue(&mut cluster)).unwrap_err();
    let expected = format!(
        "the API server at {} is overloaded: 429: Too many requests, please try again later. (it asks to wait 60 s)",
        server.name()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.is_outage());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn errors_of_the_server_are_asked_again_a_few_times() {
    for status in [500, 502, 503, 504] {
        let (server, mut cluster) = server_and_cluster();
        let fault = Fault::status(status, "InternalError", "etcdserver: leader changed");
        server.times(2, &fault);
        timed(ms(150), ms(4000), || blue(&mut cluster)).unwrap();
        assert_eq!(server.requests().len(), 3);
        server.times(5, &fault);
        let error = timed(ms(700), ms(6000), || blue(&mut cluster)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the API server at {} cannot answer now: {status}: etcdserver: leader changed",
                server.name()
            )
        );
        assert!(error.is_outage());
        assert_eq!((server.requests().len(), server.connections()), (8, 1));
    }
}

#[test]
fn other_refusals_are_final() {
    for status in [300, 400, 405, 406, 410, 413, 415] {
        let (server, mut cluster) = server_and_cluster();
        server.next("", Fault::Answer(status, vec![], "<html>\nno</html>".to_owned()));
        let error = blue(&mut cluster).unwrap_err();
        assert!(matches!(error, ClusterError::Answer { .. }) && !error.is_outage(), "{error:?}");
        assert!(error.to_string().ends_with(&format!("{status}: <html> no</html>")), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

// Silence.

#[test]
fn a_server_that_is_away_is_an_outage_soon() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    let error = timed(ms(700), ms(6000), || blue(&mut cluster)).unwrap_err();
    let ClusterError::Unreachable { problem, .. } = &error else { panic!("{error:?}") };
    assert!(problem.contains("Connection refused"), "{problem}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("the API server at {} cannot be reached: ", server.name()))
    );
    assert!(error.is_outage());
}

#[test]
fn a_server_that_comes_back_is_asked_on_a_new_connection() {
    for protocols in [vec!["h2"], vec!["http/1.1"]] {
        let mut server = ApiServer::with(Setup { protocols, ..Setup::default() });
        server.define("team-a", "blue", BLUE);
        let mut cluster = cluster(&server.usual_kubeconfig());
        blue(&mut cluster).unwrap();
        server.restart();
        timed(ms(0), ms(4000), || blue(&mut cluster)).unwrap();
        assert_eq!((server.requests().len(), server.connections()), (2, 2));
    }
}

#[test]
fn a_server_that_comes_back_while_it_is_asked_answers() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    let back = std::thread::spawn(move || {
        std::thread::sleep(ms(250));
        server.restart();
        server
    });
    blue(&mut cluster).unwrap();
    drop(back.join().unwrap());
}

#[test]
fn a_connection_that_ends_before_the_answer_does_is_made_again() {
    for fault in [Fault::Close, Fault::HalfClose, Fault::Cut] {
        for protocols in [vec!["h2"], vec!["http/1.1"]] {
            let server = ApiServer::with(Setup { protocols, ..Setup::default() });
            server.define("team-a", "blue", BLUE);
            let mut cluster = cluster(&server.usual_kubeconfig());
            server.times(2, &fault);
            timed(ms(100), ms(6000), || blue(&mut cluster))
                .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!(server.requests().len(), 3, "{fault:?}");
            server.times(10, &fault);
            let error = timed(ms(500), ms(6000), || blue(&mut cluster)).unwrap_err();
            assert!(matches!(error, ClusterError::Unreachable { .. }), "{fault:?}: {error:?}");
        }
    }
}

#[test]
fn no_answer_is_waited_for_beyond_the_limit() {
    for protocols in [vec!["h2"], vec!["http/1.1"]] {
        let server = ApiServer::with(Setup { protocols, ..Setup::default() });
        server.define("team-a", "blue", BLUE);
        let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
        server.next("", Fault::Hang);
        let error = timed(ms(1500), ms(3500), || blue(&mut cluster)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the API server at {} did not answer within 1.5 s", server.name())
        );
        assert!(error.is_outage());
        blue(&mut cluster).unwrap();
        server.next("", Fault::Late(ms(5000)));
        timed(ms(1500), ms(3500), || blue(&mut cluster)).unwrap_err();
    }
}

#[test]
fn one_answer_that_does_not_come_leaves_the_others() {
    let (server, _) = server_and_cluster();
    server.define("ops", "red", BLUE);
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
    server.next("/red", Fault::Hang);
    let answers =
        timed(ms(1500), ms(3500), || cluster.definitions(&wanted(&["team-a/blue", "ops/red"])));
    assert!(answers[0].is_ok() && answers[1].as_ref().unwrap_err().is_outage(), "{answers:?}");
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_an_outage_in_time() {
    let (server, _) = server_and_cluster();
    server.be_mute();
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1000));
    let asked = wanted(&["team-a/blue", "ops/red", "ops/green"]);
    let answers = timed(ms(500), ms(3000), || cluster.definitions(&asked));
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().is_outage()), "{answers:?}");
    assert!(server.connections() >= 2, "a second try needs time too");
}

#[test]
fn a_server_name_that_no_one_knows_is_an_outage_in_time() {
    let server = ApiServer::start();
    let entry = json!({"server": "https://api.invalid:6443"});
    let mut cluster =
        cluster_within(&server.kubeconfig_for(entry, json!({"token": "t"})), ms(2000));
    let error = timed(ms(0), ms(3000), || blue(&mut cluster)).unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("api.invalid:6443"), "{error}");
}

// Answers that are none.

#[test]
fn answers_are_bounded() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::Flood(5 << 20));
    let error = timed(ms(0), ms(4000), || blue(&mut cluster)).unwrap_err().to_string();
    assert!(error.ends_with("cannot be used: it is larger than 4 MiB"), "{error}");
    server.define("team-a", "huge", &"x".repeat(1 << 20));
    let error = cluster.definitions(&wanted(&["team-a/huge"])).remove(0).unwrap_err();
    assert!(
        error.to_string().ends_with("a definition is at most 1 MiB") && !error.is_outage(),
        "{error}"
    );
    server.define("team-a", "large", &"x".repeat(1_000_000));
    cluster.definitions(&wanted(&["team-a/large"])).remove(0).unwrap();
}

#[test]
fn an_answer_that_is_no_object_is_an_error_and_no_outage() {
    for text in ["", "<html>login</html>", "{}", "null", "[", r#"{"metadata": {"name": 1}}"#] {
        let (server, mut cluster) = server_and_cluster();
        server.next("", Fault::Answer(200, vec![], text.to_owned()));
        let error = blue(&mut cluster).unwrap_err();
        assert!(
            matches!(error, ClusterError::Answer { .. }) && !error.is_outage(),
            "{text}: {error:?}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}

// TLS.

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
fn a_certificate_is_not_checked_where_the_kubeconfig_says_so() {
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

// The kubeconfig.

fn kubeconfig_error(path: &Path) -> String {
    let error = blue(&mut cluster_within(path, ms(2000))).unwrap_err();
    assert!(matches!(error, ClusterError::Kubeconfig { .. }) && !error.is_outage(), "{error:?}");
    let text = error.to_string();
    assert!(!text.contains("s3cret"), "{text}");
    text
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
        (
            server.cluster_entry(),
            json!({"token": "s3cret", "as": "root"}),
            "acting as somebody else",
        ),
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
