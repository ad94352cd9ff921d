//! State between versions: `fixtures` holds records as released versions have written them, byte
//! for byte. They are read by every verb and command of today's program, and today's records have
//! what an older program reads.
//!
//! A fixture is of a sandbox that is long gone. A test attaches a pod as the fixture's was, and
//! plants the old record in the place of today's, with the sandbox, the names and the addresses of
//! the pod that lives. [`previous`] has the executable of another version itself.

mod previous;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::call::Call;
use crate::node::{BRAID, Node, text};
use crate::pod::Pod;

/// The versions whose records are kept.
const VERSIONS: [&str; 1] = ["0.1"];

fn fixture(version: &str, mode: &str) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/compatibility/fixtures");
    fs::read_to_string(fixtures.join(version).join(mode)).unwrap()
}

/// The lines of a record without their checksums.
fn lines(record: &str) -> Vec<Value> {
    let json = |line: &str| serde_json::from_str(line.get(9..).unwrap()).unwrap();
    record.lines().map(json).collect()
}

/// Texts and numbers that differ although both have the same key, from old to new.
fn differences(old: &Value, new: &Value, found: &mut BTreeMap<String, String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old.iter().filter(|(key, _)| *key != "sum" && *key != "created") {
                new.get(key).into_iter().for_each(|new| differences(value, new, found));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            old.iter().zip(new).for_each(|(old, new)| differences(old, new, found));
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_))
            if old != new =>
        {
            found.insert(old.to_string(), new.to_string());
        }
        _ => {}
    }
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// The old record with what differs replaced, and its checksums made anew.
fn planted(old: &str, today: &str) -> String {
    let mut found = BTreeMap::new();
    for (old, new) in lines(old).iter().zip(lines(today)) {
        differences(old, &new, &mut found);
    }
    let mut text = String::new();
    for line in old.lines() {
        let mut json = line.get(9..).unwrap().to_owned();
        // The longest first: an address is a part of the same with its prefix.
        let mut pairs: Vec<_> = found.iter().collect();
        pairs.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        for (at, (old, _)) in pairs.iter().enumerate() {
            json = json.replace(old.as_str(), &format!("\u{1}{at}\u{1}"));
        }
        for (at, (_, new)) in pairs.iter().enumerate() {
            json = json.replace(&format!("\u{1}{at}\u{1}"), new);
        }
        if let Some(end) = json.find(",\"sum\":\"") {
            let sum = checksum(json.get(..end).unwrap());
            let from = end + ",\"sum\":\"".len();
            json.replace_range(from..from + 8, &sum);
        }
        text.push_str(&format!("{} {json}\n", checksum(&json)));
    }
    text
}

struct Scene {
    node: Node,
}

impl Scene {
    fn new() -> Self {
        let node = Node::new();
        let blue = Self::bridge(&node, "blue", "br-blue", "10.20.0.0/24");
        node.write("braid.d/blue.conf", &blue.to_string());
        Self { node }
    }

    fn bridge(node: &Node, name: &str, bridge: &str, subnet: &str) -> Value {
        let ipam = json!({"type": "host-local", "dataDir": node.path("ipam"), "subnet": subnet});
        json!({"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": bridge, "ipam": ipam})
    }

    fn config(&self) -> Value {
        let primary = Self::bridge(&self.node, "cluster", "cni0", "10.1.0.0/24");
        json!({"cniVersion": "1.0.0", "name": "node", "delegates": [primary]})
    }

    fn record(&self, pod: &Pod<'_>) -> PathBuf {
        self.node.path(&format!("state/records/{}@eth0", pod.container))
    }

