//! A node and a container, each a network namespace, and the calls that a runtime makes there.

use std::path::Path;
use std::process::Command;

use cni::deadline::Deadline;
use cni::error::Error;
use cni::netconf::PluginType;
use cni::plugin::{Call, Delegate};
use cni::request::Command as Verb;
use linux::netns::Netns;
use serde_json::{Value, json};

use crate::calls::{Variables, call_executable, call_ours, reference_directory};
pub(crate) use crate::calls::{Who, namespace, path_of};

use Who::{Ours, Reference};

impl Who {
    pub(crate) fn other(self) -> Self {
        if self == Ours { Reference } else { Ours }
    }
}

pub(crate) struct Node {
    pub(crate) host: Netns,
    pub(crate) container: Netns,
}

/// The marks of rules outlive a namespace, which no node's does.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(cookie) = self.host.cookie() {
            let marks = Path::new("/run/cni/rules").join(cookie.number().to_string());
            let _ = std::fs::remove_dir_all(marks);
        }
    }
}

/// What a call is about, beside its configuration.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) container: String,
    pub(crate) interface: String,
    /// The container's namespace; none as after a reboot.
    pub(crate) netns: Option<String>,
    pub(crate) path: String,
    /// The address of the message bus.
    pub(crate) bus: String,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self { host: namespace(), container: namespace() };
        node.on_host("ip link set lo up");
        node.in_container("ip link set lo up");
        node
    }

    /// Runs a line of shell on the host, and returns what it prints.
    pub(crate) fn on_host(&self, line: &str) -> String {
        shell(&self.host, line)
    }

    pub(crate) fn in_container(&self, line: &str) -> String {
        shell(&self.container, line)
    }

    pub(crate) fn about(&self, container: &str, interface: &str) -> About {
        About {
            container: container.to_owned(),
            interface: interface.to_owned(),
            netns: Some(path_of(&self.container)),
            path: "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            bus: "unix:path=/nowhere/bus".to_owned(),
        }
    }

    /// Carries a call out, and returns what it prints: null if it prints nothing.
    pub(crate) fn call(
        &self,
        who: Who,
        verb: Verb,
        config: &Value,
        about: &About,
    ) -> Result<Value, Error> {
        let kind = config["type"].as_str().unwrap();
        let environment = about.environment(verb);
        let work = || match who {
            Ours => {
                let mut executables = Executables(environment.clone());
                call_ours(plugins::find(kind).unwrap(), config, &environment, &mut executables)
            }
            Reference => call_executable(kind, &config.to_string(), &environment),
        };
        self.host.run(work).unwrap()
    }

    /// The same with the usual attachment, which must succeed.
    pub(crate) fn must(&self, who: Who, verb: Verb, config: &Value) -> Value {
        let about = self.about("container-1", "eth0");
        self.call(who, verb, config, &about)
            .unwrap_or_else(|error| panic!("{verb} by {who:?} of {config}: {error}"))
    }

    /// The rules of the host, without what differs by chance.
    pub(crate) fn rules(&self) -> String {
        // nft shows the tables of iptables, too, not always with all of their rules.
        let native = self.on_host(
            "nft list tables 2>/dev/null | \
             grep -Ev 'table ip6? (nat|filter|mangle|raw|security)$' | \
             while read -r table; do nft list $table; done",
        );
        let saved = ["iptables-save", "ip6tables-save"].map(|save| {
            let mut table = "";
            let shown = self.on_host(save);
            let mut lines = Vec::new();
            for line in shown.lines().filter(|line| is_rule(line)) {
                table = line.strip_prefix('*').unwrap_or(table);
                if !line.starts_with('*') {
                    lines.push(without_chance(&format!("{save} {table} {line}")));
                }
            }
            lines
        });
        let native = native.lines().map(without_chance);
        saved.into_iter().flatten().chain(native).collect::<Vec<_>>().join("\n")
    }

    /// The rules without tables and chains that stay for all attachments: what is left.
    pub(crate) fn leftovers(&self, words: &[&str]) -> Vec<String> {
        let rules = self.rules();
        let is_left = |line: &&str| words.iter().any(|word| line.contains(word));
        rules.lines().filter(is_left).map(str::to_owned).collect()
    }
}

impl About {
    fn environment(&self, verb: Verb) -> Variables {
        [
            ("CNI_COMMAND", verb.as_str().to_owned()),
            ("CNI_CONTAINERID", self.container.clone()),
            ("CNI_NETNS", self.netns.clone().unwrap_or_default()),
            ("CNI_IFNAME", self.interface.clone()),
            ("CNI_PATH", reference_directory()),
            ("PATH", self.path.clone()),
            ("DBUS_SYSTEM_BUS_ADDRESS", self.bus.clone()),
        ]
    }

    pub(crate) fn without_netns(&self) -> Self {
        Self { netns: None, ..self.clone() }
    }
}

/// Empty tables come and go by looking at them.
fn is_rule(line: &str) -> bool {
    let is_builtin = line.starts_with(':') && !line.contains(" - ");
    !is_builtin && !line.starts_with('#') && line != "COMMIT"
}

/// Names of veth links are random, and so are their addresses; counters count.
fn without_chance(line: &str) -> String {
    let mut words = Vec::new();
    let mut after_counter = "";
    for word in line.trim().split(' ') {
        let bare = word.trim_matches(['"', ';']);
        let is_veth = bare.len() == 12 && bare.starts_with("veth");
        let is_mac = bare.len() == 17 && bare.matches(':').count() == 5;
        let counts = matches!(after_counter, "packets" | "bytes");
        let is_policy_count = word.starts_with('[') && word.ends_with(']') && line.contains(" :");
        words.push(if is_veth {
            "VETH"
        } else if is_mac {
            "MAC"
        } else if counts || is_policy_count {
            "N"
        } else {
            word
        });
        after_counter = word;
    }
    words.join(" ")
}

pub(crate) fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

pub(crate) fn merged(base: Value, keys: &Value) -> Value {
    let mut base = base;
    base.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    base
}

/// GC's list of valid attachments.
pub(crate) fn with_valid(config: &Value, valid: &[(&str, &str)]) -> Value {
    let entry = |(id, name): &(&str, &str)| json!({"containerID": id, "ifname": name});
    let list: Vec<Value> = valid.iter().map(entry).collect();
    merged(config.clone(), &json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list}))
}

/// Delegates to the executables of the reference plugins, but for what they lack: GC and STATUS.
struct Executables(Variables);

impl Delegate for Executables {
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Verb,
        call: &Call,
        _: Deadline,
    ) -> Result<Option<Value>, Error> {
        if matches!(command, Verb::Gc | Verb::Status) {
            return Ok(None);
        }
        let mut environment = self.0.clone();
        environment[0].1 = command.as_str().to_owned();
        let input = Value::Object(call.object().clone()).to_string();
        call_executable(plugin.as_str(), &input, &environment).map(Some)
    }
}

fn shell(netns: &Netns, line: &str) -> String {
    let run = || Command::new("sh").args(["-c", line]).output().unwrap();
    let output = netns.run(run).unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails if the reference's rules are not ours, and shows the lines that only one has.
pub(crate) fn same(reference: &str, ours: &str, about: impl std::fmt::Display) {
    let only = |one: &str, other: &str| {
        let other: std::collections::HashSet<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).collect::<Vec<_>>().join("\n")
    };
    let (theirs_only, ours_only) = (only(reference, ours), only(ours, reference));
    assert!(
        reference == ours,
        "{about}: only the reference has\n{theirs_only}\nonly we have\n{ours_only}"
    );
}
