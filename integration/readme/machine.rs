//! A machine for the page's commands: `/etc`, `/opt` and the state below `/var` are its own, so
//! that every command runs as it is written and none of them touches the machine that runs the
//! tests.
//!
//! It is a [`Node`] seen from inside. The node's directories are where a real node has them:
//!
//! ```text
//! net.d    /etc/cni/net.d              bin    /opt/cni/bin
//! braid.d  /etc/cni/net.d/braid.d      state  /var/lib/cni/braid
//! ipam     /var/lib/cni/networks
//! ```
//!
//! [`Machine::start`] is the runtime: it takes the first file of `/etc/cni/net.d` by its name and
//! walks that chain as libcni does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::call::{ANNOTATIONS, Call, Outcome};
use crate::node::{BRAID, Node, PLUGIN_DIR, succeed, text};
use crate::pod::Pod;

/// Tells the machine's door which program to start inside.
const PROGRAM: &str = "MACHINE_PROGRAM";

/// What programs look up there: which iptables, which libraries, which names.
const ETC: [&str; 8] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/protocols",
    "/etc/services",
    "/etc/iproute2",
];

pub(crate) struct Machine {
    pub(crate) node: Node,
}

impl Machine {
    /// A machine with the reference plugins and nothing else.
    pub(crate) fn new() -> Self {
        let machine = Self { node: Node::new() };
        machine.lay_out();
        machine.install_plugins();
        machine.build_door();
        machine.check_out_repository();
        machine
    }

    fn lay_out(&self) {
        let node = &self.node;
        for directory in
            ["var/lib/cni/networks", "var/log", "net.d/braid.d", "opt/cni/bin", "repo", "shims"]
        {
            fs::create_dir_all(node.path(directory)).unwrap();
        }
        fs::create_dir_all(node.path("etc/cni/net.d")).unwrap();
        for file in ETC.iter().filter(|file| Path::new(file).exists()) {
            succeed("cp", &["-a", file, &node.path_text("etc/")]);
        }
        for (name, target) in [
            ("braid.d", "net.d/braid.d"),
            ("ipam", "var/lib/cni/networks"),
            ("state", "var/lib/cni/braid"),
        ] {
            let _ = fs::remove_dir(node.path(name));
            symlink(node.path(target), node.path(name)).unwrap();
        }
    }

    fn install_plugins(&self) {
        for plugin in fs::read_dir(PLUGIN_DIR).unwrap().flatten() {
            symlink(plugin.path(), self.node.path("bin").join(plugin.file_name())).unwrap();
        }
    }

    /// `ip netns exec` has given the program mounts of its own when the door opens.
    fn build_door(&self) {
        let root = self.node.path_text("");
        self.executable(
            "door",
            &format!(
                "cd {root} && mount --bind etc /etc && mount --bind net.d /etc/cni/net.d && mount \
                 --bind opt /opt && mount --bind bin /opt/cni/bin && mount --bind var/lib /var/lib \
                 && mount --bind var/log /var/log && cd {root}/repo || exit 97\n\
                 program=${PROGRAM}; unset {PROGRAM} PWD OLDPWD; exec \"$program\" \"$@\""
            ),
        );
    }

    /// The repository, with a `target` of its own and a `scripts/build` that has built before.
    fn check_out_repository(&self) {
        for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().flatten() {
            if entry.file_name() != "target" && entry.file_name() != "scripts" {
                symlink(entry.path(), self.node.path("repo").join(entry.file_name())).unwrap();
            }
        }
        self.executable(
            "repo/scripts/build",
            &format!("mkdir -p target/dist && cp {BRAID} target/dist/braid"),
        );
    }

    /// A program that answers to exactly these arguments, found before the real one.
    pub(crate) fn stand_in(&self, name: &str, arguments: &str, script: &str) {
        let guard = format!(
            "[ \"$*\" = \"{arguments}\" ] || {{ echo \"{name} $*: not known here\" >&2; exit 1; }}"
        );
        self.shim(name, &format!("{guard}\n{script}"));
    }

    /// A program that is found before the real one.
    pub(crate) fn shim(&self, name: &str, script: &str) {
        self.executable(&format!("shims/{name}"), script);
    }

