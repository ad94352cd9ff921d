//! A node of Multus's moves as the page says.

use serde_json::{Value, json};

use super::{primary, start};
use crate::readme::machine::Machine;
use crate::readme::page::{block, blocks};

/// What Multus passes over is found while it still runs.
#[test]
fn what_a_move_would_refuse_is_found_before_it() {
    let machine = Machine::new();
    let list = |name: &str, items: Vec<Value>| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        machine.node.write(name, &list.to_string());
        format!("cat {}", machine.node.path_text(name))
    };
    let template = |kind: &str, networks: &str| {
        let annotations = json!({"k8s.v1.cni.cncf.io/networks": networks});
        let metadata = json!({"name": "web", "namespace": "team-a", "annotations": annotations});
        let pod = json!({"metadata": metadata, "spec": {"containers": []}});
        match kind {
            "Pod" => json!({"kind": kind, "metadata": metadata, "spec": pod["spec"]}),
            _ => {
                json!({"kind": kind, "metadata": {"name": "web", "namespace": "team-a"}, "spec": {"template": pod}})
            }
        }
    };
    let gateway = r#"[{"name": "lan", "gateway": ["10.0.0.1"]}]"#;
    let definitions: Vec<Value> =
        blocks("definition").iter().flat_map(|block| block.yaml()).collect();
    let shown = [
        ("network-attachment-definitions", list("definitions.json", definitions)),
        ("pods", list("pods.json", vec![template("Pod", "lan"), template("Pod", gateway)])),
        (
            "deployments,statefulsets,daemonsets,cronjobs",
            list("workloads.json", vec![template("Deployment", gateway)]),
        ),
    ];
    let cases: String = shown
        .iter()
        .map(|(kinds, script)| format!("\"get {kinds} -A -o yaml\") {script};;\n"))
        .collect();
    machine.shim("kubectl", &format!("case \"$*\" in\n{cases}*) exit 1;;\nesac"));
    machine.shim("braid", &format!("exec {} \"$@\"", crate::node::BRAID));
    let said = machine
        .sh(&block("node", "before-multus").text.replace("validate -\n", "validate - || true\n"));
    let rule = "element 1 (team-a/lan): \"gateway\" is not a known key: Multus ignored it; leave \
                it out, or move the default route there with \"default-route\"\n";
    let lines: Vec<&str> = said.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].starts_with("valid: "), "{said}");
    assert!(lines[1].ends_with(&format!(": error: Pod team-a/web: {rule}")), "{said}");
    assert_eq!((lines[2], lines[4]), ("1 error: 1 checked\n", "1 error: 1 checked\n"));
    assert!(lines[3].ends_with(&format!(": error: Deployment team-a/web: {rule}")), "{said}");
}

#[test]
fn a_multus_configuration_moves() {
    let machine = Machine::new();
    let items: Vec<Value> = blocks("definition").iter().flat_map(|block| block.yaml()).collect();
    machine.node.write(
        "list.yaml",
        &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
    );
    let arguments = "get network-attachment-definitions --all-namespaces -o yaml";
    machine.stand_in("kubectl", arguments, &format!("cat {}", machine.node.path_text("list.yaml")));
    machine.sh("scripts/build; install target/dist/braid /opt/cni/bin/braid");
    machine.sh(&block("node", "definitions").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d/braid.d"), "cluster.yaml\n");
    primary(&machine);
    by_command(&machine);
    machine.sh("rm /etc/cni/net.d/00-braid.conflist");
    machine
        .node
        .write("net.d/00-braid.conf", &super::conf::without_api(&block("config", "migrated").text));
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.result["cniVersion"], "0.3.1");
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// As the command does it, from a file as Multus's thin image writes it.
fn by_command(machine: &Machine) {
    let of_primary =
        std::fs::read_to_string(machine.node.path("net.d/10-primary.conflist")).unwrap();
    let of_primary: Value = serde_json::from_str(&of_primary).unwrap();
    let multus = json!({
        "cniVersion": of_primary["cniVersion"], "name": "multus-cni-network", "type": "multus",
        "delegates": [of_primary],
    });
    machine.node.write("net.d/00-multus.conf", &multus.to_string());
    let server = crate::readme::cluster::credential(machine);
    let said = machine.sh(&block("node", "migrate").text);
    assert!(said.contains("+      \"clusterNetwork\": \"auto\""), "{said}");
    assert!(said.contains("rename /etc/cni/net.d/00-multus.conf to "), "{said}");
    let before = machine.node.dump();
    server.add_pod("team-a", "web", "uid-web", json!({}));
    let web = start(machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// The ConfigMap and its key are those of Multus's own manifest, and the command is the one that
/// Braid prints.
#[test]
fn the_settings_of_the_thick_plugin_are_got_as_the_page_says() {
    let machine = Machine::new();
    let arguments = "get configmap multus-daemon-config --namespace kube-system -o \
                     jsonpath={.data.daemon-config\\\\.json}";
    machine.stand_in("kubectl", arguments, "echo '{\"logLevel\": \"debug\"}'");
    let command = &block("node", "thick").text;
    machine.sh(command);
    assert_eq!(machine.sh("cat daemon-config.json"), "{\"logLevel\": \"debug\"}\n");
    machine.sh("scripts/build");
    machine.node.write("net.d/00-multus.conf", r#"{"name": "m", "type": "multus-shim"}"#);
    let said = machine.sh("target/dist/braid migrate multus 2>&1 || true");
    assert!(said.contains(command.trim()), "{said}");
}
