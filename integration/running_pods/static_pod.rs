//! A static pod: the runtime knows it by a hash, and the API has a mirror with another UID.

use serde_json::{Value, json};

use super::{attach, detach};
use crate::apiserver::ApiServer;
use crate::node::Node;
use crate::operator::records::primary;
use linux::netns::Netns;

const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
const HASH: &str = "0123456789abcdef0123456789abcdef";

fn interfaces(server: &ApiServer) -> Vec<String> {
    let objects = server.objects();
    let pod = objects.get("pods", "team-a", "web").unwrap();
    let status = pod["metadata"]["annotations"][STATUS].as_str().unwrap_or("[]");
    let status: Vec<Value> = serde_json::from_str(status).unwrap();
    status.iter().map(|entry| entry["interface"].as_str().unwrap().to_owned()).collect()
}

fn with_api(node: &Node, server: &ApiServer) {
    let path = node.path("net.d/00-braid.conflist");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut conflist: Value = serde_json::from_str(&text).unwrap();
    conflist["plugins"][0]["kubeconfig"] = json!(server.administrators_kubeconfig());
    std::fs::write(path, conflist.to_string()).unwrap();
}

#[test]
fn the_status_of_a_static_pod_is_written_to_its_mirror() {
    let node = super::node();
    let host = Netns::open(node.host().path().as_ref()).unwrap();
    let server = host.run(ApiServer::start).unwrap();
    with_api(&node, &server);
    let annotations = json!({
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.mirror": HASH,
        "kubernetes.io/config.hash": HASH,
    });
    server.add_pod("team-a", "web", "5f2c7a36-9e0d-4f9a-8b39-0a4d5a1f6a77", annotations);
    let web = node.pod("team-a", "web");
    let config = json!({
        "delegates": [primary()], "kubeconfig": server.administrators_kubeconfig(),
    });
    let args = web.args().replace("K8S_POD_UID=uid-web", &format!("K8S_POD_UID={HASH}"));
    let call = web.add(config).networks("").env("CNI_ARGS", &args);
    call.annotation("kubernetes.io/config.source", "file").run().assert_success();
    attach(&node, &["red"]).assert_status(0);
    assert_eq!(interfaces(&server), ["eth0", "net1"]);
    detach(&node, "net1").assert_status(0);
    assert_eq!(interfaces(&server), ["eth0"]);
    web.del().env("CNI_ARGS", &args).run().assert_success();
}
