//! The commands for people, from outside: arguments in, status, standard output and standard error
//! out.
//!
//! Each snapshot holds all three. What differs from run to run is written as a word: the node's
//! directory as `NODE`, containers and namespaces by their pod, ages as `AGE`, hardware addresses
//! as `MAC`. To write snapshots anew: `INSTA_UPDATE=always cargo nextest run --test integration
//! operator`.

mod addresses;
mod built_in_plugins;
pub(crate) mod doctor;
pub(crate) mod explain;
mod install;
mod migrate;
mod pages;
mod permissions;
pub(crate) mod records;
mod schema;
mod uninstall;
mod validate;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::apiserver::{ApiServer, User};
use crate::node::{BRAID, Node, container_suffix};

/// One start of braid by a person, on a node.
pub(crate) struct Tool<'n> {
    node: &'n Node,
    command: Command,
    input: Option<String>,
}

/// A kubeconfig with the rights of Multus's account: it may read definitions, and get and update
/// pods/status, which is no right to patch it.
pub(crate) fn kubeconfig_of_multus(server: &ApiServer) -> PathBuf {
    server.objects().rbac.add(json!({
        "kind": "ClusterRole", "metadata": {"name": "multus"},
        "rules": [
            {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["network-attachment-definitions"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "update"]},
        ],
    }));
    server.objects().rbac.add(json!({
        "kind": "ClusterRoleBinding", "metadata": {"name": "multus"}, "roleRef": {"kind": "ClusterRole", "name": "multus"},
        "subjects": [{"kind": "ServiceAccount", "name": "multus", "namespace": "kube-system"}],
    }));
    let multus = User::service_account("kube-system", "multus");
    server.kubeconfig(json!({"token": server.token(&multus, 3600)}))
}

/// What came of it.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Standard output as it was.
    pub(crate) raw: String,
}

impl<'n> Tool<'n> {
    /// Braid with these arguments, as it stands in the node's own network namespace.
    pub(crate) fn new(node: &'n Node, arguments: &[&str]) -> Self {
        let mut command = node.host().command(BRAID);
        command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
        Self { node, command, input: None }
    }

    /// What standard input has.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    pub(crate) fn run(mut self) -> Said {
        let output = match &self.input {
            None => self.command.stdin(std::process::Stdio::null()).output().unwrap(),
            Some(text) => feed(&mut self.command, text),
        };
        let text = |bytes: Vec<u8>| plain(self.node, &String::from_utf8(bytes).unwrap());
        Said {
            status: output.status.code().expect("braid was killed"),
            raw: String::from_utf8_lossy(&output.stdout).into_owned(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

fn feed(command: &mut Command, text: &str) -> Output {
    use std::io::Write;
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

impl Said {
    /// All three, as a snapshot has them.
    pub(crate) fn snapshot(&self) -> String {
        let part = |name: &str, text: &str| {
            if text.is_empty() { String::new() } else { format!("--- {name}\n{text}") }
        };
        format!(
            "status {}\n{}{}",
            self.status,
            part("stdout", &self.stdout),
            part("stderr", &self.stderr)
        )
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.raw)
            .unwrap_or_else(|error| panic!("{error}: {}", self.snapshot()))
    }

    #[track_caller]
    pub(crate) fn assert_status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}", self.snapshot());
        self
    }
}

/// The output with a word in place of each thing that differs from run to run.
fn plain(node: &Node, text: &str) -> String {
    let text = text
        .replace(&node.path_text(""), "NODE/")
        .replace(node.path_text("").trim_end_matches('/'), "NODE");
    let text =
        numbered(&text, "/run/netns/braidtest-", "/run/netns/").replace(&container_suffix(), "");
    let lines: Vec<String> =
        text.lines().map(|line| split_keeping(line).into_iter().map(word).collect()).collect();
    lines.join("\n") + if text.ends_with('\n') { "\n" } else { "" }
}

/// Test namespaces have the process's number in their names.
fn numbered(text: &str, start: &str, instead: &str) -> String {
    let mut parts = text.split(start);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // <process>-<number>-<what>
        let what = part.splitn(3, '-').nth(2).unwrap_or(part);
        plain.push_str(instead);
        plain.push_str(what);
    }
    plain
}

/// The words and the spaces and punctuation between them.
fn split_keeping(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == ':' || c == '-';
        let end = rest.find(|c| inside(c) != inside(first)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

fn word(text: &str) -> String {
    let is_mac = text.len() == 17 && text.split(':').count() == 6;
    let is_age = text.len() < 5
        && text.strip_suffix('s').is_some_and(|number| number.parse::<u32>().is_ok());
    let is_date = text.len() == 10 && text.starts_with("20") && text.matches('-').count() == 2;
    let is_time = text.len() == 8 && text.matches(':').count() == 2;
    let is_epoch = text.len() == 10 && text.parse::<u64>().is_ok();
    // As wide as what it stands for, if tables count on it.
    if is_mac {
        "MAC-MAC-MAC-MAC-M".to_owned()
    } else if is_age {
        format!("{:>width$}", "A", width = text.len())
    } else if is_date || is_time || is_epoch {
        "TIME".to_owned()
    } else {
        text.to_owned()
    }
}