    fn executable(&self, relative: &str, script: &str) {
        self.node.write(relative, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.node.path(relative), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs lines of shell in the repository; returns what they printed.
    #[track_caller]
    pub(crate) fn sh(&self, lines: &str) -> String {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.node.path_text("shims"));
        let mut command: Command = self.node.host().command(self.node.path("door"));
        command.env_clear().env("PATH", path).env(PROGRAM, "/bin/sh").args(["-eu", "-c", lines]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// host-local starts from the first address again.
    pub(crate) fn forget_addresses(&self) {
        fs::remove_dir_all(self.node.path("var/lib/cni/networks")).unwrap();
        fs::create_dir(self.node.path("var/lib/cni/networks")).unwrap();
    }

    /// A pod with these annotations, started by the runtime.
    ///
    /// # Errors
    /// The outcome of the first plugin that fails.
    pub(crate) fn start(
        &self,
        namespace: &str,
        name: &str,
        annotations: &Value,
    ) -> Result<Sandbox<'_>, Box<Outcome>> {
        let mut sandbox = Sandbox {
            pod: self.node.pod(namespace, name),
            machine: self,
            network: self.first_network(),
            annotations: annotations.clone(),
            result: Value::Null,
        };
        sandbox.result = sandbox.add()?;
        Ok(sandbox)
    }

    /// The same for a manifest.
    pub(crate) fn start_manifest(&self, pod: &Value) -> Result<Sandbox<'_>, Box<Outcome>> {
        assert_eq!(pod["kind"], "Pod", "{pod}");
        let metadata = &pod["metadata"];
        self.start(text(&metadata["namespace"]), text(&metadata["name"]), &metadata["annotations"])
    }

    /// What containerd loads: the first file by name, a single plugin as a chain of one, with the
    /// plugins of the sub-directory that has the network's name.
    fn first_network(&self) -> Value {
        let first = configurations(&self.node.path("net.d"), &["conf", "conflist", "json"]);
        let file = first.into_iter().next().expect("a file in /etc/cni/net.d");
        let version =
            file["cniVersions"].as_array().into_iter().flatten().chain([&file["cniVersion"]]);
        let version = version.map(text).max();
        let mut plugins = file["plugins"].as_array().cloned().unwrap_or_else(|| vec![file.clone()]);
        plugins
            .extend(configurations(&self.node.path("net.d").join(text(&file["name"])), &["conf"]));
        json!({"cniVersion": version, "name": file["name"], "plugins": plugins})
    }
}

/// A directory's files with one of these extensions, by name; none without the directory.
fn configurations(directory: &Path, extensions: &[&str]) -> Vec<Value> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extensions.iter().any(|known| extension == *known))
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
        .collect()
}

/// A pod that the runtime has started.
pub(crate) struct Sandbox<'m> {
    pub(crate) pod: Pod<'m>,
    pub(crate) result: Value,
    machine: &'m Machine,
    network: Value,
    annotations: Value,
}

impl Sandbox<'_> {
    fn add(&self) -> Result<Value, Box<Outcome>> {
        let mut result = Value::Null;
        for plugin in self.plugins() {
            result = self.run("ADD", plugin, &result)?.assert_success();
        }
        Ok(result)
    }

    /// CHECK of every plugin against the final result.
    #[track_caller]
    pub(crate) fn check(&self) {
        for plugin in self.plugins() {
            let checked = self.run("CHECK", plugin, &self.result);
            checked.unwrap_or_else(|outcome| panic!("CHECK: {}", outcome.stdout));
        }
    }

    /// CHECK of braid alone, with keys on top of those of its entry.
    #[track_caller]
    pub(crate) fn check_braid(&self, more: &Value) {
        let mut braid =
            self.plugins().iter().find(|plugin| plugin["type"] == "braid").unwrap().clone();
        braid.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let checked = self.run("CHECK", &braid, &self.result);
        checked.unwrap_or_else(|outcome| panic!("CHECK: {}", outcome.stdout));
    }

    /// DEL in reverse with the final result; then once more without namespace and result, as
    /// containerd does.
    pub(crate) fn del(&self) {
        for result in [&self.result, &Value::Null] {
            for plugin in self.plugins().iter().rev() {
                self.run("DEL", plugin, result)
                    .unwrap_or_else(|outcome| panic!("DEL: {}", outcome.stdout));
            }
        }
    }

    fn plugins(&self) -> &[Value] {
        self.network["plugins"].as_array().unwrap()
    }

    fn run(&self, verb: &str, plugin: &Value, result: &Value) -> Result<Outcome, Box<Outcome>> {
        let bin = "/opt/cni/bin";
        let mut call = Call::again(&self.machine.node, verb, self.request(plugin, result))
            .of_pod(&self.pod)
            .program(self.machine.node.path("door"))
            .env(PROGRAM, &format!("{bin}/{}", text(&plugin["type"])))
            .env("CNI_PATH", bin);
        if verb == "DEL" && result.is_null() {
            call = call.env("CNI_NETNS", "");
        }
        let outcome = call.run();
        if outcome.status.success() { Ok(outcome) } else { Err(Box::new(outcome)) }
    }

    /// The request of one plugin (CNI 1.1.0, section 3). The runtime offers annotations and nothing
    /// else.
    fn request(&self, plugin: &Value, result: &Value) -> Value {
        let mut request: Map<String, Value> = plugin.as_object().cloned().unwrap();
        let capabilities = request.remove("capabilities").unwrap_or_default();
        for key in ["cniVersion", "name"] {
            request.insert(key.to_owned(), self.network[key].clone());
        }
        if capabilities[ANNOTATIONS] == true {
            request.insert("runtimeConfig".to_owned(), json!({ANNOTATIONS: self.annotations}));
        }
        if !result.is_null() {
            request.insert("prevResult".to_owned(), result.clone());
        }
        Value::Object(request)
    }
}
