//! The executable that goes on nodes runs on any of them: static, and without a file of the node
//! that is not Kubernetes' or CNI's own. Names are resolved without the libraries that glibc loads
//! while it runs.

use std::path::Path;

use linux::netns::Netns;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Setup, User};
use crate::call::{ANNOTATIONS, Call, NETWORKS};
use crate::chroot::{Chroot, executable};
use crate::nameserver::NameServer;
use crate::node::{Node, text};

const NAME: &str = "api.cluster.test";
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

#[test]
fn the_executable_needs_no_other_file() {
    let node = Node::new();
    let root = Chroot::new(&node, "root");
    root.copy(&executable(), "/braid");
    let output = root.command("/braid").args(["version", "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["version"], env!("CARGO_PKG_VERSION"));
}

/// What a node carries: `scripts/build` says how large it is.
const MAX_BYTES: u64 = 11_000_000;

#[test]
fn the_executable_of_nodes_stays_small_without_the_commands_of_a_cluster() {
    let file = executable();
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes <= MAX_BYTES, "{} has {bytes} bytes", file.display());
    // A sentence that only the webhook says.
    let sentence = b"the API server trusts the authority in Secret";
    let says = |file: &Path| {
        let contents = std::fs::read(file).unwrap();
        memchr::memmem::find(&contents, sentence).is_some()
    };
    assert!(!says(&file), "{} has the code of the webhook", file.display());
    assert!(says(&file.with_file_name("braid-cluster")));
}

#[test]
fn the_api_is_found_by_a_name_in_the_hosts_file() {
    let node = Node::new();
    attach(&node, &[("/etc/hosts", &format!("127.0.0.1 {NAME}\n"))]);
}

#[test]
fn the_api_is_found_by_a_name_that_a_name_server_has() {
    let node = Node::new();
    let server = NameServer::start(&node, NAME);
    attach(&node, &[("/etc/resolv.conf", "nameserver 127.0.0.1\n")]);
    assert!(server.asked() > 0);
}

#[test]
fn an_api_whose_name_does_not_resolve_is_an_outage() {
    let node = Node::new();
    let _other = NameServer::start(&node, "other.test");
    let (root, server) = lay_out(&node, &[("/etc/resolv.conf", "nameserver 127.0.0.1\n")]);
    let pod = node.pod("team-a", "web");
    let door = root.door("/opt/cni/bin/braid");
    let add = Call::again(&node, "ADD", config(&json!("blue"))).of_pod(&pod).program(door);
    add.env("CNI_PATH", "/opt/cni/bin").run().assert_error(11, [NAME, "cannot be reached"]);
    assert_eq!(server.connections(), 0);
}

/// ADD and DEL of a pod with a network from the API, with the real plugins, on a node with these
/// files.
fn attach(node: &Node, files: &[(&str, &str)]) {
    let (root, server) = lay_out(node, files);
    let pod = node.pod("team-a", "web");
    let door = root.door("/opt/cni/bin/braid");
    let call = |verb: &str, config: Value| {
        Call::again(node, verb, config).of_pod(&pod).program(&door).env("CNI_PATH", "/opt/cni/bin")
    };
    let config = config(&json!("blue"));
    let result = call("ADD", config.clone()).run().assert_success();
    assert_eq!(
        (pod.addresses("eth0"), pod.addresses("net1")),
        (addresses("10.1"), addresses("10.20"))
    );
    assert_eq!(result["ips"].as_array().unwrap().len(), 2);
    let status =
        server.objects().get("pods", "team-a", "web").unwrap()["metadata"]["annotations"].clone();
    assert!(text(&status[STATUS]).contains("10.20.0."), "{status}");

    call("DEL", config).prev_result(result).run().assert_success();
    assert_eq!(pod.links(), Vec::<String>::new());
    for directory in ["/var/lib/cni/braid/records", "/var/lib/cni/networks/cluster"] {
        let left = std::fs::read_dir(root.path(directory)).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
        assert!(
            !left.iter().any(|name| name.starts_with("10.") || name.contains("container")),
            "{left:?}"
        );
    }
}

fn addresses(start: &str) -> Vec<String> {
    vec![format!("{start}.0.2/24")]
}

/// A node as its provider made it, with Braid and two plugins, in front of a cluster.
fn lay_out<'n>(node: &'n Node, files: &[(&str, &str)]) -> (Chroot<'n>, ApiServer) {
    let host = Netns::open(node.host().path().as_ref()).unwrap();
    let setup = Setup { names: vec![NAME], ..Setup::default() };
    let server = host.run(|| ApiServer::with(setup)).unwrap();
    server.define("team-a", "blue", &bridge("blue", "10.20.0.0/24").to_string());
    server.add_pod("team-a", "web", "uid-web", json!({}));

    let mut root = Chroot::new(node, "root");
    root.copy(&executable(), "/opt/cni/bin/braid");
    ["bridge", "host-local"]
        .into_iter()
        .for_each(|plugin| root.copy_plugin(plugin, "/opt/cni/bin"));
    for (path, contents) in files {
        root.write(path, contents);
    }
    let mut cluster = server.cluster_entry();
    cluster["server"] = json!(server.url().replace("127.0.0.1", NAME));
    let kubeconfig =
        server.kubeconfig_for(cluster, json!({"token": server.token(&User::braid(), 3600)}));
    root.copy(&kubeconfig, "/etc/cni/net.d/braid.kubeconfig");
    let primary = json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [bridge("cni0", "10.1.0.0/24")]});
    root.write("/etc/cni/net.d/10-primary.conflist", &primary.to_string());
    // What the kernel and the runtime show on every node.
    root.mount(Path::new("/proc"), "/proc");
    root.mount(Path::new("/run/netns"), "/run/netns");
    (root, server)
}

fn bridge(name: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": name,
        "ipam": {"type": "host-local", "subnet": subnet},
    })
}

/// Directories are those that Braid takes by itself.
fn config(networks: &Value) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "node", "type": "braid", "clusterNetwork": "auto",
        "kubeconfig": "/etc/cni/net.d/braid.kubeconfig", "apiTimeout": "2s",
        "runtimeConfig": {ANNOTATIONS: {NETWORKS: networks}},
    })
}
