//! Rights: the 403 that names the missing one, and the manifests of `conf/kubernetes` that grant
//! what is used and nothing else.

use std::time::Duration;

use braid::internals::kube::ClusterError;
use serde_json::{Value, json};

use super::{BLUE, blue, cluster, cluster_within, ms, server_and_cluster, timed, wanted, web};
use crate::apiserver::{ApiServer, Fault, Right, Setup, User};

#[test]
fn a_missing_right_comes_with_the_command_that_grants_it() {
    let server = ApiServer::with(Setup { manifests: vec![], ..Setup::default() });
    let mut cluster = cluster(&server.usual_kubeconfig());
    let error = blue(&mut cluster).unwrap_err();
    assert_eq!(
        error.to_string(),
        "user \"system:serviceaccount:braid:braid\" may not get \
         network-attachment-definitions.k8s.cni.cncf.io in namespace \"team-a\": grant it with: \
         kubectl create clusterrole braid-get-network-attachment-definitions --verb=get \
         --resource=network-attachment-definitions.k8s.cni.cncf.io && kubectl create \
         clusterrolebinding braid-get-network-attachment-definitions \
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
