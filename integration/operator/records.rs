//! `list`, `show`, `gc`, `repair`: what a runtime has attached through the plugin, seen by a
//! person.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Said, Tool};
use crate::node::Node;
use crate::pod::Pod;

/// A node whose configuration is where a person's commands find it, with a primary and network
/// `blue`.
pub(crate) fn node() -> Node {
    let node = Node::new();
    let entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
        "primaryConfDir": node.path("net.d"), "binDir": node.path("bin"), "delegates": [primary()],
    });
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    node.recorder("primary");
    node.network("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    node
}

pub(crate) fn primary() -> Value {
    json!({"name": "cluster", "type": "primary", "link": true, "addresses": ["10.1.0.2/24"]})
}

pub(crate) fn braid(node: &Node, arguments: &[&str]) -> Said {
    let conf_dir = node.path_text("net.d");
    let arguments = [arguments, &["--conf-dir", &conf_dir]].concat();
    Tool::new(node, &arguments).run()
}

pub(crate) fn attached<'n>(node: &'n Node, name: &str, networks: &str) -> Pod<'n> {
    let pod = node.pod("team-a", name);
    pod.add(json!({"delegates": [primary()]})).networks(networks).run().assert_success();
    pod
}

#[test]
fn nothing_is_attached() {
    let node = node();
    assert_snapshot!(braid(&node, &["list"]).snapshot());
    assert_snapshot!(braid(&node, &["show", "team-a/web"]).snapshot());
    assert_snapshot!(braid(&node, &["gc"]).snapshot());
}

#[test]
fn a_node_without_braid_says_so() {
    let node = Node::new();
    assert_snapshot!(braid(&node, &["list"]).snapshot());
}

#[test]
fn what_is_attached_is_listed_and_shown() {
    let node = node();
    let _web = attached(&node, "web", "blue, blue@data0");
    let _plain = attached(&node, "plain", "");
    assert_snapshot!(braid(&node, &["list"]).snapshot());
    assert_snapshot!(braid(&node, &["show", "team-a/web"]).snapshot());
    let list = braid(&node, &["list", "-n", "team-a", "-o", "json"]).assert_status(0).json();
    assert_eq!(list["records"].as_array().unwrap().len(), 2);
    assert_eq!(list["records"][1]["attachments"][1]["addresses"], json!(["10.9.0.2/24"]));
    assert_eq!(list["records"][1]["kernel"], "agrees");
    let other = braid(&node, &["list", "-n", "team-b"]).assert_status(0);
    assert_eq!(other.stdout, "nothing is attached\n");
}

#[test]
fn drift_is_shown_and_mended() {
    let node = node();
    let web = attached(&node, "web", "blue, blue@data0");
    web.ip("link del net1");
    web.ip("addr flush dev data0");
    let list = braid(&node, &["list"]);
    assert_snapshot!(list.snapshot());
    let dry = braid(&node, &["repair", "--dry-run", "team-a/web"]);
    assert_snapshot!(dry.snapshot());
    node.forget_calls();
    assert_snapshot!(braid(&node, &["repair", "team-a/web"]).snapshot());
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    // The node has its addresses back, and the pod still lacks what it asked for.
    let check = web.check().with(json!({"delegates": [primary()]})).run();
    let error = check.assert_error(101, ["network \"team-a/blue\" on net1 is torn down"]);
    assert!(error["msg"].as_str().unwrap().contains("delete the pod"), "{error:?}");
    assert_snapshot!(braid(&node, &["list"]).snapshot());
    node.forget_calls();
    assert_snapshot!(braid(&node, &["repair", "team-a/web"]).snapshot());
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
    let shown = braid(&node, &["show", "team-a/web", "-o", "json"]).json();
    assert_eq!(shown["records"][0]["attachments"][1]["state"], "gone");
    node.forget_calls();
    web.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue data0", "DEL primary eth0"]);
}

