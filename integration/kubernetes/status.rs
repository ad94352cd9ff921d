//! The network-status annotation (NPWG 1.3, section 5), as the API has it in the end.

use serde_json::{Value, json};

use super::Cluster;
use super::with_uid;

/// NPWG 1.3, section 5.3: every attachment has an entry, the primary's is the default.
#[test]
fn the_status_has_an_entry_for_every_attachment() {
    let cluster = Cluster::usual();
    let dns =
        json!({"nameservers": ["10.9.0.53"], "domain": "blue.example", "search": ["example.com"]});
    cluster.node.script("blue", json!({"ADD": {"add_to_result": {"dns": dns}}}));
    cluster.define("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    let uid = cluster.create_pod("web", json!({"mine": "stays"}));
    let pod = cluster.sandbox("web");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1"]}, {"name": "red"}]);
    cluster.add(&pod, &uid, json!({})).networks_json(asked).run().assert_success();
    let entry = |name: &str, interface: &str, is_default| {
        (name.to_owned(), interface.to_owned(), is_default)
    };
    assert_eq!(
        cluster.entries("web"),
        [
            entry("cluster", "eth0", true),
            entry(&cluster.label("blue"), "net1", false),
            entry(&cluster.label("red"), "net2", false),
        ]
    );
    let status = cluster.status("web");
    assert_eq!(
        (&status[0]["ips"], &status[2]["ips"]),
        (&json!(["10.1.0.2"]), &json!(["10.8.0.2", "fd08::2"]))
    );
    assert_eq!(status[1]["default-route"], json!(["10.9.0.1"]));
    assert_eq!(status[1]["gateway"], json!(["10.9.0.1"]));
    assert_eq!((&status[1]["dns"], status[2].get("dns")), (&dns, None));
    let link = pod.link("net1");
    assert_eq!((&status[1]["mac"], &status[1]["mtu"]), (&link["address"], &link["mtu"]));
    let object = cluster.server.get("Pod", "web").unwrap();
    assert_eq!(object["metadata"]["annotations"]["mine"], "stays");
    assert_eq!(object["metadata"]["uid"], uid);
}

/// NPWG 1.3, section 4.2: the same network twice is two attachments with an entry each.
#[test]
fn a_network_that_is_attached_twice_has_two_entries() {
    let cluster = Cluster::usual();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, json!({})).networks("blue,blue").run().assert_success();
    let shown: Vec<_> =
        cluster.entries("web").into_iter().map(|(name, interface, _)| (name, interface)).collect();
    let blue = |interface: &str| (cluster.label("blue"), interface.to_owned());
    assert_eq!(shown[1..], [blue("net1"), blue("net2")]);
}

/// NPWG 1.3, section 5.1.1, whose first sandbox interface has the attachment's entry; the others
/// have one each. A result without interfaces has an entry too.
#[test]
fn several_sandbox_interfaces_and_none() {
    let cluster = Cluster::usual();
    let pod = cluster.sandbox("web");
    let netns = pod.netns_path();
    let several = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "veth9"},
            {"name": "net1", "mac": "02:00:00:00:00:11", "sandbox": netns},
            {"name": "net1.7", "mac": "02:00:00:00:00:12", "sandbox": netns},
        ],
        "ips": [
            {"address": "10.9.0.1/24", "interface": 0},
            {"address": "10.9.0.2/24", "interface": 1},
            {"address": "10.9.7.2/24", "interface": 2},
        ],
    });
    cluster.node.script("blue", json!({"ADD": {"result": several}}));
    cluster.node.script("red", json!({"ADD": {"result": {"cniVersion": "1.0.0"}}}));
    let uid = cluster.create_pod("web", json!({}));
    cluster.add(&pod, &uid, json!({})).networks("blue,red").run().assert_success();
    let (blue, red) = (cluster.label("blue"), cluster.label("red"));
    let status = cluster.status("web");
    assert_eq!(
        status.as_array().unwrap()[1..],
        [
            json!({"name": blue, "interface": "net1", "ips": ["10.9.0.2"], "mac": "02:00:00:00:00:11", "default": false}),
            json!({"name": blue, "interface": "net1.7", "ips": ["10.9.7.2"], "mac": "02:00:00:00:00:12", "default": false}),
            json!({"name": red, "default": false}),
        ]
    );
}

