//! `schema`: what it prints is what its page says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::node::{BRAID, Node};
use crate::readme::page::block;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The commands of docs/schema.md, but for the last one: another validator does what it does.
#[test]
fn the_commands_of_the_page_write_schemas_that_hold_what_is_shipped() {
    let node = Node::new();
    let directory = node.path("");
    for line in block("schema", "use").text.lines().filter(|line| line.starts_with("braid ")) {
        let command = line.replacen("braid", BRAID, 1);
        let status = Command::new("sh").args(["-c", &command]).current_dir(&directory).status();
        assert!(status.unwrap().success(), "{line}");
    }
    let schema = read(&directory.join("network.json"));
    assert_eq!(schema, read(&directory.join("schemas/network.json")));
    assert_eq!(read(&directory.join("bridge.json")), read(&directory.join("schemas/bridge.json")));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for file in ["00-delegating.conflist", "10-chained.conflist", "00-shared-cluster.conflist"] {
        let mut config = read(&Path::new(REPOSITORY).join("conf").join(file));
        assert!(validator.is_valid(&config), "{file}");
        let plugins = config["plugins"].as_array_mut().unwrap();
        plugins.last_mut().unwrap()["maxNetworks"] = "many".into();
        assert!(!validator.is_valid(&config), "{file}");
    }
    let settings = read(&directory.join("schemas/settings.json"));
    let settings = jsonschema::draft202012::new(&settings).unwrap();
    assert!(settings.is_valid(&serde_json::json!({"policy": {"mode": "audit"}})));
}
