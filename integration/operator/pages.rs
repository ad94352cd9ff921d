//! Help, version, completions, man pages, and the page that is generated from the commands.

use insta::assert_snapshot;

use super::Tool;
use crate::node::Node;

fn run(arguments: &[&str]) -> super::Said {
    Tool::new(&Node::new(), arguments).run()
}

/// A person who starts it with nothing gets help; a pipe that never ends is not read.
#[test]
fn alone_it_shows_help_and_reads_nothing() {
    let node = Node::new();
    let mut command = node.host().command(crate::node::BRAID);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let _open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("Usage: braid") && text.contains("Examples:"),
        "{text}"
    );
    assert_eq!(text, run(&["--help"]).assert_status(0).stdout);
}

#[test]
fn version() {
    assert_snapshot!(run(&["version"]).snapshot());
    let said = run(&["version", "--output", "json"]);
    assert_eq!(said.json()["cniVersions"][6], "1.1.0");
}

#[test]
fn a_command_line_that_is_not_valid_is_a_status_of_its_own() {
    assert_snapshot!(run(&["lst"]).snapshot());
}

#[test]
fn every_shell_has_completions() {
    for (shell, start) in
        [("bash", "_braid()"), ("zsh", "#compdef braid"), ("fish", "# Print an optspec")]
    {
        let said = run(&["completions", shell]).assert_status(0);
        assert!(said.stdout.starts_with(start), "{shell}: {}", said.stdout);
        assert!(said.stdout.contains("show"), "{shell}");
        // A pod is offered wherever one is named: show, repair, gc, attach, detach and explain.
        let pods = said.stdout.matches(match shell {
            "zsh" => ":_braid_pod",
            _ => "complete $names",
        });
        let expected = match shell {
            "bash" => 1,
            "zsh" => 6,
            _ => 0,
        };
        assert_eq!(pods.count(), expected, "{shell}: {}", said.stdout);
        if shell == "fish" {
            assert_eq!(said.stdout.matches("(braid complete pods ").count(), 6);
        }
    }
}

#[test]
fn every_command_has_a_man_page() {
    let node = Node::new();
    let said = Tool::new(&node, &["man", &node.path_text("man")]).run().assert_status(0);
    assert_snapshot!(said.snapshot());
    for page in said.stdout.lines() {
        let page = page.replace("NODE/", &node.path_text(""));
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH OPTIONS"), "{page}: {text}");
        assert!(text.contains(".SH \"EXIT STATUS\"\n.TP\n0\n"), "{page}: {text}");
        assert!(text.contains(".SH EXAMPLES"), "{page}: {text}");
    }
}

/// `braid man >docs/cli.md` brings it up to date.
#[test]
fn the_reference_is_current() {
    let shown =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md")).unwrap();
    assert!(
        braid::internals::operator::markdown() == shown,
        "docs/cli.md is not current: braid man >docs/cli.md"
    );
    assert_eq!(run(&["man"]).stdout, shown);
}

/// The statuses that the page documents are those that the program ends with.
#[test]
fn colours_are_for_terminals() {
    assert!(!run(&["--help"]).stdout.contains('\u{1b}'));
}
