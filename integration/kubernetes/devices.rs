//! Devices for networks: from the kubelet to the plugin, into the record and into the status.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Cluster;
use crate::kubelet::{Answer, Kubelet, UNIMPLEMENTED, pod as allocated, resources};
use crate::node::Recorded;

const RESOURCE: &str = "k8s.v1.cni.cncf.io/resourceName";
const VF: &str = "nic.example.com/vf";

/// Where the kubelet's double listens.
fn socket(cluster: &Cluster) -> PathBuf {
    cluster.node.path("kubelet/kubelet.sock")
}

fn vfs(ids: &[&str]) -> Value {
    json!([{"resourceName": VF, "deviceIds": ids}])
}

fn config(cluster: &Cluster) -> Value {
    cluster.config(
        json!({"kubeletSocket": socket(cluster), "deviceInfoDir": cluster.node.path("devinfo")}),
    )
}

/// A definition whose devices come from [`VF`]; its plugin is told the device in every way.
fn define(cluster: &Cluster, name: &str, kind: &str) {
    let plugin = json!({
        "cniVersion": "1.0.0", "type": kind, "capabilities": {"deviceID": true, "CNIDeviceInfoFile": true},
    });
    cluster.define_as(name, json!({RESOURCE: VF}), &json!({"config": plugin.to_string()}));
}

/// The devices that plugins were given with a verb, in order.
fn devices(cluster: &Cluster, verb: &str) -> Vec<(String, String)> {
    let calls = cluster.node.calls().into_iter().filter(|call| call.verb() == verb);
    let device = |call: Recorded| {
        let stdin = call.stdin();
        let [argument, key, legacy] =
            [&stdin["runtimeConfig"]["deviceID"], &stdin["deviceID"], &stdin["pciBusID"]];
        assert!(argument == key && key == legacy, "{stdin}");
        Some((call.plugin().to_owned(), argument.as_str()?.to_owned()))
    };
    calls.filter_map(device).collect()
}

fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect()
}

/// How many device-info files attachments have.
fn device_info_files(cluster: &Cluster) -> usize {
    std::fs::read_dir(cluster.node.path("devinfo/cni")).map_or(0, Iterator::count)
}

/// Device Information Specification, sections 4 and 5; Multus gives one device to two attachments
/// and ignores an exhausted pool.
#[test]
fn each_attachment_has_a_device_of_its_own() {
    let cluster = Cluster::new();
    define(&cluster, "fast", "blue");
    let ids = ["0000:18:02.5", "0000:18:02.6"];
    let kubelet =
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", vfs(&ids))]);
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).networks("fast,fast").run().assert_success();
    let question = format!("Get {}", cluster.label("web"));
    assert_eq!(kubelet.requests(), [question], "one question for the whole pod");
    assert_eq!(devices(&cluster, "ADD"), given(&[("blue", ids[0]), ("blue", ids[1])]));
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        devices(&cluster, "CHECK"),
        given(&[("blue", ids[0]), ("blue", ids[1])]),
        "from the record"
    );
    assert_eq!(
        devices(&cluster, "DEL"),
        given(&[("blue", ids[1]), ("blue", ids[0])]),
        "from the record"
    );
    assert_eq!(kubelet.requests().len(), 1, "CHECK and DEL do not ask");
    cluster.node.forget_calls();
    let call = cluster.add(&pod, &uid, config(&cluster)).networks("fast,fast,fast");
    call.run().assert_error(7, [VF, "has 2 of resource", "ask for 3 or more"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
    assert_eq!(cluster.node.state("records"), Vec::<String>::new());
}

/// Device Information Specification, sections 4.2.1, 5.1 and 6.1.1: the device plugin's file is
/// copied for the CNI plugin, which may change it; what it says then is shown; DEL removes it. NPWG
/// 1.3, section 5.3.7.
#[test]
fn a_device_info_file_goes_from_the_device_plugin_to_the_status() {
    let cluster = Cluster::new();
    define(&cluster, "fast", "blue");
    let id = "0000:18:02.5";
    let _kubelet =
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", vfs(&[id]))]);
    let info = |more: Value| {
        let mut pci = json!({"pci-address": id});
        pci.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!({"type": "pci", "version": "1.1.0", "pci": pci})
    };
    let (before, after) = (info(json!({})), info(json!({"rdma-device": "mlx5_2"})));
    cluster
        .node
        .write(&format!("devinfo/dp/nic.example.com-vf-{id}-device.json"), &before.to_string());
    let files = cluster.node.path_text("devinfo/cni");
    let seen = cluster.node.path("seen");
    let shell = format!("cp {files}/* {}; echo '{after}' > $(echo {files}/*)", seen.display());
    cluster.node.script("blue", json!({"ADD": {"shell": shell}}));
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).networks("fast").run().assert_success();
    let read: Value = serde_json::from_str(&std::fs::read_to_string(seen).unwrap()).unwrap();
    assert_eq!(read, before, "what the plugin found");
    let told =
        cluster.node.only_call("ADD", "blue").stdin()["runtimeConfig"]["CNIDeviceInfoFile"].clone();
    assert!(told.as_str().unwrap().starts_with(&files), "{told}");
    assert_eq!(cluster.status("web")[1]["device-info"], after);
    assert_eq!(device_info_files(&cluster), 1);
    pod.del().run().assert_success();
    assert_eq!(device_info_files(&cluster), 0);
    // GC takes it away as DEL does.
    cluster.add(&pod, &uid, config(&cluster)).networks("fast").run().assert_success();
    assert_eq!(device_info_files(&cluster), 1);
    let stale = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []});
    cluster.node.call("GC", config(&cluster)).with(stale).run().assert_success();
    assert_eq!(device_info_files(&cluster), 0);
}