/// NPWG 1.3, sections 5.1.1 and 5.3.3.1: of the layout before 0.3.0, the addresses are in the
/// result and the rest is what the kernel shows.
#[test]
fn a_result_of_the_oldest_versions_is_shown() {
    let cluster = Cluster::usual();
    for version in ["0.1.0", "0.2.0"] {
        let result = json!({
            "cniVersion": version, "ip4": {"ip": "10.9.0.2/24", "gateway": "10.9.0.1"}, "ip6": {"ip": "fd09::2/64"},
            "dns": {"nameservers": ["10.9.0.53"]},
        });
        cluster.node.script("blue", json!({"ADD": {"link": true, "result": result}}));
        cluster.define("blue", json!({"cniVersion": version}));
        let name = format!("web-{}", version.replace('.', "-"));
        let uid = cluster.create_pod(&name, json!({}));
        let pod = cluster.sandbox(&name);
        cluster.add(&pod, &uid, json!({})).networks("blue").run().assert_success();
        let link = pod.link("net1");
        let expected = json!({
            "name": cluster.label("blue"), "interface": "net1", "ips": ["10.9.0.2", "fd09::2"],
            "mac": link["address"], "mtu": link["mtu"], "default": false, "dns": {"nameservers": ["10.9.0.53"]},
        });
        assert_eq!(cluster.status(&name)[1], expected, "{version}");
    }
}

/// NPWG 1.3, section 5.3: keys without a period are the standard's. `mtu` and `gateway` are of the
/// clients.
#[test]
fn an_entry_has_no_keys_but_those_that_clients_know() {
    let cluster = Cluster::usual();
    let dns = json!({"nameservers": ["10.9.0.53"]});
    let more = json!({"dns": dns, "org.example/vlan": 7, "vlan": 7});
    cluster.node.script("blue", json!({"ADD": {"add_to_result": more}}));
    cluster.define("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1"]}]);
    cluster.add(&pod, &uid, json!({})).networks_json(asked).run().assert_success();
    let status = cluster.status("web");
    let keys: Vec<&str> = status[1].as_object().unwrap().keys().map(String::as_str).collect();
    let known =
        ["name", "interface", "ips", "mac", "mtu", "default", "dns", "gateway", "default-route"];
    assert_eq!(keys, known, "and device-info, if there is one");
}

/// NPWG 1.3, section 5.2: behind a primary that is not ours, its entry is there all the same.
#[test]
fn the_status_of_a_chained_braid_has_the_primary_too() {
    let cluster = Cluster::usual();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let call = pod.add_chained(json!({"kubeconfig": cluster.kubeconfig()})).networks("blue");
    with_uid(call, &pod.args(), &uid).run().assert_success();
    let entries = cluster.entries("web");
    assert_eq!((entries[0].1.as_str(), entries[0].2), ("eth0", true));
    assert_eq!((entries[1].0.clone(), entries[1].2), (cluster.label("blue"), false));
}

#[test]
fn the_status_policy_decides_who_gets_one() {
    let cluster = Cluster::usual();
    let uids = ["plain", "always", "never"].map(|name| (name, cluster.create_pod(name, json!({}))));
    let add = |(name, uid): &(&str, String), policy: &str, networks: &str| {
        let pod = cluster.sandbox(name);
        let call = cluster.add(&pod, uid, json!({"statusPolicy": policy}));
        if networks.is_empty() { call } else { call.networks(networks) }.run().assert_success();
        cluster.status(name)
    };
    assert_eq!(add(&uids[0], "attached", ""), Value::Null);
    assert_eq!(add(&uids[1], "always", "")[0]["name"], "cluster");
    assert_eq!(add(&uids[2], "never", "blue"), Value::Null);
}

#[test]
fn a_pod_that_has_gone_meanwhile_needs_no_status() {
    let cluster = Cluster::usual();
    let gone = cluster.sandbox("gone");
    gone.add(cluster.config(json!({}))).networks("blue").run().assert_success();
    cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let outcome = cluster.add(&pod, "another", json!({})).networks("blue").run();
    outcome.assert_success();
    assert!(
        outcome.stderr.contains("the pod has gone while it was attached"),
        "{}",
        outcome.stderr
    );
    assert_eq!(cluster.status("web"), Value::Null, "the namesake's status is not ours to write");
}

#[test]
fn a_static_pod_is_known_by_another_uid() {
    let cluster = Cluster::usual();
    cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let call = cluster.add(&pod, "5d41402abc4b2a76", json!({})).networks("blue");
    call.annotation("kubernetes.io/config.source", "file").run().assert_success();
    assert_eq!(cluster.entries("web")[1].0, cluster.label("blue"));
    // Its mirror may not be there yet.
    let early = cluster.sandbox("early");
    let call = cluster.add(&early, "7d793037a0760186", json!({})).networks("blue");
    call.annotation("kubernetes.io/config.source", "file").run().assert_success();
}

/// The reconciler of whereabouts takes back every address that it finds in no pod's status.
#[test]
fn whereabouts_without_a_status_is_a_warning() {
    let cluster = Cluster::usual();
    cluster.node.recorder("whereabouts");
    cluster.define("blue", json!({"ipam": {"type": "whereabouts"}, "addresses": ["10.9.0.2/24"]}));
    let warns = |policy: &str| {
        let pod = cluster.sandbox(policy);
        let outcome =
            pod.add(cluster.config(json!({"statusPolicy": policy}))).networks("blue").run();
        outcome.assert_success();
        outcome.stderr.contains("has its addresses from whereabouts")
    };
    assert!(warns("never") && !warns("attached"));
}
