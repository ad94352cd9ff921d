//! The commands that need root say so first.

use serde_json::json;

use crate::node::BRAID;
use crate::operator::explain::node;

/// A user who is not root is told that, and not the first obstacle on the way.
#[test]
fn another_user_is_told_to_be_root() {
    use std::os::unix::process::CommandExt;
    let node = node(json!({}));
    node.pod("team-a", "web").add(node.delegating()).run().assert_success();
    let tool = node.path("tool");
    std::fs::copy(BRAID, &tool).unwrap();
    let said = |arguments: &[&str]| {
        let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
        let mut command = std::process::Command::new(&tool);
        command.args(arguments).args(["--conf-dir", &conf_dir, "--bin-dir", &bin_dir]).env_clear();
        let output = command.uid(65534).gid(65534).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for command in [&["list"][..], &["show", "web"], &["gc", "--dry-run"], &["repair", "web"]] {
        let expected = format!(
            "braid: only root can read the records of a node: run braid {} as root\n",
            command[0]
        );
        assert_eq!(said(command), (1, expected));
    }
    for command in ["install", "uninstall"] {
        let (status, text) = said(&[command]);
        assert_eq!(status, 1, "{text}");
        assert!(
            text.ends_with(": permission denied; run it as root\n") && !text.contains(".new"),
            "{text}"
        );
    }
    let (_, text) = said(&["doctor"]);
    assert!(text.contains("warn  user          this is user 65534 and not root"), "{text}");
    let (status, text) = said(&["install", "--dry-run"]);
    assert_eq!(status, 0, "{text}");
}
