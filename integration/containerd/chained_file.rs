//! `install --mode chained-file` on a containerd that appends such files, and what that containerd
//! notices: `scripts/containerd` gets it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::machine::{Machine, wait_for};
use super::{NOTHING, assert_nothing_left, configure, node};
use crate::call::ANNOTATIONS;
use crate::node::{BRAID, Node};
use crate::readme::page;

/// The time after which a change counts as not noticed; containerd takes some milliseconds.
const SILENCE: Duration = Duration::from_millis(700);
const FILE: &str = "cri.d/10-network.conflist";
const CHAINED: &str = "cri.d/cluster/braid.conf";

/// A node with a primary network of one bridge that the runtime reads itself.
fn chaining() -> Node {
    let node = node();
    configure(&node, "cluster", json!([node.bridge("cni0", "10.1.0.0/24")]));
    node
}

/// Braid as a person starts it on the machine; status and output.
fn braid(machine: &Machine<'_>, arguments: &[&str]) -> (i32, String) {
    let output = machine.inside(BRAID).args(arguments).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code().unwrap(), text)
}

fn install(machine: &Machine<'_>) -> (i32, String) {
    let node = machine.node;
    let settings = json!({"cniDir": node.path_text("state"), "confDir": node.path_text("braid.d")});
    node.write("settings.json", &settings.to_string());
    braid(
        machine,
        &["install", "--mode", "chained-file", "--settings", &node.path_text("settings.json")],
    )
}

/// What doctor says of one check: `ok`, `warn` or `fail`, with the message.
fn doctor(machine: &Machine<'_>, check: &str) -> Vec<(String, String)> {
    let (_, said) = braid(machine, &["doctor", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings =
        said["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings.map(|finding| (text(finding, "level"), text(finding, "message"))).collect()
}

#[track_caller]
fn assert_doctor(machine: &Machine<'_>, check: &str, level: &str) {
    let found = doctor(machine, check);
    assert!(matches!(found.as_slice(), [(found, _)] if found == level), "{check}: {found:?}");
}

fn entry() -> String {
    json!({"type": "braid", "capabilities": {ANNOTATIONS: true}}).to_string()
}

/// The page's table, change by change: what containerd has loaded after each tells whether it has
/// noticed.
#[test]
fn containerd_notices_what_the_page_says() {
    let node = chaining();
    let machine = Machine::start_newer(&node);
    machine.wait_for_network();
    assert_eq!(machine.loaded("cluster"), ["bridge"]);
    let path = |name: &str| node.path(name);
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a file of a chain comes, changes or goes", &|| {
            node.write(CHAINED, &entry());
        }),
        ("a file's time or mode changes", &|| {
            let file = fs::File::open(path(FILE)).unwrap();
            // As touch(1) does: setting one of the two alone counts as a write.
            let now = SystemTime::now();
            file.set_times(fs::FileTimes::new().set_accessed(now).set_modified(now)).unwrap();
            fs::set_permissions(path(FILE), Permissions::from_mode(0o600)).unwrap();
        }),
        ("a file is made and not written (a link)", &|| {
            fs::hard_link(path(FILE), path("cri.d/link")).unwrap();
        }),
        ("a file is written in its place", &|| {
            fs::write(path(FILE), fs::read(path(FILE)).unwrap()).unwrap();
        }),
        ("a file is renamed within it", &|| {
            fs::rename(path("cri.d/link"), path("cri.d/other")).unwrap();
        }),
        ("a file is removed", &|| fs::remove_file(path("cri.d/other")).unwrap()),
    ];
    let rows = page::table("What a runtime notices");
    assert_eq!(rows.len(), changes.len(), "every row is tried");
    for (change, make) in changes {
        let row = rows.iter().find(|row| row[0] == change);
        let says = row.unwrap_or_else(|| panic!("{change} is not on the page"))[1].as_str();
        // An event of the change before may be on its way: a write is two.
        std::thread::sleep(SILENCE / 2);
        // Each time a file of the chain has come, or has gone, unseen.
        let before = machine.loaded("cluster");
        if path(CHAINED).exists() && before.len() == 2 {
            fs::remove_dir_all(path("cri.d/cluster")).unwrap();
        } else if !path(CHAINED).exists() && before.len() == 1 && change != changes[0].0 {
            node.write(CHAINED, &entry());
        }
        make();
        let started = Instant::now();
        while machine.loaded("cluster") == before && started.elapsed() < SILENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let notices = machine.loaded("cluster") != before;
        assert_eq!(says, if notices { "yes" } else { "no" }, "{change}");
    }
}

