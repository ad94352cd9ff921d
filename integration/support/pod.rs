//! A pod on a node: its namespace as the kernel shows it, and the calls that a runtime makes for
//! it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::call::Call;
use crate::node::{Namespace, Node, succeed, text};

/// What the runtime remembers of an ADD, for the calls after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Braid's configuration, as it was sent.
    pub(crate) config: Value,
    /// What ADD printed.
    pub(crate) result: Option<Value>,
}

/// A pod.
pub(crate) struct Pod<'n> {
    pub(crate) node: &'n Node,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) memory: RefCell<Memory>,
    netns: Namespace,
}

impl<'n> Pod<'n> {
    pub(crate) fn new(node: &'n Node, namespace: &str, name: &str, container: String) -> Self {
        let netns = Namespace::new(name);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { node, namespace, name, container, memory: RefCell::default(), netns }
    }

    // Calls.

    /// ADD with this configuration of braid, on top of the node's; a success is remembered for
    /// [`Pod::check`] and [`Pod::del`].
    pub(crate) fn add(&self, config: Value) -> Call<'_> {
        Call::new(self.node, "ADD", config).of_pod(self)
    }

    /// ADD of a chained braid: the primary before it has given the pod eth0 with 10.1.0.2/24.
    pub(crate) fn add_chained(&self, config: Value) -> Call<'_> {
        self.add(config).prev_result(self.primary_result())
    }

    /// The result of that primary, in 1.0.0.
    pub(crate) fn primary_result(&self) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": self.netns_path()}],
            "ips": [{"address": "10.1.0.2/24", "interface": 0}],
            "dns": {},
        })
    }

    /// CHECK as the runtime sends it: the configuration of ADD, and its result.
    pub(crate) fn check(&self) -> Call<'_> {
        self.again("CHECK")
    }

    /// DEL as the runtime sends it when the sandbox stops: the configuration of ADD, and its
    /// result.
    pub(crate) fn del(&self) -> Call<'_> {
        self.again("DEL")
    }

    /// Any verb with the configuration of ADD, and its result if the version has it.
    pub(crate) fn again(&self, verb: &str) -> Call<'_> {
        let Memory { config, result } = self.memory.borrow().clone();
        assert!(!config.is_null(), "no ADD of {} was tried", self.name);
        let mut call = Call::again(self.node, verb, config).of_pod(self);
        let with_result = !matches!(call.version().as_str(), "0.1.0" | "0.2.0" | "0.3.0" | "0.3.1");
        if let Some(result) = result.filter(|_| with_result) {
            call = call.prev_result(result);
        }
        call
    }

    /// `CNI_ARGS` as containerd writes them.
    pub(crate) fn args(&self) -> String {
        format!(
            "K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=uid-{};IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}",
            self.container, self.name, self.namespace, self.name
        )
    }

    // What the kernel shows.

    /// The namespace.
    pub(crate) fn netns(&self) -> &Namespace {
        &self.netns
    }

    /// Its path, `CNI_NETNS`.
    pub(crate) fn netns_path(&self) -> String {
        self.netns.path()
    }

    /// The path leads to another namespace from now on, which the caller keeps; the pod's own is
    /// gone.
    pub(crate) fn replace_netns(&self) -> Namespace {
        // Made before the old one goes, or the kernel would give it the same inode.
        let other = Namespace::new("other");
        succeed("umount", &[&self.netns_path()]);
        succeed("mount", &["--bind", &other.path(), &self.netns_path()]);
        other
    }

    /// The namespace is gone, and its path with it.
    pub(crate) fn lose_netns(&self) {
        succeed("ip", &["netns", "del", self.netns.name()]);
    }

    /// Runs `ip` in the pod.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.netns.ip(arguments)
    }

    /// Interfaces without `lo`, sorted.
    pub(crate) fn links(&self) -> Vec<String> {
        let names: BTreeSet<String> = self
            .netns
            .ip_json("link show")
            .iter()
            .map(|link| text(&link["ifname"]).to_owned())
            .collect();
        names.into_iter().filter(|name| name != "lo").collect()
    }

    /// One interface, as `ip -j -d addr show` has it.
    pub(crate) fn link(&self, interface: &str) -> Value {
        self.netns.ip_json(&format!("-d addr show dev {interface}")).remove(0)
    }

    /// Its addresses with prefix lengths, link-local ones left out.
    pub(crate) fn addresses(&self, interface: &str) -> Vec<String> {
        let link = self.link(interface);
        let addresses = link["addr_info"].as_array().cloned().unwrap_or_default();
        let global = addresses.iter().filter(|address| address["scope"] != "link");
        global
            .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
            .collect()
    }

    /// Default routes of a family (4 or 6), "via <gateway> dev <interface>", in the order of the
    /// kernel.
    pub(crate) fn default_routes(&self, family: u8) -> Vec<String> {
        let routes = self.netns.ip_json(&format!("-{family} route show default"));
        let show =
            |route: &Value| format!("via {} dev {}", text(&route["gateway"]), text(&route["dev"]));
        routes.iter().map(show).collect()
    }

    /// Whether one of three packets to `address` is answered.
    pub(crate) fn pings(&self, address: &str) -> bool {
        self.command("ping")
            .args(["-c", "1", "-w", "3", "-i", "0.3", address])
            .output()
            .unwrap()
            .status
            .success()
    }

    /// A program to be run in the pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }
}