/// An ADD that fails takes its device-info file along.
#[test]
fn a_failed_attachment_leaves_no_device_info_file() {
    let cluster = Cluster::new();
    define(&cluster, "fast", "blue");
    let id = "0000:18:02.5";
    let _kubelet =
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", vfs(&[id]))]);
    let info = json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": id}});
    cluster
        .node
        .write(&format!("devinfo/dp/nic.example.com-vf-{id}-device.json"), &info.to_string());
    cluster.node.script("blue", json!({"ADD": {"error": {"code": 17, "msg": "no link"}}}));
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).networks("fast").run().assert_error(17, ["no link"]);
    assert_eq!(device_info_files(&cluster), 0);
}

/// Networks that the node's configuration names take part in the pod's bookkeeping.
#[test]
fn networks_of_the_node_have_devices_too() {
    let cluster = Cluster::new();
    define(&cluster, "main", "primary");
    define(&cluster, "always", "red");
    define(&cluster, "fast", "blue");
    let ids = ["0000:18:02.1", "0000:18:02.2", "0000:18:02.3"];
    let kubelet =
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", vfs(&ids))]);
    let more = json!({"delegates": [], "clusterNetwork": "main", "defaultNetworks": ["always"]});
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).with(more).networks("fast").run().assert_success();
    assert_eq!(
        devices(&cluster, "ADD"),
        given(&[("primary", ids[0]), ("red", ids[1]), ("blue", ids[2])])
    );
    assert_eq!(kubelet.requests().len(), 1);
    assert_eq!(cluster.relay.connections(), 1);
}

/// A kubelet without Get, up to Kubernetes 1.26, and with it turned off, up to 1.33.
#[test]
fn a_kubelet_without_get_is_asked_for_the_list() {
    let cluster = Cluster::new();
    define(&cluster, "fast", "blue");
    let pods = json!({"podResources": [
        resources("elsewhere", "web", vfs(&["1"])),
        resources(cluster.namespace(), "web", vfs(&["2"])),
    ]});
    let kubelet = Kubelet::start(&socket(&cluster))
        .get([Answer::Status(
            UNIMPLEMENTED,
            "unknown method Get for service v1.PodResourcesLister",
        )])
        .list([Answer::Message(pods)]);
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).networks("fast").run().assert_success();
    assert_eq!(cluster.node.only_call("ADD", "blue").stdin()["runtimeConfig"]["deviceID"], "2");
    assert_eq!(kubelet.requests(), [format!("Get {}", cluster.label("web")), "List".to_owned()]);
}

/// Devices of dynamic resource allocation are known by their CDI names.
#[test]
fn a_device_of_a_claim_has_its_cdi_name() {
    let cluster = Cluster::new();
    define(&cluster, "fast", "blue");
    let claim = json!({"claimName": "nics", "claimNamespace": cluster.namespace(), "claimResources": [
        {"cdiDevices": [{"name": "nic.example.com/vf=sf1"}], "driverName": "nic.example.com", "poolName": "n1", "deviceName": "d"},
    ]});
    let answer = json!({"podResources": {"name": "web", "namespace": cluster.namespace(), "containers": [
        {"name": "main", "dynamicResources": [claim]},
    ]}});
    let _kubelet = Kubelet::start(&socket(&cluster)).get([Answer::Message(answer)]);
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, config(&cluster)).networks("fast").run().assert_success();
    assert_eq!(cluster.node.only_call("ADD", "blue").stdin()["runtimeConfig"]["deviceID"], "sf1");
    let second = cluster.sandbox("web");
    let call = cluster.add(&second, &uid, config(&cluster)).networks("fast,fast");
    call.run().assert_error(7, ["has 1 of resource"]);
}

