//! `braid addresses`, with the rights that `reconcile-addresses.yaml` grants and no others.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Setup, User};
use crate::node::BRAID;

const NAMESPACE: &str = "kube-system";
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// An API server with pods and pools, and the account of the CronJob.
struct Cluster {
    server: ApiServer,
    kubeconfig: PathBuf,
}

impl Cluster {
    fn new() -> Self {
        let manifests = vec!["reconcile-addresses.yaml"];
        let server = ApiServer::with(Setup { manifests, ..Setup::default() });
        let user = User::service_account("braid", "braid-addresses");
        let kubeconfig = server.kubeconfig(json!({"token": server.token(&user, 3600)}));
        Self { server, kubeconfig }
    }

    fn pod(&self, name: &str, phase: &str, addresses: Option<&[&str]>) {
        let mut metadata = json!({"namespace": "shop", "name": name});
        if let Some(addresses) = addresses {
            let status = json!([{"name": "shop/lan", "interface": "net1", "ips": addresses}]);
            metadata["annotations"] = json!({STATUS: status.to_string()});
        }
        self.server.objects().put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": {"phase": phase},
        }));
    }

    /// A pool in which each of these pods has the address behind the one before, from 1 on.
    fn pool(&self, name: &str, range: &str, pods: &[&str]) {
        let entries: serde_json::Map<String, Value> =
            pods.iter().enumerate().map(|(at, pod)| ((at + 1).to_string(), entry(pod))).collect();
        self.server.objects().put(json!({
            "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
            "metadata": {"namespace": NAMESPACE, "name": name}, "spec": {"range": range, "allocations": entries},
        }));
    }

    fn reservation(&self, address: &str, pod: &str) {
        self.server.objects().put(json!({
            "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "OverlappingRangeIPReservation",
            "metadata": {"namespace": NAMESPACE, "name": address},
            "spec": {"podref": format!("shop/{pod}"), "ifname": "net1"},
        }));
    }

    /// All that may become of an entry.
    fn usual() -> Self {
        let cluster = Self::new();
        cluster.pod("web", "Running", Some(&["10.9.0.1"]));
        cluster.pod("new", "Pending", None);
        cluster.pod("quiet", "Running", Some(&["10.1.0.9"]));
        cluster.pod("job", "Succeeded", None);
        cluster.pool("10.9.0.0-24", "10.9.0.0/24", &["web", "new", "quiet", "job", "gone"]);
        let reserved = ["web", "new", "quiet", "job", "gone"];
        for (at, pod) in reserved.iter().enumerate() {
            cluster.reservation(&format!("10.9.0.{}", at + 1), pod);
        }
        cluster
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BRAID);
        command.arg("addresses").args(arguments).arg("--kubeconfig").arg(&self.kubeconfig);
        command.env_clear();
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        said(&self.command(arguments).output().unwrap())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["-o", "json"]].concat()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    /// Who is left in a pool.
    fn holders(&self, pool: &str) -> Vec<String> {
        let objects = self.server.objects();
        let entries = &objects.get("ippools", NAMESPACE, pool).unwrap()["spec"]["allocations"];
        let pods = entries.as_object().unwrap().values();
        let mut pods: Vec<_> =
            pods.map(|entry| entry["podref"].as_str().unwrap().replace("shop/", "")).collect();
        pods.sort();
        pods
    }

    fn reservations(&self) -> Vec<String> {
        let found = self.server.objects().all("overlappingrangeipreservations");
        found.iter().map(|it| it["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn entry(pod: &str) -> Value {
    json!({"id": format!("c-{pod}-0123456789abcdef"), "podref": format!("shop/{pod}"), "ifname": "net1"})
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!(
        "status {}\n{}{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn pools_are_listed_with_who_holds_what() {
    let cluster = Cluster::usual();
    cluster.pool("blue-fd00-9---64", "fd00:9::/64", &[]);
    assert_snapshot!(cluster.run(&["list"]));
    assert_snapshot!(cluster.run(&["list", "--pool", "10.9.0.0-24"]));
    let list = cluster.json(&["list", "--pool", "10.9.0.0-24"]);
    assert_eq!(list["pools"][0]["free"], 249);
    assert_eq!(list["holders"][4]["state"], "pod-gone");
    assert_snapshot!(cluster.run(&["list", "--pool", "10.8.0.0-24"]));
    assert!(cluster.run(&["list"]).lines().all(|line| line.chars().count() <= 80));
    assert_snapshot!(cluster.run(&["list", "-n", "team-a"]));
}

#[test]
fn what_no_pod_holds_is_released_and_nothing_else() {
    let cluster = Cluster::usual();
    assert_snapshot!(cluster.run(&["reconcile", "--dry-run"]));
    assert_eq!(cluster.holders("10.9.0.0-24").len(), 5, "a dry run changes nothing");
    assert_snapshot!(cluster.run(&["reconcile", "--grace", "1s"]));
    assert_eq!(cluster.holders("10.9.0.0-24"), ["new", "quiet", "web"]);
    assert_eq!(cluster.reservations(), ["10.9.0.1", "10.9.0.2", "10.9.0.3"]);
    let again = cluster.run(&["reconcile", "--grace", "600s"]);
    assert!(again.contains("0 addresses and 0 reservations"), "it waits for nothing: {again}");
}

/// `sticky` and claims: what the pool's annotations say.
#[test]
fn what_is_kept_for_a_name_or_by_a_claim_stays() {
    let cluster = Cluster::new();
    cluster.pool("10.9.0.0-24", "10.9.0.0/24", &["sticky", "late", "vm", "lost", "gone"]);
    let mut pool =
        cluster.server.objects().get("ippools", NAMESPACE, "10.9.0.0-24").unwrap().clone();
    pool["metadata"]["annotations"] = json!({
        "braid.io/expires-1": "99999999999", "braid.io/expires-2": "1700000000",
        "braid.io/claim-3": "shop/vm.net1", "braid.io/claim-4": "shop/removed",
    });
    cluster.server.objects().put(pool);
    cluster.server.objects().put(json!({
        "apiVersion": "k8s.cni.cncf.io/v1alpha1", "kind": "IPAMClaim",
        "metadata": {"namespace": "shop", "name": "vm.net1"}, "spec": {"interface": "net1", "network": "lan"},
    }));
    for (address, pod) in [("10.9.0.1", "sticky"), ("blue-10.9.0.3", "vm"), ("10.9.0.5", "gone")] {
        cluster.reservation(address, pod);
    }
    let said = cluster.run(&["reconcile", "--grace", "1s"]);
    assert!(said.contains("3 addresses and 1 reservation released"), "{said}");
    assert_eq!(cluster.holders("10.9.0.0-24"), ["sticky", "vm"]);
    assert_eq!(cluster.reservations(), ["10.9.0.1", "blue-10.9.0.3"]);
    let objects = cluster.server.objects();
    let left =
        &objects.get("ippools", NAMESPACE, "10.9.0.0-24").unwrap()["metadata"]["annotations"];
    let expected = json!({"braid.io/expires-1": "99999999999", "braid.io/claim-3": "shop/vm.net1"});
    assert_eq!(*left, expected, "what was noted of released entries goes with them");
}

/// Within the time of grace a pod of that name is made anew, and another takes the address.
#[test]
fn what_changes_between_the_two_looks_stays() {
    let cluster = Cluster::usual();
    cluster.pool("10.8.0.0-24", "10.8.0.0/24", &["late", "left"]);
    let child = cluster.command(&["reconcile", "--grace", "3s"]).spawn().unwrap();
    let looked = || cluster.server.lines().iter().any(|line| line.ends_with("ipreservations"));
    while !looked() {
        std::thread::sleep(Duration::from_millis(10));
    }
    cluster.pod("late", "Pending", None);
    let mut taken = entry("gone");
    taken["id"] = json!("another");
    let mut pool =
        cluster.server.objects().get("ippools", NAMESPACE, "10.9.0.0-24").unwrap().clone();
    pool["spec"]["allocations"]["5"] = taken;
    cluster.server.objects().put(pool);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(cluster.holders("10.9.0.0-24"), ["gone", "new", "quiet", "web"]);
    assert_eq!(cluster.holders("10.8.0.0-24"), ["late"]);
}

#[test]
fn an_entry_that_another_takes_before_the_change_stays_and_the_rest_goes() {
    let cluster = Cluster::new();
    let names: Vec<String> = (0..100).map(|n| format!("gone-{n}")).collect();
    let pods: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.pool("10.9.0.0-24", "10.9.0.0/24", &pods);
    // The first change meets an entry that is not the one that was seen.
    cluster.server.next("PATCH", Fault::status(422, "Invalid", "the server rejected our request"));
    let done = cluster.json(&["reconcile", "--grace", "1s"]);
    assert_eq!(done["released"].as_array().unwrap().len(), 100);
    assert_eq!(cluster.holders("10.9.0.0-24"), Vec::<String>::new());
    let patches = cluster.server.lines().iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!(patches, 4, "64 entries at once, in halves after the refusal");
}

#[test]
fn many_pools_and_pods_come_in_pages_and_an_outage_is_waited_for() {
    let cluster = Cluster::new();
    for n in 0..450 {
        let name = format!("web-{n:03}");
        cluster.pod(
            &name,
            if n < 300 { "Running" } else { "Pending" },
            Some(&[&format!("10.9.{}.1", n / 90)]),
        );
    }
    for n in 0..5 {
        let held = format!("web-{:03}", n * 90);
        cluster.pool(&format!("10.9.{n}.0-24"), &format!("10.9.{n}.0/24"), &[&held, "gone"]);
    }
    cluster.server.next("ippools", Fault::busy(429, 1));
    cluster.server.next("ippools", Fault::status(500, "InternalError", "no leader"));
    cluster.server.next("pods", Fault::Reset);
    let list = cluster.json(&["list"]);
    let stale: Vec<_> =
        list["pools"].as_array().unwrap().iter().map(|pool| &pool["stale"]).collect();
    assert_eq!(stale, vec![&json!(1); 5]);
    let unnamed: u64 = list["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| pool["notInStatus"].as_u64().unwrap())
        .sum();
    assert_eq!(unnamed, 0);
    let asked = cluster.server.lines().iter().filter(|line| line.contains("/pods/")).count();
    assert_eq!(asked, 1, "only the pod that is gone is asked for by name, and once");
}

#[test]
fn a_pool_that_is_nearly_full_is_a_warning() {
    let cluster = Cluster::new();
    let names: Vec<String> = (0..13).map(|n| format!("web-{n}")).collect();
    let pods: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster.pool("10.9.0.0-28", "10.9.0.0/28", &pods);
    let said = cluster.run(&["list"]);
    assert!(said.contains("warning: pool 10.9.0.0-28 has 13 of 14 addresses in use"), "{said}");
}

#[test]
fn what_cannot_be_asked_is_an_error_and_releases_nothing() {
    let cluster = Cluster::usual();
    cluster.server.weather(|line| {
        line.contains("/pods/gone").then(|| Fault::status(500, "InternalError", "x"))
    });
    let failed = cluster.run(&["reconcile", "--grace", "1s"]);
    assert!(failed.starts_with("status 1\n"), "{failed}");
    assert_eq!(cluster.holders("10.9.0.0-24").len(), 5);
    let without_rights =
        cluster.server.kubeconfig(json!({"token": cluster.server.token(&User::braid(), 60)}));
    let output = Command::new(BRAID)
        .args(["addresses", "list", "--kubeconfig"])
        .arg(without_rights)
        .env_clear()
        .output()
        .unwrap();
    let refused = said(&output);
    assert!(
        refused.starts_with("status 1\n") && refused.contains("may not list pods"),
        "{refused}"
    );
}