/// Behind a chained Braid nothing but the one network may be in the record: it stays, and says so.
#[test]
fn a_pod_whose_only_extra_network_is_torn_down_stays_drifted() {
    let node = node();
    let entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"), "binDir": node.path("bin"),
    });
    let chain =
        json!({"cniVersion": "1.0.0", "name": "node", "plugins": [{"type": "primary"}, entry]});
    node.write("net.d/00-braid.conflist", &chain.to_string());
    let web = node.pod("team-a", "web");
    let result = json!({"cniVersion": "1.0.0", "interfaces": [], "ips": []});
    web.add(json!({})).prev_result(result.clone()).networks("blue").run().assert_success();
    web.ip("link del net1");
    let said = braid(&node, &["repair", "team-a/web"]).assert_status(1);
    let expected = "interface net1 is gone; delete the pod to have it attached anew\n";
    assert!(
        said.stdout.starts_with("torn down: ") && said.stdout.ends_with(expected),
        "{}",
        said.stdout
    );
    let check = web.check().with(json!({"prevResult": result})).run();
    check.assert_error(101, ["network \"team-a/blue\" on net1 is torn down"]);
    let listed = braid(&node, &["list", "-o", "json"]).assert_status(1).json();
    assert_eq!(listed["records"][0]["kernel"], "drifted");
    assert_eq!(listed["records"][0]["attachments"][0]["kernel"], "torn-down");
    // What CHECK does not look at, it does not miss.
    let primary_only = json!({"prevResult": result, "checkNetworks": "primary"});
    web.check().with(primary_only).run().assert_success();
    web.del().run().assert_success();
    assert_eq!(node.state("records"), Vec::<String>::new());
}

