//! A network namespace of a test, and what the kernel shows in it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::{PREFIX, succeed, text};

/// A network namespace by name, gone when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(what: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}-{what}", std::process::id()) };
        succeed("ip", &["netns", "add", &namespace.name]);
        succeed("ip", &["-n", &namespace.name, "link", "set", "lo", "up"]);
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a program inside, as `ip netns exec` does: with a `/sys` of the namespace.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `ip` inside; it must succeed.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let words: Vec<&str> =
            ["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect();
        succeed("ip", &words)
    }

    /// What `ip -j` prints.
    pub(crate) fn ip_json(&self, arguments: &str) -> Vec<Value> {
        let text = self.ip(&format!("-j {arguments}"));
        if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
    }

    /// One line for each link, address, route and firewall rule, save for what the kernel does by
    /// itself.
    pub(crate) fn dump(&self, label: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for link in self.ip_json("-d addr show") {
            let (name, kind) = (text(&link["ifname"]), text(&link["linkinfo"]["info_kind"]));
            lines.push(format!("{label}: link {name} {kind} {}", text(&link["address"])));
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            for address in addresses.filter(|address| !is_link_local(text(&address["local"]))) {
                lines.push(format!(
                    "{label}: address {name} {}/{}",
                    text(&address["local"]),
                    address["prefixlen"]
                ));
            }
        }
        for family in ["-4", "-6"] {
            let routes = self.ip(&format!("{family} route show table all"));
            for route in routes.lines().filter(|route| !route.split(' ').any(is_link_local)) {
                let route = route.replace(" linkdown", "");
                lines.push(format!("{label}: route {family} {}", route.trim()));
            }
        }
        for tool in ["iptables-save", "ip6tables-save"] {
            lines
                .extend(self.rules(tool).into_iter().map(|rule| format!("{label}: {tool} {rule}")));
        }
        lines
    }

    fn rules(&self, tool: &str) -> Vec<String> {
        let output = self.command(tool).output().unwrap();
        let saved = String::from_utf8_lossy(&output.stdout).into_owned();
        let rules = saved.lines().filter(|line| line.starts_with("-A") || line.starts_with(":CNI"));
        rules.map(|rule| rule.split(" [").next().unwrap_or_default().to_owned()).collect()
    }
}

/// Addresses and networks that the kernel itself gives a link of IPv6, some time after its carrier
/// has come.
fn is_link_local(word: &str) -> bool {
    word.starts_with("fe80:") || word == "ff00::/8"
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
