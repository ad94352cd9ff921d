//! Every file of `conf/` is used: the configurations put a pod on a network, every definition
//! attaches one with the real plugins, every pod manifest gets what it asks for, and nothing is
//! left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::machine::{Machine, Sandbox};
use super::{REPOSITORY, installed, page, primary};
use crate::call::NETWORKS;
use crate::node::{recorder, text};

/// A file of the repository.
#[track_caller]
pub(crate) fn read(relative: &str) -> String {
    fs::read_to_string(Path::new(REPOSITORY).join(relative))
        .unwrap_or_else(|error| panic!("{relative}: {error}"))
}

fn files_in(relative: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(REPOSITORY).join(relative)).unwrap().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn names_in(relative: &str) -> Vec<String> {
    files_in(relative)
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// A machine that has the interfaces which the definitions name.
fn delegating() -> Machine {
    let machine = installed();
    machine.node.host().ip("link add eth0 type veth peer name uplink");
    for interface in ["eth0", "uplink"] {
        machine.node.host().ip(&format!("link set {interface} addrgenmode none up"));
    }
    primary(&machine);
    machine.node.write("net.d/00-braid.conflist", &read("conf/00-delegating.conflist"));
    machine
}

#[track_caller]
fn attach<'m>(machine: &'m Machine, namespace: &str, networks: &str) -> Sandbox<'m> {
    let started = machine.start(namespace, "web", &json!({NETWORKS: networks}));
    started.unwrap_or_else(|outcome| panic!("{networks}: {}", outcome.stdout))
}

