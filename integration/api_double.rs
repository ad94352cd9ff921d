//! The double of the API server itself: the faults that only it can have, and the rights of the
//! manifests for addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Latency, Setup, User};

const POOLS: &str = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system/ippools";
const RESERVATIONS: &str =
    "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system/overlappingrangeipreservations";

/// The answer, or the status of a refusal; 0 without an answer.
fn ask(server: &ApiServer, user: &User, line: &str, body: &Value) -> Result<Value, u16> {
    let token = json!({"token": server.token(user, 60)});
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig(token)).unwrap();
    let (method, path) = line.split_once(' ').unwrap();
    let content =
        if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", content);
    let request = request.body(body.to_string().into_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        match Client::try_from(config).unwrap().request::<Value>(request).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(_) => Err(0),
        }
    })
}

fn pool(name: &str) -> Value {
    json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"range": "10.9.0.0/24", "allocations": {}},
    })
}

fn add_entry(offset: u32) -> Value {
    json!([{"op": "add", "path": format!("/spec/allocations/{offset}"), "value": {"id": "a", "podref": "a/b"}}])
}

#[test]
fn a_write_whose_answer_is_lost_was_done() {
    let server = ApiServer::start();
    server.objects().put(pool("a"));
    let writes = Arc::new(AtomicUsize::new(0));
    let seen = writes.clone();
    server.objects().watch(move |_, old, new| {
        assert_ne!(old, new);
        seen.fetch_add(1, Ordering::SeqCst);
    });
    for (offset, fault) in [Fault::Reset, Fault::Close, Fault::busy(500, 1)].into_iter().enumerate()
    {
        server.next("PATCH", Fault::Afterwards(Box::new(fault)));
        let entry = add_entry(u32::try_from(offset).unwrap());
        let answer = ask(&server, &User::administrator(), &format!("PATCH {POOLS}/a"), &entry);
        assert!(matches!(answer, Err(0 | 500)), "{answer:?}");
        let allocations =
            server.objects().get("ippools", "kube-system", "a").unwrap()["spec"]["allocations"]
                .as_object()
                .unwrap()
                .len();
        assert_eq!((allocations, writes.load(Ordering::SeqCst)), (offset + 1, offset + 1));
    }
}

#[test]
fn weather_and_time_are_for_every_request() {
    let server = ApiServer::start();
    let administrator = User::administrator();
    let get = || ask(&server, &administrator, &format!("GET {POOLS}"), &Value::Null).map(drop);
    // kube itself asks again after 429, 503 and 504.
    let internal = || Fault::status(500, "InternalError", "no leader");
    server.weather(move |line| line.starts_with("GET").then(internal));
    assert_eq!((get(), get()), (Err(500), Err(500)));
    server.next("GET", Fault::status(410, "Expired", "too old"));
    assert_eq!(get(), Err(410), "what was put in the queue comes first");
    server.forget_faults();
    assert_eq!(get(), Ok(()));
    let read = Duration::from_millis(300);
    server.take_time(Latency { read, write: Duration::ZERO });
    let started = Instant::now();
    assert_eq!(get(), Ok(()));
    assert!(started.elapsed() >= read);
}

#[test]
fn the_role_of_addresses_is_enough_and_no_more() {
    let server = ApiServer::with(Setup {
        manifests: vec!["rbac.yaml", "rbac-addresses.yaml"],
        ..Setup::default()
    });
    let braid = User::braid();
    let may = |line: &str, body: &Value| ask(&server, &braid, line, body).map(drop);
    assert_eq!(may(&format!("POST {POOLS}"), &pool("a")), Ok(()));
    assert_eq!(may(&format!("PATCH {POOLS}/a"), &add_entry(1)), Ok(()));
    assert_eq!(may(&format!("GET {POOLS}/a"), &Value::Null), Ok(()));
    let reservation = json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "OverlappingRangeIPReservation",
        "metadata": {"name": "10.9.0.1"}, "spec": {"podref": "a/b"},
    });
    assert_eq!(may(&format!("POST {RESERVATIONS}"), &reservation), Ok(()));
    assert_eq!(may(&format!("DELETE {RESERVATIONS}/10.9.0.1"), &Value::Null), Ok(()));
    let slices = POOLS.replace("ippools", "nodeslicepools");
    assert_eq!(may(&format!("GET {slices}/none"), &Value::Null), Err(404));
    let claims = "/apis/k8s.cni.cncf.io/v1alpha1/namespaces/team-a/ipamclaims";
    assert_eq!(may(&format!("GET {claims}/none"), &Value::Null), Err(404));
    let elsewhere = POOLS.replace("kube-system", "team-a");
    for line in [
        format!("GET {POOLS}"),
        format!("DELETE {POOLS}/a"),
        format!("GET {RESERVATIONS}"),
        format!("GET {elsewhere}/a"),
        format!("GET {claims}"),
        "GET /api/v1/pods".to_owned(),
    ] {
        assert_eq!(may(&line, &Value::Null), Err(403), "{line}");
    }
}
