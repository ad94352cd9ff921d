//! A state directory that is read-only, full or open to others.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{ALL_DELETED, assert_only_plain_pods_start, node, pod_with_both, valid_attachments};
use crate::node::NOTHING;

#[test]
fn records_are_roots_alone() {
    use std::os::unix::fs::MetadataExt;
    let node = node();
    let _pod = pod_with_both(&node);
    let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
    let record = node.path("state/records").join(node.state("records").remove(0));
    assert_eq!(
        (mode(&node.path("state")), mode(&node.path("state/records")), mode(&record)),
        (0o700, 0o700, 0o600)
    );
}

#[test]
fn a_state_directory_that_others_can_write_is_not_used() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for linked in [true, false] {
        let node = node();
        if linked {
            fs::create_dir(node.path("elsewhere")).unwrap();
            symlink(node.path("elsewhere"), node.path("state")).unwrap();
        } else {
            fs::create_dir(node.path("state")).unwrap();
            fs::set_permissions(node.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating()).networks("blue").run().assert_error(5, ["state directory"]);
        assert_eq!(node.calls_in_order(), NOTHING);
        pod.add(node.delegating()).run().assert_success();
        assert_eq!(node.dump().iter().filter(|line| line.contains("file state")).count(), 0);
    }
}

#[test]
fn a_read_only_state_directory() {
    let node = node();
    node.mount("state", "mode=0700");
    let pod = pod_with_both(&node);
    node.remount("state", "ro");
    assert_only_plain_pods_start(&node);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!(pod.links(), NOTHING);
    // What could not be written then is made good by GC.
    node.remount("state", "rw");
    node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn a_full_state_directory() {
    let node = node();
    node.mount("state", "mode=0700,size=64k");
    let pod = pod_with_both(&node);
    let filled = fs::write(node.path("state/filler"), vec![0; 1 << 20]);
    assert!(filled.is_err(), "the disk takes more than it should");
    assert_only_plain_pods_start(&node);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn a_state_directory_without_inodes() {
    let node = node();
    node.mount("state", "mode=0700,nr_inodes=1");
    assert_only_plain_pods_start(&node);
}

#[test]
fn a_disk_that_fills_up_during_add_undoes_it() {
    let node = node();
    node.mount("state", "mode=0700,size=64k");
    let filler = node.path_text("state/filler");
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("head -c 1M /dev/zero > {filler} 2>/dev/null; true")}}),
    );
    let long = json!({"cniVersion": "1.0.0", "note": "x".repeat(8192)});
    node.script("red", json!({"ADD": {"link": true, "result": long}}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red").run().assert_error(5, ["cannot append to"]);
    assert_eq!(node.calls_in_order()[3..], ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}
