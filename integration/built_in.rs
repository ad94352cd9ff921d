//! Built-in plugins: the executable under the name of one, and called in Braid's process.

mod as_plugin;
mod in_process;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::Value;

use crate::node::{BRAID, Node};

impl Node {
    /// A node whose plugins are all built in: braid's file is found before Debian's plugins.
    pub(crate) fn of_built_ins() -> Self {
        let node = Self::new();
        plugins::names().for_each(|kind| node.built_ins([kind]));
        node
    }

    /// Makes braid answer to plugin types, as a link to its file.
    pub(crate) fn built_ins<const N: usize>(&self, kinds: [&str; N]) {
        for kind in kinds {
            symlink(BRAID, self.path("bin").join(kind)).unwrap();
        }
    }
}

/// A program that runs braid and writes down what is executed: see [`executed`].
fn watcher(node: &Node) -> PathBuf {
    let trace = node.path_text("executed");
    let script = format!("#!/bin/sh\nexec strace -f -qq -o {trace} -e trace=execve {BRAID}\n");
    node.write("watcher", &script);
    fs::set_permissions(node.path("watcher"), fs::Permissions::from_mode(0o755)).unwrap();
    node.path("watcher")
}

/// The file names of what was executed since the last time, without braid itself.
fn executed(node: &Node) -> Vec<String> {
    let trace = fs::read_to_string(node.path("executed")).expect("strace is missing: install it");
    fs::remove_file(node.path("executed")).unwrap();
    // The end of a call may be on another line.
    let calls = trace.lines().filter(|line| !line.contains("= -1 "));
    let files = calls.filter_map(|line| line.split_once("execve(\"")?.1.split('"').next());
    files.skip(1).filter_map(|file| Some(file.rsplit('/').next()?.to_owned())).collect()
}

/// A result without what two runs cannot have in common: MACs, sandboxes, and the names of the
/// host's ends; and without the empty `dns` of the reference plugins.
fn comparable(mut result: Value) -> Value {
    if result["dns"] == serde_json::json!({}) {
        result.as_object_mut().unwrap().remove("dns");
    }
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        let interface = interface.as_object_mut().unwrap();
        for key in ["mac", "sandbox"] {
            if let Some(value) = interface.get_mut(key) {
                *value = Value::Null;
            }
        }
        if let Some(name) = interface.get_mut("name")
            && name.as_str().is_some_and(|name| name.starts_with("veth"))
        {
            *name = "veth".into();
        }
    }
    result
}
