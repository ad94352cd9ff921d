//! A node that has the plugin `whereabouts` of Braid, started as runtimes and other plugins start
//! it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::stand_in::Owner;
use crate::crash::injection::{Point, Scope, killing, names_in, observing};

/// The plugin on one node, with the node's own state.
pub(crate) struct AddressNode {
    name: String,
    plugin: PathBuf,
    config: Value,
    directory: TempDir,
}

/// When a call is killed.
#[derive(Clone, Debug)]
pub(crate) enum Kill {
    Never,
    After(Duration),
    /// In place of a system call.
    At(Point),
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
    /// On a node of this name, with these keys in `ipam`; `program` is Braid's executable.
    pub(crate) fn new(name: &str, program: &Path, kubeconfig: &Path, more: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plugin = directory.path().join("whereabouts");
        symlink(program, &plugin).unwrap();
        let mut ipam = json!({
            "type": "whereabouts", "kubernetes": {"kubeconfig": kubeconfig},
            "dataDir": directory.path().join("addresses"),
        });
        ipam.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "macvlan", "ipam": ipam});
        Self { name: name.to_owned(), plugin, config, directory }
    }

    /// One call, which may be killed.
    pub(crate) fn call(&self, verb: &str, owner: &Owner, kill: &Kill) -> Call {
        let lifetime = if let Kill::After(lifetime) = kill { Some(*lifetime) } else { None };
        let options = if let Kill::At(point) = kill { killing(point) } else { String::new() };
        run(self.call_under(&options, verb, owner), &self.config, lifetime)
    }

    /// The points of a call that succeeds: each of its system calls that change something.
    pub(crate) fn points(&self, verb: &str, owner: &Owner) -> Vec<Point> {
        let trace = self.directory.path().join("trace");
        let mut points = Vec::new();
        for scope in Scope::ALL {
            let options = observing(scope, trace.to_str().unwrap());
            let outcome = run(self.call_under(&options, verb, owner), &self.config, None);
            assert!(matches!(outcome, Call::Done(_)), "{verb}: {outcome:?}");
            let mut counts = BTreeMap::<String, usize>::new();
            for call in names_in(&trace) {
                let number = counts.entry(call.clone()).or_default();
                *number += 1;
                points.push(Point { scope, call, number: *number });
            }
            // The other verb, so that the next one does the same work.
            let other = if verb == "ADD" { "DEL" } else { "ADD" };
            self.call(other, owner, &Kill::Never);
        }
        points
    }

    /// The command of a call, with these options below strace, without any by itself.
    fn call_under(&self, options: &str, verb: &str, owner: &Owner) -> Command {
        let (namespace, pod) = owner.podref.split_once('/').unwrap();
        let arguments = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}");
        let mut command = if options.is_empty() {
            Command::new(&self.plugin)
        } else {
            let mut strace = Command::new("strace");
            strace.arg("-qq").args(options.split_whitespace()).arg(&self.plugin);
            strace
        };
        self.provide(&mut command, verb)
            .env("CNI_CONTAINERID", &owner.container)
            .env("CNI_IFNAME", &owner.ifname)
            .env("CNI_NETNS", "/proc/self/ns/net")
            .env("CNI_ARGS", arguments);
        command
    }

    /// GC of a node on which nothing runs any more, until it has released all.
    pub(crate) fn collect(&self) {
        let mut config = self.config.clone();
        config["cni.dev/valid-attachments"] = json!([]);
        let mut command = Command::new(&self.plugin);
        self.provide(&mut command, "GC");
        let outcome = run(command, &config, None);
        assert!(matches!(outcome, Call::Done(_)), "{}: {outcome:?}", self.name);
    }

    fn provide<'c>(&self, command: &'c mut Command, verb: &str) -> &'c mut Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", self.directory.path())
            .env("NODENAME", &self.name)
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