/// A new file in `conf/` needs a test.
#[test]
fn every_configuration_has_a_test() {
    assert_eq!(
        names_in("conf"),
        [
            "00-built-in.conflist",
            "00-delegating.conflist",
            "00-multus-migrated.conf",
            "00-shared-cluster.conflist",
            "10-chained.conflist",
            "crio-delegating.conflist"
        ]
    );
    let mut entries: Vec<_> = fs::read_dir(Path::new(REPOSITORY).join("conf"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name())
        .collect();
    entries.sort();
    assert_eq!(
        entries,
        ["cases", "definitions", "kubernetes", "monitoring", "pods", "recipes"],
        "kubernetes has its tests in cluster.rs, recipes and cases in modules of their names"
    );
}

/// The networks of tenants are for a cluster that tenants share: its policy takes them as they are.
#[test]
fn the_networks_of_tenants_pass_the_policy_for_shared_clusters() {
    let path = |file: &str| Path::new(REPOSITORY).join("conf").join(file);
    let mut validate = std::process::Command::new(crate::node::BRAID);
    validate.args(["validate", "--strict", "--config"]).arg(path("00-shared-cluster.conflist"));
    let output = validate.arg(path("definitions/tenant-networks.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

// `00-delegating`, `10-chained` and `crio-delegating` are installed by the tests of the page.

/// The configuration as it is, but for the kubeconfig: the machine of these tests has no cluster
/// behind it.
pub(super) fn without_api(config: &str) -> String {
    let mut config: Value = serde_json::from_str(config).unwrap();
    assert!(config.as_object_mut().unwrap().remove("kubeconfig").is_some());
    config.to_string()
}

#[test]
fn the_migrated_multus_configuration_works() {
    let machine = installed();
    machine.node.write("net.d/00-multus.conf", &without_api(&read("conf/00-multus-migrated.conf")));
    let before = machine.node.dump();
    let web = attach(&machine, "blue", "private");
    assert_eq!(web.pod.addresses("eth0"), ["10.245.0.2/24"]);
    assert_eq!(web.pod.addresses("net1"), ["10.20.0.2/24", "fd00:20::2/64"]);
    assert_eq!((text(&web.result["cniVersion"]), web.pod.pings("10.245.0.1")), ("0.3.1", true));
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
    assert!(machine.node.path("var/log/multus.log").exists(), "its logFile");
}

#[test]
fn a_node_of_built_in_plugins_works() {
    let machine = installed();
    machine.node.write("net.d/00-braid.conflist", &read("conf/00-built-in.conflist"));
    // What plugins keep for every pod is made by the first one.
    attach(&machine, "blue", "private").del();
    let before = machine.node.dump();
    let web = attach(&machine, "blue", "private");
    assert_eq!(web.pod.addresses("eth0"), ["10.244.0.3/24", "fd00:244::3/64"]);
    assert_eq!(web.pod.addresses("net1"), ["10.20.0.3/24", "fd00:20::3/64"]);
    assert!(web.pod.pings("10.244.0.1") && web.pod.pings("fd00:244::1"));
    let rules = machine.node.host().dump("host").join("\n");
    assert!(rules.contains("-j MASQUERADE"), "{rules}");
    web.check();
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// Namespace and name of a definition, with the annotation that its network needs to be attached,
/// and the addresses that it gives the first pod.
const DEFINITIONS: [(&str, &str, &str, [&str; 2]); 13] = [
    ("default", "bridge-lan", "default/bridge-lan", ["10.10.0.2/24", "fd00:10::2/64"]),
    ("default", "bridge-uplink", "default/bridge-uplink", ["10.19.0.2/24", "fd00:19::2/64"]),
    ("default", "control", "default/control", ["10.16.0.2/24", "fd00:16::2/64"]),
    ("default", "data", "default/data", ["10.17.0.2/24", "fd00:17::2/64"]),
    ("default", "storage", "default/storage", ["10.18.0.2/24", "fd00:18::2/64"]),
    // The bandwidth plugin's CHECK panics if nothing was asked of it.
    (
        "default",
        "limited-lan",
        r#"[{"name": "limited-lan", "namespace": "default", "bandwidth": {"ingressRate": 5000000}}]"#,
        ["10.22.0.2/24", "fd00:22::2/64"],
    ),
    ("default", "macvlan-lan", "default/macvlan-lan", ["10.11.0.2/24", "fd00:11::2/64"]),
    ("default", "ptp-link", "default/ptp-link", ["10.13.0.2/24", "fd00:13::2/64"]),
    (
        "default",
        "static-lan",
        r#"[{"name": "static-lan", "namespace": "default", "ips": ["10.14.0.7/24", "fd00:14::7/64"]}]"#,
        ["10.14.0.7/24", "fd00:14::7/64"],
    ),
    (
        "default",
        "static-appliance",
        "default/static-appliance",
        ["10.15.0.10/24", "fd00:15::10/64"],
    ),
    ("blue", "private", "private", ["10.20.0.2/24", "fd00:20::2/64"]),
    ("red", "private", "private", ["10.21.0.2/24", "fd00:21::2/64"]),
    ("default", "vlan-100", "default/vlan-100", ["10.12.0.2/24", "fd00:12::2/64"]),
];

fn defined() -> BTreeSet<(String, String)> {
    let mut defined = BTreeSet::new();
    for file in files_in("conf/definitions") {
        if file.extension().is_some_and(|extension| extension == "yaml") {
            for definition in page::documents(&fs::read_to_string(&file).unwrap()).unwrap() {
                assert_eq!(definition["kind"], "NetworkAttachmentDefinition", "{}", file.display());
                let metadata = &definition["metadata"];
                let new = defined.insert((
                    text(&metadata["namespace"]).to_owned(),
                    text(&metadata["name"]).to_owned(),
                ));
                assert!(new, "{metadata} is defined twice");
            }
        }
    }
    defined
}

#[test]
fn every_definition_attaches_with_the_real_plugins() {
    let tested: BTreeSet<_> = DEFINITIONS
        .iter()
        .map(|(namespace, name, ..)| ((*namespace).to_owned(), (*name).to_owned()))
        .collect();
    assert_eq!(tested, defined());
    let machine = delegating();
    let before = machine.node.dump();
    for (namespace, name, networks, addresses) in DEFINITIONS {
        // This kernel has no bridge VLAN filtering: see the next test.
        if name != "vlan-100" {
            let web = attach(&machine, namespace, networks);
            assert_eq!(web.pod.addresses("net1"), addresses, "{name}");
            assert_eq!(
                web.pod.link("net1")["mtu"],
                if name == "storage" { 9000 } else { 1500 },
                "{name}"
            );
            web.check();
            web.del();
            assert_eq!(web.pod.links(), Vec::<String>::new(), "{name}");
        }
    }
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// The VLAN, on a recorder in the bridge plugin's place: the real one needs a kernel with VLAN
/// filtering, which machines that test cannot be counted on to have.
#[test]
fn the_vlan_reaches_the_bridge_plugin() {
    let machine = delegating();
    machine.node.write("net.d/10-primary.conflist", r#"{"cniVersion": "1.0.0", "name": "primary", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}"#);
    let bridge = machine.node.path("bin/bridge");
    fs::remove_file(&bridge).unwrap();
    std::os::unix::fs::symlink(recorder(), bridge).unwrap();
    let web = attach(&machine, "blue", "default/vlan-100");
    web.check();
    web.del();
    let add = machine.node.only_call("ADD", "bridge");
    assert_eq!((&add.stdin()["vlan"], &add.stdin()["bridge"]), (&json!(100), &json!("br-trunk")));
    // DEL came twice, as containerd sends it; the second found nothing to do.
    assert_eq!(
        machine.node.calls_in_order(),
        ["ADD bridge net1", "CHECK bridge net1", "DEL bridge net1"]
    );
}

/// What each pod of `conf/pods` shows: interface and addresses.
fn expected(file: &str) -> Vec<(&'static str, [&'static str; 2])> {
    match file {
        "blue-web.yaml" => vec![("net1", ["10.20.0.2/24", "fd00:20::2/64"])],
        "blue-db.yaml" => vec![("data0", ["10.20.0.2/24", "fd00:20::2/64"])],
        "red-web.yaml" => vec![("net1", ["10.21.0.2/24", "fd00:21::2/64"])],
        "control-data-storage.yaml" => vec![
            ("control0", ["10.16.0.2/24", "fd00:16::2/64"]),
            ("data0", ["10.17.0.2/24", "fd00:17::2/64"]),
            ("storage0", ["10.18.0.2/24", "fd00:18::2/64"]),
        ],
        "default-route.yaml" => vec![("uplink0", ["10.19.0.2/24", "fd00:19::2/64"])],
        "fixed-address.yaml" => vec![
            ("fixed0", ["10.14.0.10/24", "fd00:14::10/64"]),
            ("net2", ["10.10.0.50/24", "fd00:10::50/64"]),
        ],
        "json-form.yaml" => vec![
            ("net1", ["10.20.0.2/24", "fd00:20::2/64"]),
            ("storage0", ["10.18.0.2/24", "fd00:18::2/64"]),
            ("net3", ["10.22.0.2/24", "fd00:22::2/64"]),
        ],
        "short-form.yaml" => vec![
            ("net1", ["10.20.0.2/24", "fd00:20::2/64"]),
            ("link0", ["10.13.0.2/24", "fd00:13::2/64"]),
            ("net3", ["10.10.0.2/24", "fd00:10::2/64"]),
        ],
        other => panic!("conf/pods/{other} has no test"),
    }
}

#[test]
fn every_pod_gets_what_it_asks_for() {
    let machine = delegating();
    let before = machine.node.dump();
    for file in names_in("conf/pods") {
        for pod in page::documents(&read(&format!("conf/pods/{file}"))).unwrap() {
            let started = machine.start_manifest(&pod);
            let sandbox = started.unwrap_or_else(|outcome| panic!("{file}: {}", outcome.stdout));
            let mut links = vec!["eth0"];
            for (interface, addresses) in expected(&file) {
                assert_eq!(sandbox.pod.addresses(interface), addresses, "{file} {interface}");
                links.push(interface);
            }
            links.sort_unstable();
            assert_eq!(sandbox.pod.links(), links, "{file}");
            look_closer(&machine, &file, &sandbox);
            sandbox.check();
            sandbox.del();
            assert_eq!(sandbox.pod.links(), Vec::<String>::new(), "{file}");
            assert_eq!(machine.node.state("records"), Vec::<String>::new(), "{file}");
            machine.forget_addresses();
        }
    }
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// What the pod's manifest promises beside addresses.
fn look_closer(machine: &Machine, file: &str, sandbox: &Sandbox<'_>) {
    match file {
        "default-route.yaml" => {
            assert_eq!(sandbox.pod.default_routes(4), ["via 10.19.0.1 dev uplink0"]);
            assert_eq!(sandbox.pod.default_routes(6), ["via fd00:19::1 dev uplink0"]);
            assert!(sandbox.pod.pings("10.19.0.1"));
        }
        "fixed-address.yaml" => {
            assert_eq!(sandbox.pod.link("fixed0")["address"], "02:00:0a:0e:00:0a")
        }
        "json-form.yaml" => {
            let shaped =
                machine.node.host().command("tc").args(["qdisc", "show"]).output().unwrap();
            assert!(String::from_utf8_lossy(&shaped.stdout).contains("rate 10Mbit"), "{shaped:?}");
            assert_eq!(sandbox.pod.link("storage0")["mtu"], 9000);
        }
        _ => assert_eq!(sandbox.pod.default_routes(4), ["via 10.1.0.1 dev eth0"], "{file}"),
    }
}

/// The two tenants of the examples: same name, another network, and no way into the other's.
#[test]
fn the_tenants_are_kept_apart() {
    let machine = delegating();
    let start = |file: &str| {
        let pod: Value = page::documents(&read(&format!("conf/pods/{file}"))).unwrap().remove(0);
        machine.start_manifest(&pod).unwrap_or_else(|outcome| panic!("{file}: {}", outcome.stdout))
    };
    let (web, db, red) = (start("blue-web.yaml"), start("blue-db.yaml"), start("red-web.yaml"));
    let address = |sandbox: &Sandbox<'_>, interface: &str| {
        sandbox.pod.addresses(interface)[0].split('/').next().unwrap().to_owned()
    };
    assert!(web.pod.pings(&address(&db, "data0")));
    assert!(!web.pod.pings(&address(&red, "net1")));
    let refused =
        machine.start("blue", "spy", &json!({NETWORKS: "red/private"})).err().expect("a refusal");
    refused.assert_error(7, ["network \"red/private\" is not shared with namespace blue"]);
    for sandbox in [web, db, red] {
        sandbox.del();
    }
}

/// The strict policy for shared clusters: understood, and the examples' tenants get their own
/// networks.
#[test]
fn the_shared_cluster_configuration_works() {
    let entry: Value = serde_json::from_str(&read("conf/00-shared-cluster.conflist")).unwrap();
    let mut plugin = entry["plugins"][0].clone();
    plugin["name"] = entry["name"].clone();
    let config = braid::internals::config::Config::parse(plugin.to_string().as_bytes()).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let machine = delegating();
    machine.node.write("net.d/00-braid.conflist", &read("conf/00-shared-cluster.conflist"));
    attach(&machine, "blue", "private").del();
    for networks in ["red/private", "default/bridge-lan", "limited-lan"] {
        let refused =
            machine.start("blue", "spy", &json!({NETWORKS: networks})).err().expect("a refusal");
        refused.assert_error(7, ["pod blue/spy: network"]);
    }
    let log = fs::read_to_string(machine.node.path("var/log/braid-audit.log")).unwrap();
    let decisions: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<&str> = decisions.iter().map(|line| text(&line["decision"])).collect();
    assert_eq!(shown, ["allowed", "refused", "refused", "refused"]);
}