/// The order of events: binary and definitions, the file of the chain, the primary's file over
/// itself; and no pod starts between install's end and the runtime's reading of it.
#[test]
fn a_chained_file_counts_from_the_next_pod_on() {
    let node = chaining();
    let before_install = node.dump();
    let machine = Machine::start_newer(&node);
    machine.wait_for_network();
    fs::set_permissions(node.path(FILE), Permissions::from_mode(0o640)).unwrap();
    let (primary, text) =
        (node.path(FILE).metadata().unwrap(), fs::read_to_string(node.path(FILE)).unwrap());

    let (status, said) = install(&machine);
    assert_eq!(status, 0, "{said}");
    let place =
        |name: &str| said.find(&node.path_text(name)).unwrap_or_else(|| panic!("{name}: {said}"));
    assert!(place(CHAINED) < place(FILE), "{said}");
    assert!(said.contains(&format!("renew {}", node.path_text(FILE))), "{said}");
    assert_eq!(machine.loaded("cluster"), ["bridge", "braid"], "install waits until it is read");
    let renewed = node.path(FILE).metadata().unwrap();
    assert_ne!(renewed.ino(), primary.ino());
    assert_eq!(
        (renewed.mode(), fs::read_to_string(node.path(FILE)).unwrap()),
        (primary.mode(), text)
    );
    assert_eq!(install(&machine).1, "nothing to change\n");
    assert_eq!(node.path(FILE).metadata().unwrap().ino(), renewed.ino(), "once is enough");
    assert_doctor(&machine, "loaded", "ok");
    assert_doctor(&machine, "order", "ok");

    let web = machine.run("web", Some("blue"));
    assert_eq!(machine.interfaces(&web), ["eth0 10.1.0.2", "net1 10.20.0.2"]);

    // The drain reaches the runtime too, and so does its end.
    let (status, said) = braid(&machine, &["uninstall"]);
    assert!(status == 3 && said.contains("team-a/web has extra networks"), "{said}");
    let refused = machine.try_run(machine.sandbox("late", Some("red"))).unwrap_err();
    assert!(refused.message().contains("leaving this node (drain)"), "{}", refused.message());
    assert_eq!(install(&machine).0, 0);
    let again = machine.run("again", Some("red"));
    assert_eq!(machine.interfaces(&again).len(), 2);

    machine.remove(&web);
    machine.remove(&again);
    let (status, said) = braid(&machine, &["uninstall"]);
    assert_eq!(status, 0, "{said}");
    wait_for("containerd without braid", || {
        (machine.loaded("cluster") == ["bridge"]).then_some(())
    });
    let plain = machine.run("plain", Some("blue"));
    assert_eq!(machine.interfaces(&plain).len(), 1);
    machine.remove(&plain);
    machine.list().iter().for_each(|id| machine.remove(id));
    assert!(!node.path("cri.d/cluster").exists() && !node.path("bin/braid").exists());
    assert_eq!(node.leftovers(&before_install), NOTHING);
}

/// A file of a chain that was put there without a word to the runtime: pods start without their
/// networks, and doctor says so, by the runtime's own dump and by the pods.
#[test]
fn doctor_sees_a_chained_file_that_was_not_read() {
    let node = chaining();
    let before = node.dump();
    let machine = Machine::start_newer(&node);
    machine.wait_for_network();
    let config = json!({
        "type": "braid", "confDir": node.path_text("braid.d"), "cniDir": node.path_text("state"),
        "capabilities": {ANNOTATIONS: true},
    });
    node.write(CHAINED, &config.to_string());
    assert_doctor(&machine, "loaded", "fail");
    assert_eq!(doctor(&machine, "pods"), []);
    // Whole seconds tell a pod of before from one of after.
    std::thread::sleep(Duration::from_millis(1100));
    let silent = machine.run("silent", Some("blue"));
    let plain = machine.run("plain", None);
    assert_eq!(machine.interfaces(&silent), ["eth0 10.1.0.2"], "nothing is said");
    let found = doctor(&machine, "pods");
    assert!(
        matches!(found.as_slice(), [(level, message)] if level == "fail"
        && message.starts_with("1 ") && message.ends_with("team-a/silent")),
        "{found:?}"
    );

    // What the advice says: nothing is written anew, and the runtime reads it.
    let (status, said) = braid(&machine, &["install"]);
    assert_eq!(
        (status, machine.loaded("cluster")),
        (0, vec!["bridge".to_owned(), "braid".to_owned()]),
        "{said}"
    );
    assert_doctor(&machine, "loaded", "ok");
    machine.remove(&silent);
    let web = machine.run("web", Some("blue"));
    assert_eq!(machine.interfaces(&web).len(), 2);
    assert_eq!(doctor(&machine, "pods"), []);
    machine.remove(&web);
    machine.remove(&plain);
    assert_nothing_left(&machine, &before);
    assert!(Path::new(&node.path(CHAINED)).exists());
}
