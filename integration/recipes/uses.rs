//! Uses: the files of each page, as they are, on a node.

use std::fs;

use serde_json::{Value, json};

use super::page::Recipe;
use crate::call::NETWORKS;
use crate::kubelet::{Kubelet, pod as allocated};
use crate::node::{Node, text};
use crate::pod::Pod;
use crate::readme::page::documents;
use crate::tenancy::Cluster;
use crate::wire::Ear;

/// The pages that a test here is of.
pub(super) const TESTED: &[&str] =
    &["ceph-storage", "telco", "sriov-dpdk", "kubevirt", "vlan-per-tenant", "whereabouts"];

/// What a datagram carries, to be known again.
const MARKER: &str = "b1adc0de5eed";

/// A node with a page's definitions and settings.
struct Scene {
    recipe: Recipe,
    node: Node,
}

impl Scene {
    fn new(page: &str) -> Self {
        let scene = Self { recipe: Recipe::read(page), node: Node::new() };
        scene.node.write("braid.d/definitions.yaml", &scene.text("definitions.yaml"));
        scene
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.recipe.file(file)).unwrap()
    }

    /// Braid's configuration with the page's settings.
    fn config(&self) -> Value {
        let mut config = json!({"delegates": [self.node.bridge("cni0", "10.1.0.0/24")]});
        if self.recipe.file("settings.json").exists() {
            let settings: Value = serde_json::from_str(&self.text("settings.json")).unwrap();
            config.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap());
        }
        config
    }

    /// An interface of the node with a cable into nowhere.
    fn interface(&self, name: &str, mtu: u32) {
        let host = self.node.host();
        host.ip(&format!("link add {name} mtu {mtu} type veth peer name far-{name} mtu {mtu}"));
        host.ip(&format!("link set {name} up"));
        host.ip(&format!("link set far-{name} up"));
    }

    /// The annotation of the page's pod, which has that namespace and name.
    fn networks_of(&self, file: &str, namespace: &str, name: &str) -> String {
        let pod = documents(&self.text(file)).unwrap().remove(0);
        let metadata = &pod["metadata"];
        assert_eq!((text(&metadata["namespace"]), text(&metadata["name"])), (namespace, name));
        text(&metadata["annotations"][NETWORKS]).to_owned()
    }

    /// A stub of whereabouts, which gives out this address.
    fn whereabouts(&self, address: &str) {
        self.node.recorder("whereabouts");
        self.node.script(
            "whereabouts",
            json!({
                "ADD": {"result": {"cniVersion": "1.0.0", "ips": [{"address": address}]}},
                "DEL": {"insist": ["K8S_POD_NAME", "K8S_POD_NAMESPACE", "CNI_IFNAME"], "stdout": ""},
                "CHECK": {"error": {"code": 100, "msg": "CNI CHECK method is not implemented"}},
            }),
        );
    }

    fn attach(&self, pod: &Pod<'_>, networks: &str) -> Value {
        pod.add(self.config()).networks(networks).run().assert_success()
    }

    fn leave(&self, pod: &Pod<'_>) {
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new());
    }
}

#[test]
fn ceph_gets_a_storage_network() {
    let scene = Scene::new("ceph-storage");
    scene.interface("eno2", 9000);
    scene.whereabouts("10.18.0.7/22");
    let cluster = documents(&scene.text("cluster.yaml")).unwrap().remove(0);
    let selectors = &cluster["spec"]["network"]["selectors"];
    let asked = format!("{},{}", text(&selectors["public"]), text(&selectors["cluster"]));
    let osd = scene.node.pod("rook-ceph", "rook-ceph-osd-0");
    scene.attach(&osd, &asked);
    for interface in ["net1", "net2"] {
        assert_eq!(osd.link(interface)["mtu"], 9000);
        assert_eq!(osd.addresses(interface), ["10.18.0.7/22"]);
    }
    scene.leave(&osd);
    let small = Scene::new("ceph-storage");
    small.interface("ens5", 1500);
    small.whereabouts("10.18.0.7/22");
    let osd = small.node.pod("rook-ceph", "rook-ceph-osd-0");
    let refused = osd.add(small.config()).networks(&asked).run();
    refused.assert_error(7, ["cannot have 9000 for \"mtu\"", "\"ens5\" has 1500"]);
}

