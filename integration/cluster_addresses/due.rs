//! What is due on a node is carried on by every call and every command there, in whichever directory
//! the journal is.

use std::process::{Command, Stdio};

use super::*;
use crate::call::start_tool;

/// A node with networks `lan`, whose journal is in a directory of its own, and `other`.
struct Site {
    cluster: Cluster,
    config: Value,
}

impl Site {
    fn new() -> Self {
        let cluster = Cluster::new();
        let own = cluster.node.path_text("own/addresses");
        fs::create_dir(cluster.node.path("own")).unwrap();
        let config = cluster.config(json!({"dataDir": own}));
        let mut other = cluster.network(json!({"range": "10.8.0.0/24"}));
        other["name"] = json!("other");
        cluster.server.define("team-a", "other", &other.to_string());
        let mut entry = config.clone();
        let directories = json!({
            "type": "braid", "confDir": cluster.node.path("braid.d"), "cniDir": cluster.node.path("state"),
            "primaryConfDir": cluster.node.path("net.d"), "binDir": cluster.node.path("bin"),
        });
        entry.as_object_mut().unwrap().extend(directories.as_object().cloned().unwrap());
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
        cluster.node.write("net.d/00-braid.conflist", &conflist.to_string());
        Self { cluster, config }
    }

    fn due(&self) -> usize {
        fs::read_dir(self.cluster.node.path("own/addresses/due")).map_or(0, Iterator::count)
    }

    /// A pod has come and gone while the API was away.
    fn owe(&self) {
        let pod = self.cluster.pod();
        let config = self.config.clone();
        known(pod.add(config), &pod).networks("lan").run().assert_success();
        self.cluster.server.weather(|_| Some(Fault::Close));
        pod.del().run().assert_success();
        self.cluster.server.forget_faults();
        assert_eq!((self.due(), self.cluster.containers().len()), (1, 1));
    }

    #[track_caller]
    fn must_owe_nothing(&self, what: &str) {
        assert_eq!((self.due(), self.cluster.containers().len()), (0, 0), "{what}");
    }

    fn tool(&self, arguments: &[&str]) {
        let (conf_dir, bin_dir) =
            (self.cluster.node.path_text("net.d"), self.cluster.node.path_text("bin"));
        let at = ["--conf-dir", &conf_dir, "--bin-dir", &bin_dir];
        let program = BRAID.as_ref();
        let said = start_tool(&self.cluster.node, program, &[arguments, &at].concat()).wait();
        assert!(said.status.success(), "{}{}", said.stdout, said.stderr);
    }
}

#[test]
fn another_networks_add_and_del_carry_it_on() {
    let site = Site::new();
    let pod = site.cluster.node.pod("team-a", "second");
    site.owe();
    known(pod.add(site.config.clone()), &pod).networks("other").run().assert_success();
    site.must_owe_nothing("ADD");
    site.owe();
    pod.del().run().assert_success();
    site.must_owe_nothing("DEL");
}

#[test]
fn the_commands_for_a_node_carry_it_on() {
    let site = Site::new();
    let pod = site.cluster.node.pod("team-a", "second");
    known(pod.add(site.config.clone()), &pod).networks("other").run().assert_success();
    site.owe();
    site.tool(&["gc", "--dry-run"]);
    site.tool(&["repair", "team-a/second", "--dry-run"]);
    assert_eq!(site.due(), 1, "a dry run changes nothing");
    site.tool(&["gc"]);
    site.must_owe_nothing("gc");
    site.owe();
    site.tool(&["repair", "team-a/second"]);
    site.must_owe_nothing("repair");
    site.owe();
    let mut request = site.config.clone();
    request["cni.dev/valid-attachments"] =
        json!([{"containerID": pod.container, "ifname": "eth0"}]);
    site.cluster
        .node
        .call("GC", request)
        .with(json!({"cniVersion": "1.1.0"}))
        .run()
        .assert_success();
    site.must_owe_nothing("GC");
    pod.del().run().assert_success();
}

#[test]
fn keep_carries_it_on() {
    let site = Site::new();
    site.owe();
    let node = &site.cluster.node;
    let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
    let mut keep = node
        .host()
        .command(BRAID)
        .args(["keep", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while site.due() > 0 && started.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Command::new("kill").arg(keep.id().to_string()).status().unwrap();
    assert!(keep.wait().unwrap().success());
    site.must_owe_nothing("keep");
}

/// A server that is gone for good holds no other network's pods up.
#[test]
fn what_is_due_elsewhere_costs_a_call_no_time() {
    let site = Site::new();
    site.owe();
    let gone = Cluster::new();
    let due = fs::read_dir(site.cluster.node.path("own/addresses/due")).unwrap().next().unwrap();
    let record = fs::read_to_string(due.unwrap().path()).unwrap();
    let here = site.cluster.server.name();
    for number in 0..20 {
        let record = record.replace(&here, &gone.server.name());
        let record = record.replace("\"container\":\"", &format!("\"container\":\"x{number}"));
        let name = format!("own/addresses/due/x{number}@net1@0000000000000000");
        site.cluster.node.write(&name, &record);
    }
    gone.server.be_mute(true);
    let before = gone.server.connections();
    let pod = site.cluster.node.pod("team-a", "second");
    known(pod.add(site.config.clone()), &pod).networks("other").run().assert_success();
    assert_eq!(gone.server.connections(), before, "it is not asked");
    assert_eq!(site.cluster.containers(), Vec::<String>::new());
    pod.del().run().assert_success();
}