/// A definition of this chain that names a resource.
fn define_chain(cluster: &Cluster, name: &str, resource: &str, plugins: Value) {
    let config = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
    cluster.define_as(name, json!({RESOURCE: resource}), &json!({"config": config.to_string()}));
}

/// OpenShift Virtualization and ovs-cni name a resource that only marks nodes for the scheduler. No
/// kubelet lists a device of it, so that there need not be one to ask.
#[test]
fn a_scheduling_marker_is_no_device() {
    let cluster = Cluster::new();
    for (kind, marker) in [
        ("cnv-bridge", "bridge.network.kubevirt.io/br1"),
        ("ovs", "ovs-cni.network.kubevirt.io/br1"),
    ] {
        cluster.node.recorder(kind);
        define_chain(&cluster, "lan", marker, json!([{"type": kind, "bridge": "br1"}]));
        let uid = cluster.create_pod(&format!("web-{kind}"), json!({}));
        let pod = cluster.sandbox(&format!("web-{kind}"));
        cluster.add(&pod, &uid, config(&cluster)).networks("lan").run().assert_success();
        let stdin = cluster.node.only_call("ADD", kind).stdin().clone();
        assert!(stdin["deviceID"].is_null() && stdin["pciBusID"].is_null(), "{stdin}");
        pod.del().run().assert_success();
        cluster.node.forget_calls();
    }
}

/// A plugin of which it is not known that it needs a device gets one if the kubelet has given the
/// pod one, and goes on without; a pool that is exhausted, and a kubelet that cannot be asked, hold
/// it up.
#[test]
fn a_plugin_that_may_have_a_device_goes_on_without() {
    let cluster = Cluster::new();
    define_chain(&cluster, "lan", VF, json!([{"type": "blue"}]));
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let add = |networks: &str| cluster.add(&pod, &uid, config(&cluster)).networks(networks).run();
    add("lan").assert_error(
        11,
        [&format!("network \"{}/lan\": cannot ask the kubelet", cluster.namespace())],
    );
    let listed = |devices: Value| {
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", devices)])
    };
    let kubelet = listed(json!([]));
    let outcome = add("lan");
    outcome.assert_success();
    let said = format!(
        "network \"{}/lan\": the pod has no device of resource \"{VF}\"",
        cluster.namespace()
    );
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    pod.del().run().assert_success();
    drop(kubelet);
    let _kubelet = listed(vfs(&["0000:18:02.5"]));
    cluster.node.forget_calls();
    add("lan,lan").assert_error(7, ["has 1 of resource"]);
    add("lan").assert_success();
    assert_eq!(cluster.node.only_call("ADD", "blue").stdin()["deviceID"], "0000:18:02.5");
    pod.del().run().assert_success();
}

/// What a chain cannot do without is refused in a sentence that names the network once, and the pod
/// once.
#[test]
fn a_device_that_is_owed_and_not_there_is_refused() {
    let cluster = Cluster::new();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let _kubelet =
        Kubelet::start(&socket(&cluster)).get([allocated(cluster.namespace(), "web", json!([]))]);
    for plugins in [
        json!([{"type": "sriov"}]),
        json!([{"type": "bridge"}, {"type": "rdma"}]),
        json!([{"type": "blue", "capabilities": {"deviceID": true}}]),
    ] {
        define_chain(&cluster, "lan", VF, plugins);
        let outcome = cluster.add(&pod, &uid, config(&cluster)).networks("lan").run();
        let start = format!(
            "pod {}: network \"{}/lan\": the pod has no device",
            cluster.label("web"),
            cluster.namespace()
        );
        outcome.assert_error(7, [start.as_str(), VF]);
        assert_eq!(outcome.stdout.matches(&cluster.label("web")).count(), 1, "{}", outcome.stdout);
    }
    define_chain(&cluster, "lan", VF, json!([{"type": "bridge", "bridge": "br1"}]));
    let named = json!([{"name": "lan", "deviceID": "0000:18:02.5"}]);
    let outcome = cluster.add(&pod, &uid, config(&cluster)).networks_json(named).run();
    outcome.assert_error(7, ["the pod has no device"]);
}
