//! The kernel gives the inode of a namespace that is gone to the next one. The new sandbox is not
//! taken for the old one: what is left of that is torn down, and nothing is done in the new one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{
    add_with_a_look, assert_torn_down, attached, node, record_of, rewrite_plan, valid_attachments,
};
use crate::node::{Node, succeed};
use crate::pod::Pod;

/// A process in a namespace of its own, which nothing else holds.
struct Heir(Child);

impl Heir {
    fn new() -> Self {
        let child =
            Command::new("unshare").args(["--net", "sleep", "300"]).stdin(Stdio::null()).spawn();
        let heir = Self(child.expect("unshare is missing: install util-linux"));
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        while heir.inode() == own {
            std::thread::sleep(Duration::from_millis(1));
        }
        heir
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn inode(&self) -> u64 {
        fs::metadata(self.path()).unwrap().ino()
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pod whose sandbox went without DEL, and another sandbox that has its inode: the record says
/// so, because which inode the kernel gives next is not ours to choose.
fn with_an_heir(node: &Node) -> (Pod<'_>, Heir) {
    let (pod, heir) = (attached(node, "stale"), Heir::new());
    pod.lose_netns();
    rewrite_plan(node, &pod, |plan| plan["netns"]["id"]["inode"] = json!(heir.inode()));
    (pod, heir)
}

/// The same without a word of ours: several pods leave their inodes until the kernel gives one of
/// them again. Other tests' sandboxes may be faster.
fn with_a_born_heir(node: &Node) -> (Pod<'_>, Heir) {
    for round in 0..10 {
        let pods: Vec<Pod<'_>> =
            (0..4).map(|number| attached(node, &format!("{round}-{number}"))).collect();
        let inode = |pod: &Pod<'_>| fs::metadata(pod.netns_path()).unwrap().ino();
        let inodes: Vec<u64> = pods.iter().map(inode).collect();
        pods.iter().for_each(Pod::lose_netns);
        let mut others = Vec::new();
        for _ in 0..100 {
            let heir = Heir::new();
            if let Some(at) = inodes.iter().position(|inode| *inode == heir.inode()) {
                return (pods.into_iter().nth(at).unwrap(), heir);
            }
            others.push(heir);
            // The kernel cleans up behind a namespace a little later.
            std::thread::sleep(Duration::from_millis(10));
        }
        pods.iter().for_each(|pod| drop(pod.del().run()));
    }
    panic!("the kernel gives no inode again");
}

#[test]
fn the_kernel_gives_the_inode_of_a_sandbox_to_the_next_one() {
    let node = node();
    let (stale, _heir) = with_a_born_heir(&node);
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_torn_down(&node, &stale);
}

#[test]
fn what_a_sandbox_left_whose_inode_another_one_has_is_torn_down_by_the_next_add() {
    let node = node();
    let (stale, _heir) = with_an_heir(&node);
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_torn_down(&node, &stale);
}

#[test]
fn what_a_sandbox_left_whose_inode_another_one_has_is_torn_down_by_gc() {
    let node = node();
    let (stale, _heir) = with_an_heir(&node);
    node.forget_calls();
    let gc = node.call("GC", node.delegating()).with(json!({"name": "other"}));
    gc.with(valid_attachments(json!([]))).run().assert_success();
    assert_torn_down(&node, &stale);
}

/// Its path too: nothing but the cookie tells the two apart.
#[test]
fn nothing_is_done_in_a_sandbox_that_has_inode_and_path_of_another() {
    let node = node();
    let (stale, heir) = with_an_heir(&node);
    fs::write(stale.netns_path(), "").unwrap();
    succeed("mount", &["--bind", &heir.path(), &stale.netns_path()]);
    node.forget_calls();
    let gc = node.call("GC", node.delegating());
    gc.with(valid_attachments(json!([]))).run().assert_success();
    assert_torn_down(&node, &stale);
}

/// A runtime that says where a sandbox is by its process may be late.
#[test]
fn nothing_is_done_in_a_sandbox_whose_process_del_names_and_that_has_the_inode_of_another() {
    let node = node();
    let (stale, heir) = with_an_heir(&node);
    node.forget_calls();
    stale.del().env("CNI_NETNS", &heir.path()).run().assert_success();
    assert_torn_down(&node, &stale);
}

/// Records of an earlier Braid, or of a kernel before 5.14: the holder of the inode may be the pod.
#[test]
fn without_a_cookie_a_namespace_with_the_same_inode_may_be_the_pods() {
    let node = node();
    let (stale, _heir) = with_an_heir(&node);
    rewrite_plan(&node, &stale, |plan| {
        assert!(plan["netns"]["cookie"].is_u64(), "{plan}");
        plan["netns"].as_object_mut().unwrap().remove("cookie");
    });
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert!(node.state("records").contains(&record_of(&stale)));
    // DEL and GC go by it as ever.
    stale.del().run().assert_success();
    assert!(!node.state("records").contains(&record_of(&stale)));
}

/// An ADD for the same container, in a sandbox that has got the inode: the old one's networks are
/// gone with it.
#[test]
fn an_add_for_the_same_container_in_a_new_sandbox_with_the_old_inode_is_no_second_one() {
    let node = node();
    let (stale, heir) = with_an_heir(&node);
    node.forget_calls();
    let again = stale.add(node.delegating()).networks("blue").env("CNI_NETNS", &heir.path());
    again.run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["DEL blue net1", "DEL primary eth0", "ADD primary eth0", "ADD blue net1"]
    );
    let dels: Vec<_> = node.calls().into_iter().filter(|call| call.verb() == "DEL").collect();
    assert!(dels.iter().all(|call| call.variable("CNI_NETNS").is_empty()));
}

/// If the ID of the boot could not be read at ADD, a sandbox that lives is not taken for one of
/// another boot.
#[test]
fn a_record_without_the_id_of_its_boot_is_of_no_other_boot() {
    let node = node();
    let live = attached(&node, "live");
    rewrite_plan(&node, &live, |plan| plan["netns"]["boot"] = json!(""));
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert!(node.state("records").contains(&record_of(&live)));
    node.forget_calls();
    live.del().run().assert_success();
    let netns: Vec<_> = node.calls().iter().map(|call| call.variable("CNI_NETNS")).collect();
    assert_eq!(netns, [live.netns_path(), live.netns_path()]);
}