#[test]
fn a_telco_function_has_its_planes_apart() {
    let scene = Scene::new("telco");
    scene.interface("ens3f0", 1500);
    scene.interface("ens3f1", 1500);
    let upf = scene.node.pod("core", "upf");
    scene.attach(&upf, &scene.networks_of("pod.yaml", "core", "upf"));
    assert_eq!(upf.links(), ["eth0", "n2", "n3", "n6"]);
    let planes = [("n2", "10.60.2.10/24"), ("n3", "10.60.3.10/24"), ("n6", "10.60.6.10/24")];
    for (interface, address) in planes {
        assert_eq!(upf.addresses(interface), [address]);
    }
    assert_eq!(upf.default_routes(4), ["via 10.60.6.1 dev n6"]);
    let routes = upf.ip("route show dev eth0");
    for kept in ["10.96.0.0/12", "10.244.0.0/16"] {
        assert!(routes.contains(kept), "{routes}");
    }
    // A neighbour on the control plane sends IP protocol 132, as SCTP is.
    let smf = scene.node.pod("core", "smf");
    let asked = r#"[{"name": "n2", "interface": "n2", "ips": ["10.60.2.20/24"]}]"#;
    scene.attach(&smf, asked);
    assert_eq!(receives_protocol(&upf, &smf, "10.60.2.10", 132), ["n2"]);
    scene.leave(&smf);
    scene.leave(&upf);
}

/// The interfaces of a pod at which a datagram of an IP protocol arrives, sent from the neighbour's
/// `n2`.
fn receives_protocol(to: &Pod<'_>, from: &Pod<'_>, address: &str, protocol: u32) -> Vec<String> {
    let ear = Ear::at(to.netns(), MARKER);
    let send = format!(
        "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_RAW,{protocol})\n\
         s.setsockopt(socket.SOL_SOCKET,socket.SO_BINDTODEVICE,b'n2\\0')\n\
         s.sendto(bytes.fromhex('{MARKER}'),('{address}',0))"
    );
    assert!(from.command("python3").args(["-c", &send]).status().unwrap().success());
    ear.heard_at()
}

#[test]
fn sriov_networks_get_the_pods_devices() {
    let scene = Scene::new("sriov-dpdk");
    scene.node.recorder("sriov");
    let ip = json!({"address": "10.70.0.2/24", "interface": 0});
    scene.node.script(
        "sriov",
        json!({
            "ADD fast0": {"link": true, "add_to_result": {"ips": [ip]}, "insist": ["/deviceID"]},
            "ADD dpdk0": {"insist": ["/deviceID"]},
            "DEL": {"insist": ["/deviceID", "CNI_CONTAINERID"]},
        }),
    );
    let socket = scene.node.path("kubelet/kubelet.sock");
    let devices = json!([
        {"resourceName": "intel.com/sriov_net", "deviceIds": ["0000:03:02.1"]},
        {"resourceName": "intel.com/sriov_dpdk", "deviceIds": ["0000:03:02.2"]},
    ]);
    let _kubelet = Kubelet::start(&socket).get([allocated("core", "forwarder", devices)]);
    let pod = scene.node.pod("core", "forwarder");
    let mut config = scene.config();
    config["kubeletSocket"] = json!(socket);
    config["deviceInfoDir"] = json!(scene.node.path("devinfo"));
    let networks = scene.networks_of("pod.yaml", "core", "forwarder");
    pod.add(config).networks(&networks).run().assert_success();
    assert_eq!(pod.links(), ["eth0", "fast0"], "DPDK has no interface");
    let device = |interface: &str| {
        let calls = scene.node.calls();
        let add = calls.iter().find(|call| call.summary() == format!("ADD sriov {interface}"));
        text(&add.unwrap().stdin()["deviceID"]).to_owned()
    };
    assert_eq!((device("fast0"), device("dpdk0")), ("0000:03:02.1".into(), "0000:03:02.2".into()));
    scene.leave(&pod);
}

