//! A node with one container, each a network namespace of its own, and the calls that a runtime
//! makes there.

use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{Call, Context, Delegate, NeverStop, answer};
use cni::request::{Command, Environment, Request};
use linux::netns::Netns;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// Where the reference plugins are.
pub(crate) fn reference_directory() -> String {
    std::env::var("CNI_REFERENCE_PLUGINS").unwrap_or_else(|_| "/usr/lib/cni".to_owned())
}

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

/// Who carries calls out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    Ours,
    Reference,
}

fn namespace() -> Netns {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("these tests make network namespaces: run them as root");
        Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap()
    };
    thread::spawn(make).join().unwrap()
}

impl Node {
    /// A node whose default route leaves through `eth0`, a dual-stack veth.
    pub(crate) fn new() -> Self {
        let node = Self { host: namespace(), container: namespace() };
        node.on_host(
            "link set lo up; link add eth0 address 02:00:00:00:00:aa type veth peer name up0 address 02:00:00:00:00:bb; \
             link set up0 up; link set eth0 up; addr add 192.0.2.2/24 dev eth0; route add default via 192.0.2.1",
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
        use std::os::fd::{AsFd, AsRawFd};
        format!("/proc/{}/fd/{}", std::process::id(), self.container.as_fd().as_raw_fd())
    }

    fn environment(&self, command: Command, args: &str) -> Vec<(&'static str, String)> {
        vec![
            ("CNI_COMMAND", command.as_str().to_owned()),
            ("CNI_CONTAINERID", "container-1".to_owned()),
            ("CNI_NETNS", self.netns_path()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", args.to_owned()),
            ("CNI_PATH", reference_directory()),
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

    fn call_with(
        &self,
        who: Who,
        config: &Value,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Value, Error> {
        let kind = config["type"].as_str().unwrap();
        let work = || match who {
            Who::Ours => call_ours(kind, config, &environment),
            Who::Reference => call_executable(kind, &config.to_string(), &environment),
        };
        self.host.run(work).unwrap()
    }
}

fn call_ours(
    kind: &str,
    config: &Value,
    environment: &[(&'static str, String)],
) -> Result<Value, Error> {
    let pairs: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let pairs: [(&str, &str); 6] = pairs.try_into().unwrap();
    let request = Request::read(Environment::from(pairs)).unwrap().unwrap();
    let mut executables = Executables(environment.to_vec());
    let deadline = Deadline::after(Duration::from_secs(60));
    let mut context = Context { delegate: &mut executables, deadline, stop: &NeverStop };
    answer(crate::find(kind).unwrap(), &request, config.to_string().as_bytes(), &mut context)
        .outcome
        .map(Option::unwrap_or_default)
}

/// Delegates to the executables of the reference plugins, to `broken`, an IPAM plugin whose ADD
/// fails, and to `given`, one that answers with its `result`.
struct Executables(Vec<(&'static str, String)>);

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

fn call_executable(
    kind: &str,
    input: &str,
    environment: &[(&'static str, String)],
) -> Result<Value, Error> {
    let executable = format!("{}/{kind}", reference_directory());
    let started = Process::new(&executable)
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("these tests need the reference plugin {executable}, of containernetworking-plugins: {error}")
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if output.status.success() {
        return Ok(printed);
    }
    let code = Code(printed["code"].as_u64().unwrap_or_default());
    Err(Error::new(code, printed["msg"].as_str().unwrap_or_default()))
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