    /// A pod whose record is that of an older version.
    fn attached<'n>(&'n self, version: &str, mode: &str) -> (Pod<'n>, Value) {
        let pod = self.node.pod("team-a", "web");
        let call = match mode {
            "chained" => pod.add_chained(json!({"cniVersion": "1.0.0", "name": "cluster"})),
            _ => pod.add(self.config()),
        };
        let result = call.networks("blue").run().assert_success();
        let today = fs::read_to_string(self.record(&pod)).unwrap();
        let old = planted(&fixture(version, mode), &today);
        assert_ne!(old, today, "{version} {mode}");
        fs::write(self.record(&pod), old).unwrap();
        (pod, result)
    }

    fn braid(&self, arguments: &[&str]) -> String {
        self.run(Path::new(BRAID), arguments)
    }

    /// A command of this program or of another version's.
    fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let mut command = self.node.host().command(program);
        self.node.write("etc/00-braid.conflist", &self.conflist().to_string());
        let file = self.node.path_text("etc/00-braid.conflist");
        command.args(arguments).args(["--config", &file]);
        command.env("CNI_PATH", self.node.plugin_path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    fn conflist(&self) -> Value {
        let mut entry = self.config();
        entry["type"] = json!("braid");
        entry["cniDir"] = json!(self.node.path("state"));
        entry["confDir"] = json!(self.node.path("braid.d"));
        entry["binDir"] = json!(crate::node::PLUGIN_DIR);
        json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]})
    }

    fn gc(&self, live: &[&Pod<'_>]) -> Call<'_> {
        let list = live.iter().map(|pod| json!({"containerID": pod.container, "ifname": "eth0"}));
        let list: Vec<Value> = list.collect();
        let more = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list});
        self.node.call("GC", self.config()).with(more)
    }

    fn assert_nothing_left(&self, pod: &Pod<'_>) {
        assert_eq!(pod.links().iter().filter(|link| link.starts_with("net")).count(), 0);
        assert!(!self.record(pod).exists());
        assert_eq!(self.node.reservations("blue"), Vec::<String>::new());
        assert_eq!(self.node.reservations("cluster"), Vec::<String>::new());
        assert_eq!(self.node.state("aside"), Vec::<String>::new(), "nothing was set aside");
    }
}

#[test]
fn every_verb_reads_the_records_of_older_versions() {
    for version in VERSIONS {
        let scene = Scene::new();
        let (pod, result) = scene.attached(version, "delegating");
        pod.check().prev_result(result.clone()).run().assert_success();
        scene.gc(&[&pod]).run().assert_success();
        assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"], "{version}: GC keeps what lives");
        pod.del().prev_result(result).run().assert_success();
        scene.assert_nothing_left(&pod);

        let (pod, _) = scene.attached(version, "delegating");
        scene.gc(&[]).run().assert_success();
        scene.assert_nothing_left(&pod);

        let (pod, result) = scene.attached(version, "chained");
        pod.del().prev_result(result).run().assert_success();
        scene.assert_nothing_left(&pod);
    }
}

#[test]
fn every_command_reads_the_records_of_older_versions() {
    for version in VERSIONS {
        let scene = Scene::new();
        let (pod, result) = scene.attached(version, "delegating");
        let list = scene.braid(&["list"]);
        assert!(list.contains("team-a/web") && list.contains("10.20.0.2/24"), "{list}");
        let shown: Value = serde_json::from_str(&scene.braid(&["list", "-o", "json"])).unwrap();
        assert_eq!(text(&shown["records"][0]["kernel"]), "agrees", "{shown}");
        assert!(scene.braid(&["show", "team-a/web"]).contains("team-a/blue"));
        scene.braid(&["repair", "team-a/web"]);
        scene.braid(&["gc"]);
        assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"], "its sandbox lives");
        pod.del().prev_result(result).run().assert_success();
        scene.assert_nothing_left(&pod);
    }
}

/// Every key that a released version has written, and so reads.
#[track_caller]
fn assert_has(old: &Value, new: &Value, at: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let new = new.get(key).unwrap_or_else(|| panic!("{at}.{key} is missing"));
                assert_has(value, new, &format!("{at}.{key}"));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{at}");
            old.iter().zip(new).for_each(|(old, new)| assert_has(old, new, at));
        }
        _ => {
            let kind = std::mem::discriminant::<Value>;
            assert_eq!(kind(old), kind(new), "{at} is {new}, and was {old}");
        }
    }
}

/// The way back: an older program tears down what today's has attached.
#[test]
fn the_records_of_today_have_what_older_versions_read() {
    for (version, mode) in VERSIONS.iter().flat_map(|it| [(it, "delegating"), (it, "chained")]) {
        let scene = Scene::new();
        let pod = scene.node.pod("team-a", "web");
        let call = match mode {
            "chained" => pod.add_chained(json!({"cniVersion": "1.0.0", "name": "cluster"})),
            _ => pod.add(scene.config()),
        };
        call.networks("blue").run().assert_success();
        let (old, today) =
            (fixture(version, mode), fs::read_to_string(scene.record(&pod)).unwrap());
        let (mut old, today) = (lines(&old), lines(&today));
        assert_eq!(old.len(), today.len(), "{version} {mode}");
        // The links of the pod are the test's, and not the format's.
        for complete in old.iter_mut().filter_map(|line| line.get_mut("complete")) {
            complete["links"] = json!([]);
        }
        for (old, new) in old.iter().zip(&today) {
            let mut new = new.clone();
            if let Some(complete) = new.get_mut("complete") {
                complete["links"] = json!([]);
            }
            assert_has(old, &new, &format!("{version} {mode}"));
        }
    }
}