#[test]
fn a_launchers_network_has_the_machines_mac_and_no_address() {
    let scene = Scene::new("kubevirt");
    let machine = documents(&scene.text("vm.yaml")).unwrap().remove(0);
    let spec = &machine["spec"]["template"]["spec"];
    assert_eq!(spec["networks"][1]["multus"]["networkName"], "vms/lan");
    let asked = scene.recipe.codes("Annotation")[0].clone();
    let element: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(element[0]["mac"], spec["domain"]["devices"]["interfaces"][1]["macAddress"]);
    let launcher = scene.node.pod("vms", "virt-launcher-legacy");
    // CHECK of the reference bridge wants IPAM; that of the built-in one does not.
    let mut config = scene.config();
    config["builtinPlugins"] = json!("prefer");
    launcher.add(config).networks(&asked).run().assert_success();
    let link = launcher.link("pod5c1b2d3e4f5");
    assert_eq!(link["address"], "02:00:00:00:00:07");
    let addresses = launcher.addresses("pod5c1b2d3e4f5");
    assert!(addresses.iter().all(|address| address.starts_with("fe80")), "{addresses:?}");
    scene.leave(&launcher);
}

/// `braid validate`, with the node's configuration, has nothing against the page's definitions.
fn validates(recipe: &Recipe, config: &Value) {
    let file = tempfile::NamedTempFile::with_suffix(".conflist").unwrap();
    let mut entry = config.clone();
    entry["type"] = json!("braid");
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    fs::write(file.path(), conflist.to_string()).unwrap();
    let mut validate = std::process::Command::new(crate::node::BRAID);
    validate.arg("validate").arg("--config").arg(file.path()).arg(recipe.file("definitions.yaml"));
    let output = validate.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The definitions come from the API: a tenant writes them, and the policy does not trust them.
#[test]
fn tenants_keep_to_their_vlans() {
    let recipe = Recipe::read("vlan-per-tenant");
    let read = |file: &str| fs::read_to_string(recipe.file(file)).unwrap();
    let cluster = Cluster::new();
    let node = &cluster.node;
    node.recorder("vlan");
    node.host().ip("link add eno1 type bridge");
    let ip = json!({"address": "10.80.0.2/24", "interface": 0});
    node.script("vlan", json!({"ADD": {"link": true, "add_to_result": {"ips": [ip]}}}));
    for definition in documents(&read("definitions.yaml")).unwrap() {
        let config = serde_json::from_str(text(&definition["spec"]["config"])).unwrap();
        let namespace = text(&definition["metadata"]["namespace"]);
        cluster.publish(namespace, "office", json!({}), Some(config));
    }
    let settings: Value = serde_json::from_str(&read("settings.json")).unwrap();
    let mut config = cluster.config(settings["policy"].clone());
    config["nodeInterfaces"] = settings["nodeInterfaces"].clone();
    validates(&recipe, &config);
    let pod = node.pod("team-a", "web");
    pod.add(config.clone()).networks("office").run().assert_success();
    let add = node.only_call("ADD", "vlan");
    assert_eq!((&add.stdin()["master"], &add.stdin()["vlanId"]), (&json!("eno1"), &json!(100)));
    pod.del().run().assert_success();
    let attacks = [
        ("vlanId", json!(110), "is no VLAN of namespace team-a"),
        ("master", json!("cni0"), "may not reach the host's interface"),
        (
            "ipam",
            json!({"type": "host-local", "subnet": "10.80.16.0/24"}),
            "is in no subnet of namespace team-a",
        ),
    ];
    for (key, value, refusal) in attacks {
        let mut theft = json!({
            "cniVersion": "1.0.0", "type": "vlan", "master": "trunk", "vlanId": 100,
            "ipam": {"type": "host-local", "subnet": "10.80.0.0/24"},
        });
        theft[key] = value;
        cluster.publish("team-a", "theft", json!({}), Some(theft));
        let thief = node.pod("team-a", "thief");
        thief.add(config.clone()).networks("theft").run().assert_error(7, [refusal]);
    }
}

#[test]
fn whereabouts_is_never_checked_and_always_released() {
    let scene = Scene::new("whereabouts");
    scene.whereabouts("10.90.0.16/16");
    let pod = scene.node.pod("team-a", "web");
    scene.attach(&pod, "default/shared-lan");
    assert_eq!(pod.addresses("net1"), ["10.90.0.16/16"]);
    scene.leave(&pod);
    let calls = scene.node.calls_in_order();
    assert!(!calls.iter().any(|call| call.starts_with("CHECK")), "{calls:?}");
    assert!(calls.contains(&"DEL whereabouts net1".to_owned()), "{calls:?}");
    let needs = scene.recipe.needs("Needs on DEL");
    assert_eq!(needs, ["K8S_POD_NAME", "K8S_POD_NAMESPACE", "CNI_IFNAME"]);
}
