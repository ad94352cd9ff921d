//! Installed as the pages say, delegating and chained, on containerd and CRI-O, and gone again.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{REPOSITORY, installed, manifest, primary, start};
use crate::call::NETWORKS;
use crate::kustomize;
use crate::node::text;
use crate::readme::machine::{Machine, Sandbox};
use crate::readme::page::{block, blocks};

/// CHECK, both DELs, and nothing left but bridges.
#[track_caller]
fn end(machine: &Machine, sandbox: &Sandbox<'_>, before: &BTreeSet<String>) {
    sandbox.check();
    end_unchecked(machine, sandbox, before);
}

#[track_caller]
fn end_unchecked(machine: &Machine, sandbox: &Sandbox<'_>, before: &BTreeSet<String>) {
    sandbox.del();
    // portmap keeps the chains that all its containers share.
    let shared = |line: &String| line.contains("CNI-HOSTPORT-") && !line.contains("CNI-DN-");
    let mut left = machine.node.leftovers(before);
    left.retain(|line| !shared(line));
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(sandbox.pod.links(), Vec::<String>::new());
}

#[test]
fn installed_by_hand_it_delegates() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    assert_eq!(
        machine.sh("ls /etc/cni/net.d"),
        "00-braid.conflist\n10-primary.conflist\nbraid.d\n"
    );
    let before = machine.node.dump();

    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.pod.addresses("eth0"), ["10.1.0.2/24"]);
    assert_eq!(web.pod.addresses("net1"), ["10.30.0.2/24", "fd00:30::2/64"]);
    assert_eq!(web.pod.addresses("data0"), ["10.30.0.3/24", "fd00:30::3/64"]);
    assert_eq!(machine.sh("ls /var/lib/cni/braid/records").lines().count(), 1);
    end(&machine, &web, &before);

    let router = start(&machine, "json");
    assert_eq!(router.pod.links(), ["data0", "eth0", "net2"]);
    assert_eq!(router.pod.addresses("data0"), ["10.30.0.42/24", "fd00:30::42/64"]);
    assert_eq!(router.pod.link("data0")["address"], "02:23:45:67:89:01");
    assert_eq!(router.pod.default_routes(4), ["via 10.30.0.1 dev data0"]);
    let rules = machine.node.host().command("iptables-save").output().unwrap();
    assert!(
        String::from_utf8_lossy(&rules.stdout).contains("--to-destination 10.30.0.42:80"),
        "{rules:?}"
    );
    let shaped = machine.node.host().command("tc").args(["qdisc", "show"]).output().unwrap();
    assert!(String::from_utf8_lossy(&shaped.stdout).contains("rate 10Mbit"), "{shaped:?}");
    // portmap's CHECK looks for rules of one family in the other's table.
    router.check_braid(&json!({"checkNetworks": "kernel"}));
    end_unchecked(&machine, &router, &before);

    let measured = start(&machine, "default-network");
    assert_eq!(measured.pod.links(), ["eth0"]);
    assert_eq!(measured.pod.addresses("eth0"), ["10.40.0.2/24"]);
    end(&machine, &measured, &before);
}

#[test]
fn braid_leaves_as_the_page_says() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    let extras = || machine.sh(&block("node", "extras").text);
    assert_eq!(extras(), "no pod has an extra network\n");
    let plain = machine
        .start("team-a", "plain", &json!({}))
        .unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    let web = start(&machine, "short");
    assert_eq!(extras(), format!("/var/lib/cni/braid/records/{}@eth0\n", web.pod.container));
    web.del();
    assert_eq!(extras(), "no pod has an extra network\n");

    machine.sh(&block("node", "leaving").text);
    let without = machine.start("team-a", "without", &json!({}));
    let without = without.unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    assert_eq!(
        (without.pod.links(), plain.pod.links()),
        (vec!["eth0".to_owned()], vec!["eth0".to_owned()])
    );
    without.del();
    // What CRI-O does; containerd would call the primary.
    plain.del();
    machine.sh(&block("node", "left").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d /opt/cni/bin /var/lib/cni | grep braid || true"), "");
}

#[test]
fn the_result_is_as_shown() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    let one = machine.start("team-a", "web", &json!({NETWORKS: "lan"}));
    let one = one.unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    assert_eq!(block("result", "").json(), anonymous(&one.result));
    one.del();
}

/// A result with names, addresses and paths of its own making numbered, as the page shows them.
fn anonymous(result: &Value) -> Value {
    let mut result = result.clone();
    let mut cables = 0;
    for (at, interface) in result["interfaces"].as_array_mut().unwrap().iter_mut().enumerate() {
        if text(&interface["name"]).starts_with("veth") {
            interface["name"] = json!(format!("veth{cables:04}"));
            cables += 1;
        }
        assert_eq!(text(&interface["mac"]).len(), 17, "{interface}");
        interface["mac"] = json!(format!("02:00:00:00:00:{:02x}", at + 1));
        if !interface["sandbox"].is_null() {
            assert!(text(&interface["sandbox"]).starts_with("/run/netns/"), "{interface}");
            interface["sandbox"] = json!("/run/netns/web");
        }
    }
    result
}