/// Drift is that of one interface, and its row alone is marked.
#[test]
fn a_changed_mtu_is_drift_of_its_interface_alone() {
    let node = node();
    let web = attached(&node, "web", "blue, blue@data0");
    web.ip("link set data0 mtu 1280");
    let said = braid(&node, &["list"]).assert_status(1);
    let word = |interface: &str| {
        let row = said.stdout.lines().find(|line| line.contains(&format!(" {interface} ")));
        row.unwrap_or_else(|| panic!("{}", said.stdout)).rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(["eth0", "net1", "data0"].map(word), ["agrees", "agrees", "drifted"]);
    let sentence = "interface data0 has MTU 1280, not 1500";
    assert!(said.stdout.ends_with(&format!(": {sentence}\n")), "{}", said.stdout);
    web.check().with(json!({"delegates": [primary()]})).run().assert_error(101, [sentence]);
    web.ip("link set data0 mtu 1500");
    braid(&node, &["list"]).assert_status(0);
}

#[test]
fn a_pod_is_suggested_for_a_word_that_means_none() {
    let node = node();
    let _pods = [
        attached(&node, "web", "blue"),
        attached(&node, "shop-7d4b9c6f5-x2x9z", "blue"),
        attached(&node, "shop-7d4b9c6f5-abcde", "blue"),
    ];
    for (command, word, meant) in [
        ("show", "web", "did you mean \"team-a/web\"?"),
        ("show", "team-b/web", "did you mean \"team-a/web\"?"),
        ("repair", "web", "did you mean \"team-a/web\"?"),
        ("show", "team-a/wbe", "did you mean \"team-a/web\"?"),
        (
            "show",
            "shop",
            "did you mean \"team-a/shop-7d4b9c6f5-abcde\" or \"team-a/shop-7d4b9c6f5-x2x9z\"?",
        ),
        ("show", "team-a/database", "braid list shows what there is"),
        ("show", "", "braid list shows what there is"),
        ("show", "team-a/", "braid list shows what there is"),
    ] {
        let said = braid(&node, &[command, word]).assert_status(1);
        assert!(said.stderr.ends_with(&format!("{meant}\n")), "{word}: {}", said.stderr);
    }
}

#[test]
fn a_sandbox_that_is_gone_is_collected() {
    let node = node();
    let web = attached(&node, "web", "blue");
    let live = attached(&node, "live", "blue");
    web.lose_netns();
    assert_snapshot!(braid(&node, &["gc", "--dry-run"]).snapshot());
    assert_eq!(node.state("records").len(), 2);
    node.forget_calls();
    assert_snapshot!(braid(&node, &["gc"]).snapshot());
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
    assert_eq!(node.state("records"), [format!("{}@eth0", live.container)]);
}

/// What a person looks at and cleans up was attached before the configuration was broken.
#[test]
fn list_and_gc_work_with_an_invalid_configuration() {
    let node = node();
    let web = attached(&node, "web", "blue");
    let file = node.path("net.d/00-braid.conflist");
    let valid = std::fs::read_to_string(&file).unwrap();
    let mut conflist: Value = serde_json::from_str(&valid).unwrap();
    conflist["plugins"][0]["statusPolicy"] = json!("sometimes");
    std::fs::write(&file, conflist.to_string()).unwrap();
    for command in [&["list"][..], &["show", "team-a/web"], &["repair", "team-a/web"]] {
        braid(&node, command).assert_status(0);
    }
    web.lose_netns();
    node.forget_calls();
    braid(&node, &["gc"]).assert_status(0);
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
    // Where the records are must be known.
    conflist["plugins"][0]["cniDir"] = json!("relative");
    std::fs::write(&file, conflist.to_string()).unwrap();
    let refused = braid(&node, &["gc"]);
    assert!(refused.stderr.contains("\"cniDir\""), "{}", refused.stderr);
}

/// A namespace that a process still lives in is not gone, wherever its path leads.
#[test]
fn a_sandbox_that_lives_elsewhere_is_left_alone() {
    let node = node();
    let web = attached(&node, "web", "blue");
    let mut sleeper = web.command("sleep").arg("60").spawn().unwrap();
    // `ip netns exec` has become the sleeper once it is in the namespace.
    let inside = || std::fs::read_link(format!("/proc/{}/ns/net", sleeper.id())).unwrap();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    while inside() == own {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    web.lose_netns();
    let said = braid(&node, &["gc", "--dry-run"]);
    let list = braid(&node, &["list"]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(said.stdout, "nothing is stale\n");
    assert!(list.stdout.contains("unknown"), "{}", list.stdout);
}

#[test]
fn what_del_gave_up_is_tried_again() {
    let node = node();
    let web = attached(&node, "web", "blue");
    node.script("blue", json!({"DEL net1": {"error": {"code": 17, "msg": "the switch is away"}}}));
    web.del().with(json!({"deleteGiveUp": 0})).run().assert_success();
    assert_snapshot!(braid(&node, &["list"]).snapshot());
    assert_snapshot!(braid(&node, &["repair", "team-a/web"]).snapshot());
    node.script("blue", json!({}));
    assert_snapshot!(braid(&node, &["repair", "team-a/web"]).snapshot());
    assert_eq!(node.state("orphans"), Vec::<String>::new());
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_left_where_it_is() {
    let node = node();
    let web = attached(&node, "web", "blue");
    let record = format!("state/records/{}@eth0", web.container);
    node.write(&record, "damage");
    assert_snapshot!(braid(&node, &["list"]).snapshot());
    assert_eq!(std::fs::read_to_string(node.path(&record)).unwrap(), "damage");
}

/// What the completions of a shell ask for, and what they make of it.
#[test]
fn a_shell_offers_the_pods_and_namespaces_that_have_records() {
    let node = node();
    let _web = attached(&node, "web", "blue");
    let _db = attached(&node, "db", "blue");
    assert_eq!(
        braid(&node, &["complete", "pods"]).assert_status(0).stdout,
        "team-a/db\nteam-a/web\n"
    );
    assert_eq!(braid(&node, &["complete", "namespaces"]).assert_status(0).stdout, "team-a\n");

    node.write("completions.bash", &Tool::new(&node, &["completions", "bash"]).run().raw);
    let offered = |words: &str| {
        let script = format!(
            "braid() {{ {} \"$@\" --conf-dir {}; }}\n. {}\nCOMP_WORDS=({words})\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))\n_braid_with_names braid \
             \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\nprintf '%s ' \
             \"${{COMPREPLY[@]}}\"",
            crate::node::BRAID,
            node.path_text("net.d"),
            node.path_text("completions.bash"),
        );
        let output = node.host().command("bash").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(offered("braid list -n ''"), "team-a ");
    assert_eq!(offered("braid show team-a/w"), "team-a/web ");
    assert_eq!(offered("braid repair ''"), "team-a/db team-a/web ");
    assert_eq!(offered("braid gc --forget team-a/d"), "team-a/db ");
    assert_eq!(offered("braid attach team-a/w"), "team-a/web ");
    assert_eq!(offered("braid detach ''"), "team-a/db team-a/web ");
    assert_eq!(offered("braid explain --pod team-a/d"), "team-a/db ");
    assert_eq!(offered("braid doct"), "doctor ");
    assert!(offered("braid show --out").contains("--output"));
}
