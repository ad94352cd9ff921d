//! Records that are damaged, cut, replaced or too large.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{ALL_DELETED, node, pod_with_both, valid_attachments};
use crate::node::Node;

/// Spoils the one record.
fn spoil(node: &Node, how: impl Fn(Vec<u8>) -> Vec<u8>) {
    let path = node.path("state/records").join(node.state("records").remove(0));
    let content = fs::read(&path).unwrap();
    fs::write(&path, how(content)).unwrap();
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_del_goes_on_without_it() {
    let spoilers: [fn(Vec<u8>) -> Vec<u8>; 5] = [
        |_| Vec::new(),
        |_| b"garbage\n".to_vec(),
        |content| content[..content.len() / 8].to_vec(),
        |content| [&content[..20], b"X", &content[21..]].concat(),
        |_| b"00000000 {}\n".to_vec(),
    ];
    for spoiler in spoilers {
        let node = node();
        let pod = pod_with_both(&node);
        spoil(&node, spoiler);
        let outcome = pod.del().run();
        outcome.assert_success();
        assert!(outcome.stderr.contains("was set aside"), "{}", outcome.stderr);
        assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 1));
    }
}

/// A name of the state directory's file system behind which something else is, until it is dropped.
struct Covered(PathBuf);

impl Covered {
    /// The kernel answers EIO to who reads the memory of a process at 0, as it does for a disk that
    /// is broken.
    fn by_a_broken_disk(path: PathBuf) -> Self {
        run(
            "mount",
            &["--bind", &format!("/proc/{}/mem", std::process::id()), path.to_str().unwrap()],
        );
        Self(path)
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    assert!(
        std::process::Command::new(program).args(arguments).status().unwrap().success(),
        "{program}"
    );
}

#[test]
fn a_record_in_whose_place_something_else_is_is_set_aside_and_del_goes_on_without_it() {
    let makers: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
    ];
    for make in makers {
        let node = node();
        let pod = pod_with_both(&node);
        let other = node.pod("team-a", "other");
        other.add(node.delegating()).networks("blue").run().assert_success();
        node.forget_calls();
        let record = node.path("state/records").join(format!("{}@eth0", pod.container));
        fs::remove_file(&record).unwrap();
        make(&record);
        let outcome = pod.del().run();
        outcome.assert_success();
        assert!(outcome.stderr.contains("was set aside"), "{}", outcome.stderr);
        assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (1, 1));
        // So does GC, which goes on with the others.
        make(&record);
        let gc = node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
        gc.assert_error(5, ["was set aside"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 2));
    }
}

#[test]
fn a_record_on_a_part_of_the_disk_that_is_broken_holds_nothing_up() {
    let node = node();
    let pod = pod_with_both(&node);
    let record = node.path("state/records").join(node.state("records").remove(0));
    let broken = Covered::by_a_broken_disk(record);
    let outcome = pod.del().run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("Input/output error"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("could not be set aside"), "{}", outcome.stderr);
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
    let gc = node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
    gc.assert_error(5, ["could not be set aside"]);
    // The record is there still: what can be read of it later is torn down then.
    drop(broken);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
}

/// 33 definitions of 1 MB made a record that no DEL could read.
#[test]
fn networks_that_are_too_large_for_a_record_are_refused_and_the_largest_that_are_not_are_torn_down()
{
    let node = node();
    for (name, bytes) in [("large", 1_000_000), ("small", 120_000)] {
        node.define(
            "team-a",
            name,
            json!({"type": "blue", "link": true, "filler": "x".repeat(bytes)}),
        );
    }
    let pod = node.pod("team-a", "web");
    let config = || {
        let mut config = node.delegating();
        config["maxNetworks"] = json!(33);
        config
    };
    let refused = pod.add(config()).networks(&vec!["large"; 33].join(",")).run();
    refused.assert_error(7, ["more than 4 MiB of configuration together", "\"team-a/large\""]);
    assert_eq!((node.calls_in_order().len(), node.state("records").len()), (0, 0));
    pod.add(config()).networks(&vec!["small"; 33].join(",")).run().assert_success();
    assert_eq!(pod.links().len(), 33);
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.state("records").len()), (vec![], 0));
}

#[test]
fn a_record_whose_last_lines_are_cut_is_enough_to_tear_down() {
    let node = node();
    let pod = pod_with_both(&node);
    spoil(&node, |content| {
        let first = content.iter().position(|byte| *byte == b'\n').unwrap();
        content[..first + 10].to_vec()
    });
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
}
