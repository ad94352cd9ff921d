//! A node with one container, each a network namespace of its own, and the calls that a runtime
//! makes there.

use std::process::Command as Process;
use std::thread;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{Call, Delegate};
use cni::request::Command;
use linux::netns::Netns;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

pub(crate) use super::calls::Who;
use super::calls::{
    Variables, call_executable, call_ours, namespace, path_of, reference_directory,
};

/// Whether the reference plugins are of 1.6 or newer: those know CNI 1.1.0.
pub(crate) fn reference_is_recent() -> bool {
    let executable = format!("{}/bridge", reference_directory());
    let output = Process::new(executable).env("CNI_COMMAND", "VERSION").output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("\"1.1.0\"]")
}

pub(crate) struct Node {
    pub(crate) host: Netns,
    pub(crate) container: Netns,
}

impl Node {
    /// A node whose default route leaves through `eth0`, a dual-stack veth.
    pub(crate) fn new() -> Self {
        let node = Self { host: namespace(), container: namespace() };
        node.on_host(
            "link set lo up; link add eth0 address 02:00:00:00:00:aa type veth peer name up0 \
             address 02:00:00:00:00:bb; link set up0 up; link set eth0 up; addr add 192.0.2.2/24 \
             dev eth0; route add default via 192.0.2.1",
        );
        node
    }

    /// Runs lines of `ip`, separated by semicolons, and returns what the last one printed.
    pub(crate) fn on_host(&self, lines: &str) -> String {
        ip(&self.host, lines)
    }

    pub(crate) fn in_container(&self, lines: &str) -> String {
        ip(&self.container, lines)
    }

    /// Whether the container has an interface `eth0`.
    pub(crate) fn has_interface(&self) -> bool {
        self.in_container("-j link").contains("\"eth0\"")
    }

    /// The links of the host but for lo, the uplink and its other end.
    pub(crate) fn host_links(&self) -> Vec<String> {
        let links: Vec<Value> = serde_json::from_str(&self.on_host("-j link")).unwrap();
        let names = links.iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
        names.filter(|name| !["lo", "eth0", "up0"].contains(&name.as_str())).collect()
    }

    pub(crate) fn netns_path(&self) -> String {
        path_of(&self.container)
    }

    fn environment(&self, command: Command, args: &str) -> Variables {
        [
            ("CNI_COMMAND", command.as_str().to_owned()),
            ("CNI_CONTAINERID", "container-1".to_owned()),
            ("CNI_NETNS", self.netns_path()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", args.to_owned()),
            ("CNI_PATH", reference_directory()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ]
    }

    /// Carries a call out, and returns what it prints: null if it prints nothing.
    pub(crate) fn call(&self, who: Who, command: Command, config: &Value) -> Result<Value, Error> {
        self.call_with(who, config, self.environment(command, ""))
    }

    pub(crate) fn call_with_args(
        &self,
        who: Who,
        command: Command,
        config: &Value,
        args: &str,
    ) -> Result<Value, Error> {
        self.call_with(who, config, self.environment(command, args))
    }

    /// As the runtime calls if the sandbox is gone.
    pub(crate) fn call_without_netns(
        &self,
        command: Command,
        config: &Value,
        path: &str,
    ) -> Result<Value, Error> {
        let mut environment = self.environment(command, "");
        environment[2].1 = path.to_owned();
        self.call_with(Who::Ours, config, environment)
    }

    fn call_with(&self, who: Who, config: &Value, environment: Variables) -> Result<Value, Error> {
        let kind = config["type"].as_str().unwrap();
        let work = || match who {
            Who::Ours => {
                let mut executables = Executables(environment.clone());
                call_ours(crate::find(kind).unwrap(), config, &environment, &mut executables)
            }
            Who::Reference => call_executable(kind, &config.to_string(), &environment),
        };
        self.host.run(work).unwrap()
    }
}

/// Delegates to the executables of the reference plugins, to `broken`, an IPAM plugin whose ADD
/// fails, and to `given`, one that answers with its `result`.
struct Executables(Variables);

impl Delegate for Executables {
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Command,
        call: &Call,
        _: Deadline,
    ) -> Result<Option<Value>, Error> {
        match (plugin.as_str(), command) {
            ("broken", Command::Add) => {
                return Err(Error::new(Code::TRY_AGAIN, "no address is left"));
            }
            ("given", Command::Add) => return Ok(Some(call.object()["ipam"]["result"].clone())),
            ("broken" | "given", _) => return Ok(None),
            _ => {}
        }
        let mut environment = self.0.clone();
        environment[0].1 = command.as_str().to_owned();
        let input = Value::Object(call.object().clone()).to_string();
        call_executable(plugin.as_str(), &input, &environment).map(Some)
    }
}

/// Runs `work` in the host's namespace with mounts of its own, in which `change` is made first.
pub(crate) fn with_mounts<T: Send>(
    host: &Netns,
    change: impl FnOnce() + Send,
    work: impl FnOnce() -> T + Send,
) -> T {
    use nix::mount::{MsFlags, mount};
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        host.run(change).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// Mounts a file system of this kind.
pub(crate) fn mount_new(kind: &str, path: &str) {
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some(kind), path, Some(kind), flags, None::<&str>).unwrap();
}

fn ip(netns: &Netns, lines: &str) -> String {
    netns.run(|| lines.split(';').fold(String::new(), |_, line| ip_line(line))).unwrap()
}

fn ip_line(line: &str) -> String {
    let words = line.split_whitespace();
    let output = Process::new("ip").args(words).output().expect("these tests need iproute2");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
