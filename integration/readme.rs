//! README.md, the pages of `docs/` and `conf/` do what they say: every block of a page is executed
//! or parsed, every row of their tables is held against the program, and every file of `conf/` is
//! used.
//!
//! A block's comment, `<!-- test: <kind> <about> -->`, names the test that it belongs to; a block
//! without one, or of a kind that [`every_block_has_a_test`] does not know, fails.

mod addresses;
mod cluster;
mod conf;
mod examples;
mod fleet;
mod installation;
mod links;
pub(crate) mod machine;
mod messages;
mod multus;
pub(crate) mod page;
mod reference;
mod releases;
pub(crate) mod reliability;
mod scripts;
mod shown;

use serde_json::{Value, json};

use crate::readme::machine::{Machine, Sandbox};
use crate::readme::page::{BLOCKS, PAGES, block, blocks};

/// Each kind of block, and the language that it is written in.
const KINDS: [(&str, &str); 24] = [
    ("addresses", "sh"),
    ("address-definition", "yaml"),
    ("address-screen", "text"),
    ("cluster", "sh"),
    ("daemonset", "sh"),
    ("fleet", "sh"),
    // Run in crates/kubectl/tests/plugin.rs.
    ("kubectl", "sh"),
    ("admission", "sh"),
    ("schema", "sh"),
    ("release", "sh"),
    ("flow", "text"),
    ("scripts", "sh"),
    ("node", "sh"),
    ("output", "json"),
    ("file", "json"),
    ("entry", "json"),
    ("config", "json"),
    ("pod", "yaml"),
    ("definition", "yaml"),
    ("result", "json"),
    ("state", "text"),
    ("environment", "text"),
    ("event", "json"),
    ("screen", "text"),
];

/// The blocks that run on a machine, each in the test that is named.
const NODE_BLOCKS: [&str; 12] = [
    "package",
    "install",
    "delegating",
    "chained",
    "extras",
    "leaving",
    "left",
    "version",
    "definitions",
    "thick",
    "migrate",
    "before-multus",
];

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_block_has_a_test() {
    for block in BLOCKS.iter() {
        let known = KINDS.iter().find(|(kind, _)| *kind == block.kind);
        let (_, language) =
            known.unwrap_or_else(|| panic!("{}: no test of kind {}", block.place, block.kind));
        let language = if block.about == "screen" { "text" } else { language };
        assert_eq!(block.language, language, "{}", block.place);
        let runs = block.kind != "node" || NODE_BLOCKS.contains(&block.about);
        assert!(runs, "{}: no test runs the block {}", block.place, block.about);
    }
    let comments: usize = PAGES.iter().map(|page| page.text.matches("<!-- test: ").count()).sum();
    assert_eq!(comments, BLOCKS.len(), "comments and blocks of the pages");
}

/// A primary network with a file of its own, as one that Braid delegates to has.
pub(crate) fn primary(machine: &Machine) {
    let plugin = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
    });
    let conflist = json!({"cniVersion": "1.0.0", "name": "primary", "plugins": [plugin]});
    machine.node.write("net.d/10-primary.conflist", &conflist.to_string());
}

/// The pages' definitions, beside those of `conf/` that the installation has copied.
fn define(machine: &Machine) {
    for (at, block) in blocks("definition").iter().enumerate() {
        machine.node.write(&format!("braid.d/page-{at}.yaml"), &block.text);
    }
}

fn installed() -> Machine {
    let machine = Machine::new();
    machine.sh(&block("node", "install").text);
    define(&machine);
    machine
}

fn manifest(about: &str) -> Value {
    let documents = block("pod", about).yaml();
    assert_eq!(documents.len(), 1);
    documents[0].clone()
}

#[track_caller]
pub(crate) fn start<'m>(machine: &'m Machine, about: &str) -> Sandbox<'m> {
    machine
        .start_manifest(&manifest(about))
        .unwrap_or_else(|outcome| panic!("{about}: {}", outcome.stdout))
}

fn wait_until(ready: impl Fn() -> bool) {
    for _ in 0..500 {
        if ready() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing happened for 5 s");
}
