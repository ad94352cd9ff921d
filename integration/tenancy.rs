//! Tenants against each other and against the node: a table of attacks, each with the refusal that it gets,
//! on every path that a tenant has. The rules themselves are tested in `src/policy/`.

use std::fs;

use braid::netns::Netns;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Setup};
use crate::node::{Node, text};
use crate::wire::{cannot_reach, reaches};

const UID: &str = "0f7c8d1e-0000-4000-8000-000000000002";
const MARKER: &str = "b1adc0de7e4a";

/// A node that two tenants share, with the API that their definitions come from.
struct Cluster {
    node: Node,
    server: ApiServer,
}

impl Cluster {
    fn new() -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue"]);
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let setup = Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() };
        let server = host.run(move || ApiServer::with(setup)).unwrap();
        Self { node, server }
    }

    fn publish(&self, namespace: &str, name: &str, annotations: Value, config: Option<Value>) {
        let spec = config.map(|config| json!({"config": config.to_string()})).unwrap_or_default();
        self.server.objects().put(json!({
            "kind": "NetworkAttachmentDefinition", "spec": spec,
            "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        }));
    }

    fn config(&self, policy: Value) -> Value {
        json!({
            "kubeconfig": self.server.usual_kubeconfig(), "statusPolicy": "never", "policy": policy,
            "auditLog": self.node.path_text("audit.log"),
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
        })
    }

    /// The refusal of a pod of team-a with this networks annotation.
    #[track_caller]
    fn refusal(&self, policy: Value, networks: &str) -> String {
        let pod = self.node.pod("team-a", "web");
        let outcome = pod.add(self.config(policy)).networks(networks).run();
        let error = outcome.assert_error(7, ["pod team-a/web: "]);
        assert_eq!(self.node.calls_in_order(), Vec::<String>::new(), "{networks}: nothing was attached");
        text(&error["msg"]).to_owned()
    }

    fn decisions(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.node.path("audit.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn policy() -> Value {
    json!({
        "allowedHostInterfaces": {"br-a*": ["team-a"], "br-b*": ["team-b"]},
        "allowedSubnets": {"10.20.0.0/16": ["team-a"], "10.21.0.0/16": ["team-b"]},
        "sharedNodeNetworks": {"uplink": ["team-c"]},
    })
}

/// What is there and what is not are told apart by nobody outside: definitions of the API and the node,
/// valid and broken ones.
#[test]
fn another_tenants_network_looks_as_if_it_were_not_there() {
    let cluster = Cluster::new();
    cluster.publish("team-b", "real", json!({}), Some(json!({"type": "blue"})));
    cluster.publish(
        "team-b",
        "other",
        json!({"braid.io/allowed-namespaces": "team-c"}),
        Some(json!({"type": "blue"})),
    );
    cluster.publish("team-b", "broken", json!({}), Some(json!({"plugins": []})));
    cluster.publish("team-b", "uplink", json!({}), None);
    cluster.node.define("team-b", "manifest", json!({"type": "blue"}));
    cluster.node.write("braid.d/10-uplink.conf", r#"{"name": "uplink", "type": "blue"}"#);
    for policy in [Value::Null, policy()] {
        for name in ["real", "other", "broken", "uplink", "manifest", "absent"] {
            assert_eq!(
                cluster.refusal(policy.clone(), &format!("team-b/{name}")),
                format!(
                    "pod team-a/web: network \"team-b/{name}\" is not shared with namespace team-a: its owner can \
                     add braid.io/allowed-namespaces: team-a"
                )
            );
        }
    }
    assert_eq!(cluster.node.state("definitions"), Vec::<String>::new(), "no copy of it either");
}

#[test]
fn the_default_network_annotation_is_no_way_around() {
    let cluster = Cluster::new();
    cluster.publish("team-b", "real", json!({}), Some(json!({"type": "blue"})));
    cluster.publish("kube-system", "fast", json!({}), Some(json!({"type": "blue"})));
    let ask = |name: &str, more: Value| {
        let pod = cluster.node.pod("team-a", "web");
        let outcome = pod.add(cluster.config(more)).default_network(name).run();
        text(&outcome.json()["msg"]).to_owned()
    };
    assert!(ask("team-b/real", policy()).contains("is not shared with namespace team-a"));
    assert!(ask("fast", policy()).contains("can add it to policy.primaryOverride"));
    let mut given = policy();
    given["primaryOverride"] = json!([{"podNamespaces": ["team-a"], "definitions": ["kube-system/fast"]}]);
    assert_eq!(ask("fast", given), "");
    assert_eq!(cluster.node.calls_in_order(), ["ADD blue eth0"]);
}

/// A network of the node that is not shared and one that does not exist are one and the same, directly and
/// through an empty definition.
#[test]
fn an_empty_definition_opens_no_network_of_the_node() {
    let cluster = Cluster::new();
    cluster.node.write("braid.d/10-uplink.conf", r#"{"name": "uplink", "type": "blue"}"#);
    let said = |name: &str| cluster.refusal(policy(), name).replace(name, "NAME");
    let (direct, absent) = (said("uplink"), said("absent"));
    assert_eq!(direct, absent);
    assert!(direct.contains("policy.sharedNodeNetworks"), "{direct}");
    cluster.publish("team-a", "uplink", json!({}), None);
    cluster.publish("team-a", "absent", json!({}), None);
    assert_eq!((said("uplink"), said("absent")), (direct, absent));
    let pod = cluster.node.pod("team-c", "web");
    pod.add(cluster.config(policy())).networks("uplink").run().assert_success();
}

#[test]
fn a_tenants_definition_reaches_nothing_of_the_host() {
    let local = |more: Value| {
        let mut ipam = json!({"type": "host-local", "subnet": "10.20.1.0/24"});
        ipam.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!({"name": "team-a.x", "type": "bridge", "bridge": "br-a0", "ipam": ipam})
    };
    let plugin = |more: Value| {
        let mut plugin = json!({"name": "team-a.x"});
        plugin.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        plugin
    };
    let attacks = [
        (local(json!({"dataDir": "/etc/cron.d"})), "may not carry \"dataDir\""),
        (local(json!({"dataDir": "../../../etc"})), "may not carry \"dataDir\""),
        (local(json!({"DataDir": "/etc/cron.d"})), "may not carry \"DataDir\""),
        (local(json!({"resolvConf": "/etc/shadow"})), "may not carry \"resolvConf\""),
        (local(json!({"subnet": "10.96.0.0/12"})), "is in no subnet of namespace team-a"),
        (local(json!({"subnet": "10.21.1.0/24"})), "is in no subnet of namespace team-a"),
        (local(json!({"routes": [{"dst": "0.0.0.0/0"}]})), "is in no subnet of namespace team-a"),
        (plugin(json!({"type": "bridge"})), "must carry \"bridge\""),
        (
            plugin(json!({"type": "bridge", "bridge": "br-b0"})),
            "may not reach the host's interface \"br-b0\"",
        ),
        (plugin(json!({"type": "macvlan"})), "must carry \"master\""),
        (plugin(json!({"type": "ipvlan", "master": "eth0"})), "may not reach the host's interface \"eth0\""),
        (plugin(json!({"type": "host-device", "device": "eth0"})), "may not use plugin \"host-device\""),
        (plugin(json!({"type": "flannel", "delegate": {"type": "host-device"}})), "delegates to others"),
        (
            plugin(json!({"type": "ptp", "ipam": {"type": "dhcp", "daemonSocketPath": "/x"}})),
            "plugin \"dhcp\"",
        ),
        (plugin(json!({"type": "tuning", "sysctl": {"kernel.core_pattern": "|/x"}})), "net.ipv4.conf.IFNAME"),
        (
            plugin(json!({"type": "ptp", "runtimeConfig": {"ips": ["10.96.0.1/12"]}})),
            "may not carry \"runtimeConfig\"",
        ),
        (plugin(json!({"type": "ptp", "name": "blue"})), "\"name\": \"team-a.x\""),
        (plugin(json!({"type": "../../bin/sh"})), "must be a file name"),
    ];
    let cluster = Cluster::new();
    for (config, expected) in attacks {
        cluster.publish("team-a", "x", json!({"braid.io/allowed-requests": "*"}), Some(config.clone()));
        let refusal = cluster.refusal(policy(), "x");
        assert!(refusal.contains(expected), "{config}: {refusal}");
    }
}

#[test]
fn values_are_not_smuggled_in_cni_args() {
    let cluster = Cluster::new();
    let config = json!({"name": "team-b.lan", "type": "blue", "capabilities": {"ips": true, "mac": true}});
    let annotations = json!({
        "braid.io/allowed-namespaces": "team-a", "braid.io/allowed-requests": "ips, mac, cni-args",
        "braid.io/allowed-ips": "10.20.0.0/24, fd00:20::/64", "braid.io/allowed-macs": "02:00:5e",
    });
    cluster.publish("team-b", "lan", annotations, Some(config));
    let attacks = [
        (json!({"ips": ["10.96.0.1"]}), "takes no \"ips\" \"10.96.0.1\""),
        (json!({"cni-args": {"ips": ["10.20.0.9/24", "10.96.0.1/24"]}}), "takes no \"ips\" \"10.96.0.1/24\""),
        (json!({"cni-args": {"IPs": "10.96.0.1"}}), "takes no \"ips\" \"10.96.0.1\""),
        (json!({"cni-args": {"mac": "02:00:00:00:00:01"}}), "takes no \"mac\" \"02:00:00:00:00:01\""),
        (json!({"cni-args": {"infinibandGUID": "x"}}), "takes no \"infiniband-guid\""),
        (json!({"portMappings": [{"hostPort": 22, "containerPort": 22}]}), "takes no \"portMappings\""),
        (json!({"deviceID": "0000:00:00.1"}), "takes no \"deviceID\""),
    ];
    for (mut element, expected) in attacks {
        element["name"] = json!("lan");
        element["namespace"] = json!("team-b");
        for policy in [Value::Null, policy()] {
            let refusal = cluster.refusal(policy, &json!([element]).to_string());
            assert!(refusal.contains(expected), "{element}: {refusal}");
        }
    }
}

#[test]
fn service_accounts_are_learnt_from_the_api_or_refused() {
    let cluster = Cluster::new();
    let annotations = json!({"braid.io/allowed-namespaces": "team-a", "braid.io/allowed-service-accounts": "team-a/builder"});
    cluster.publish("team-b", "lan", annotations, Some(json!({"type": "blue"})));
    let start = |account: &str, uid: &str| {
        cluster.server.objects().put(json!({
            "kind": "Pod", "metadata": {"namespace": "team-a", "name": "web", "uid": UID},
            "spec": {"serviceAccountName": account},
        }));
        let pod = cluster.node.pod("team-a", "web");
        let args = format!("{};K8S_POD_UID={uid}", pod.args());
        let outcome =
            pod.add(cluster.config(Value::Null)).networks("team-b/lan").env("CNI_ARGS", &args).run();
        text(&outcome.json()["msg"]).to_owned()
    };
    assert_eq!(start("builder", UID), "");
    assert!(start("default", UID).contains("is not shared with service account team-a/default"));
    assert!(start("builder", "another").contains("the API has another pod of this name"));
}

#[test]
fn an_unclear_policy_refuses_networks_and_nothing_else() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let unclear = json!({"allowedSubnet": []});
    let refusal = cluster.refusal(unclear.clone(), "lan");
    assert!(refusal.contains("unknown key \"allowedSubnet\": did you mean \"allowedSubnets\"?"), "{refusal}");
    let plain = cluster.node.pod("team-a", "plain");
    plain.add(cluster.config(unclear)).run().assert_success();
    plain.del().run().assert_success();
}

#[test]
fn audit_mode_lets_pods_run_and_writes_down_what_it_would_refuse() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let pod = cluster.node.pod("team-a", "web");
    pod.add(cluster.config(json!({"mode": "audit"}))).networks("lan").run().assert_success();
    cluster.refusal_in_audit();
    let shown: Vec<(String, String)> = cluster
        .decisions()
        .iter()
        .map(|line| (text(&line["decision"]).to_owned(), text(&line["rules"][0]).to_owned()))
        .collect();
    let expected = [("audited", "definition"), ("refused", "namespace")];
    assert_eq!(shown, expected.map(|(decision, rule)| (decision.to_owned(), rule.to_owned())));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(cluster.node.path("audit.log")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

impl Cluster {
    /// Isolation holds in audit mode too.
    fn refusal_in_audit(&self) {
        let pod = self.node.pod("team-a", "spy");
        let call = pod.add(self.config(json!({"mode": "audit"}))).networks("team-b/lan");
        call.run().assert_error(7, ["is not shared with namespace team-a"]);
    }
}

/// Two tenants with definitions of their own in the API, on real bridges: each reaches itself alone.
#[test]
fn packets_of_one_tenant_never_reach_the_other() {
    let cluster = Cluster::new();
    for (tenant, bridge) in [("team-a", "br-a0"), ("team-b", "br-b0")] {
        let config = json!({
            "cniVersion": "1.0.0", "name": format!("{tenant}.lan"), "type": "bridge", "bridge": bridge,
            "ipam": {"type": "static"}, "capabilities": {"ips": true},
        });
        cluster.publish(tenant, "lan", json!({}), Some(config));
    }
    let start = |tenant: &'static str, name: &str, address: &str| {
        let pod = cluster.node.pod(tenant, name);
        let asked = json!([{"name": "lan", "ips": [format!("{address}/16")]}]);
        pod.add(cluster.config(policy())).networks_json(asked).run().assert_success();
        pod
    };
    let (web, db) = (start("team-a", "web", "10.20.0.2"), start("team-a", "db", "10.20.0.3"));
    let red = start("team-b", "web", "10.21.0.2");
    red.ip("route add 10.20.0.0/16 dev net1");
    assert!(reaches(web.netns(), "10.20.0.3", MARKER));
    assert!(cannot_reach(red.netns(), "10.20.0.3", MARKER));
    assert!(cannot_reach(web.netns(), "10.21.0.2", MARKER));
    let intruder = cluster.node.pod("team-b", "intruder");
    let asked = json!([{"name": "lan", "ips": ["10.20.0.3/16"]}]);
    let call = intruder.add(cluster.config(policy())).networks_json(asked);
    call.run().assert_error(7, ["cannot have address \"10.20.0.3/16\"", "policy.allowedSubnets"]);
    drop(db);
}