#[test]
fn installed_by_hand_it_stands_in_the_primarys_chain() {
    let machine = installed();
    machine.sh(&block("node", "chained").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d"), "10-primary.conflist\nbraid.d\n");
    let before = machine.node.dump();

    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.pod.addresses("eth0"), ["10.244.0.2/24", "fd00:244::2/64"]);
    web.check_braid(&json!({}));
    end_unchecked(&machine, &web, &before);

    let router = start(&machine, "json");
    assert_eq!(router.pod.default_routes(4), ["via 10.30.0.1 dev data0"]);
    assert_eq!(router.pod.default_routes(6), ["via fd00:244::1 dev eth0"]);
    router.check_braid(&json!({"checkNetworks": "kernel"}));
    end_unchecked(&machine, &router, &before);

    let refused = machine.start_manifest(&manifest("default-network")).err().expect("a refusal");
    refused.assert_error(7, ["braid stands behind the primary network here and cannot replace it"]);
}

/// CRI-O runs the whole chain's CHECK, and the reference plugins take every address for their own.
#[test]
fn on_crio_a_chained_entry_has_a_scope() {
    let machine = installed();
    let mut conflist: Value =
        serde_json::from_str(&super::conf::read("conf/10-chained.conflist")).unwrap();
    conflist["plugins"][2]["resultScope"] = json!("primary");
    machine.node.write("net.d/10-primary.conflist", &conflist.to_string());
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.result["ips"].as_array().unwrap().len(), 2);
    end(&machine, &web, &before);
}

/// Newer runtimes append the files of `<network name>/` to the chain; Braid's entry can be one of
/// them.
#[test]
fn the_chained_entry_may_be_a_file_of_its_own() {
    let machine = installed();
    primary(&machine);
    machine
        .node
        .write("net.d/primary/braid.conf", &block("entry", "conf/10-chained.conflist").text);
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    web.del();
}

#[test]
fn on_crio_the_result_is_the_primarys() {
    let machine = installed();
    primary(&machine);
    machine
        .node
        .write("net.d/00-braid.conflist", &super::conf::read("conf/crio-delegating.conflist"));
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    let addresses = web.result["ips"].as_array().unwrap();
    assert_eq!(
        addresses.iter().map(|ip| text(&ip["address"])).collect::<Vec<_>>(),
        ["10.1.0.2/24"]
    );
    end(&machine, &web, &before);

    // Networks whose plugins fail their CHECK.
    for networks in [
        "default/limited-lan",
        r#"[{"name": "lan", "portMappings": [{"hostPort": 80, "containerPort": 80}]}]"#,
    ] {
        let pod = machine.start("team-a", "web", &json!({NETWORKS: networks}));
        let pod = pod.unwrap_or_else(|outcome| panic!("{networks}: {}", outcome.stdout));
        pod.check_braid(&json!({"checkNetworks": "kernel"}));
        end_unchecked(&machine, &pod, &before);
    }
}

/// What the page has kubectl apply and delete is there, and is a list of objects. That the rights
/// are enough, and no more than enough, is tested in `api_client::rights`, whose API server
/// enforces these very files.
#[test]
fn the_daemonset_of_the_page_is_there() {
    let repository = Path::new(REPOSITORY);
    let mut seen = Vec::new();
    for line in blocks("daemonset").into_iter().flat_map(|block| block.text.lines()) {
        let command = line.split(" #").next().unwrap().trim();
        match *command.split_whitespace().collect::<Vec<_>>().as_slice() {
            // Files of a release: `release` holds them against the overlays and the definition.
            ["kubectl", "apply", "-f", file] if !file.contains('/') => {
                let overlay = file.strip_prefix("install-").and_then(|it| it.strip_suffix(".yaml"));
                let place = overlay.map_or("crd.yaml".into(), |it| format!("overlays/{it}"));
                assert!(repository.join("conf/kubernetes").join(place).exists(), "{file}");
            }
            ["kubectl", "apply", "-f", file] => {
                kustomize::documents(&repository.join(file)).iter().for_each(kustomize::check);
            }
            // `daemonset::deletion` has every order in which the objects may go.
            ["kubectl", "apply" | "delete", "-k", overlay] => {
                let objects = kustomize::render(&repository.join(overlay));
                assert_eq!(
                    kustomize::object(&objects, "DaemonSet", "braid")["metadata"]["namespace"],
                    "braid"
                );
            }
            _ => panic!("what does {command} do?"),
        }
        seen.push(command);
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn version_by_hand() {
    let machine = installed();
    let printed = machine.sh(&block("node", "version").text);
    assert_eq!(
        serde_json::from_str::<Value>(&printed).unwrap(),
        block("output", "of version").json()
    );
    assert!(machine.sh("/opt/cni/bin/braid </dev/null").contains("CNI_COMMAND"));
}

/// Without a compiler: the package has this version in its name, and the command that it brings
/// changes nothing if it is asked what it would do.
#[test]
fn the_package_brings_a_command_that_changes_nothing_by_itself() {
    let machine = Machine::new();
    primary(&machine);
    let package = format!("install ./braid_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"));
    machine.stand_in("apt", &package, "true");
    machine.shim("braid", &format!("exec {} \"$@\"", crate::node::BRAID));
    let before = machine.sh("ls -R /etc/cni /opt/cni");
    let said = machine.sh(&block("node", "package").text);
    assert!(said.contains("00-braid.conflist"), "{said}");
    assert_eq!(machine.sh("ls -R /etc/cni /opt/cni"), before);
}
