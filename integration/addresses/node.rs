//! A node that has the plugin `whereabouts` of Braid, started as runtimes and other plugins start
//! it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::stand_in::Owner;
use crate::node::BRAID;

/// The plugin on one node, with the node's own state.
pub(crate) struct AddressNode {
    name: String,
    plugin: PathBuf,
    config: Value,
    directory: TempDir,
}

/// What came of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    /// It succeeded, with this result; null if the verb has none.
    Done(Value),
    /// It failed, with this error.
    Failed(Value),
    /// It was killed.
    Killed,
}

impl Call {
    /// The first address of a result.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        let Self::Done(result) = self else { return None };
        let address = result["ips"][0]["address"].as_str()?;
        address.split('/').next()?.parse().ok()
    }
}

impl AddressNode {
    /// On a node of this name, with these keys in `ipam`.
    pub(crate) fn new(name: &str, kubeconfig: &Path, more: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plugin = directory.path().join("whereabouts");
        symlink(BRAID, &plugin).unwrap();
        let mut ipam = json!({
            "type": "whereabouts", "kubernetes": {"kubeconfig": kubeconfig},
            "dataDir": directory.path().join("addresses"),
        });
        ipam.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "macvlan", "ipam": ipam});
        Self { name: name.to_owned(), plugin, config, directory }
    }

    /// One call, which is killed after `lifetime` if it has one.
    pub(crate) fn call(&self, verb: &str, owner: &Owner, lifetime: Option<Duration>) -> Call {
        let (namespace, pod) = owner.podref.split_once('/').unwrap();
        let arguments = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}");
        let mut command = self.command(verb);
        command
            .env("CNI_CONTAINERID", &owner.container)
            .env("CNI_IFNAME", &owner.ifname)
            .env("CNI_NETNS", "/proc/self/ns/net")
            .env("CNI_ARGS", arguments);
        run(command, &self.config, lifetime)
    }

    /// GC of a node on which nothing runs any more, until it has released all.
    pub(crate) fn collect(&self) {
        let mut config = self.config.clone();
        config["cni.dev/valid-attachments"] = json!([]);
        let outcome = run(self.command("GC"), &config, None);
        assert!(matches!(outcome, Call::Done(_)), "{}: {outcome:?}", self.name);
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.plugin);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", self.directory.path())
            .env("NODENAME", &self.name);
        command
    }
}

fn run(mut command: Command, config: &Value, lifetime: Option<Duration>) -> Call {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A call that is killed at once reads nothing.
    let _ = child.stdin.take().unwrap().write_all(config.to_string().as_bytes());
    if let Some(lifetime) = lifetime {
        std::thread::sleep(lifetime);
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        None => Call::Killed,
        Some(0) => Call::Done(serde_json::from_slice(&output.stdout).unwrap_or_default()),
        Some(_) => Call::Failed(serde_json::from_slice(&output.stdout).unwrap_or_default()),
    }
}
