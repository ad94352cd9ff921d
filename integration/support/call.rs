//! One call of braid, or of any plugin, as a runtime makes it; and what came of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::node::{BRAID, Node, text};
use crate::pod::{Memory, Pod};

/// The annotation for extra networks.
pub(crate) const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
/// The annotation for another primary.
pub(crate) const DEFAULT_NETWORK: &str = "v1.multus-cni.io/default-network";
/// The capability that carries annotations.
pub(crate) const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// A call under construction.
pub(crate) struct Call<'a> {
    node: &'a Node,
    pod: Option<&'a Pod<'a>>,
    program: PathBuf,
    is_braid: bool,
    environment: Vec<(String, String)>,
    config: Value,
    input: Option<Vec<u8>>,
}

impl<'a> Call<'a> {
    /// A call of braid with `config` on top of the node's own: directories, version 1.0.0, name
    /// `node`, and, as containerd sends them, annotations without any of ours.
    pub(crate) fn new(node: &'a Node, verb: &str, config: Value) -> Self {
        let base = json!({
            "cniVersion": "1.0.0", "name": "node", "type": "braid",
            "confDir": node.path_text("braid.d"),
            "cniDir": node.path_text("state"),
            "primaryConfDir": node.path_text("net.d"),
            "runtimeConfig": {ANNOTATIONS: {}},
        });
        Self::again(node, verb, base).with(config)
    }

    /// A call of braid with exactly this configuration.
    pub(crate) fn again(node: &'a Node, verb: &str, config: Value) -> Self {
        let environment =
            [("CNI_COMMAND", verb.to_owned()), ("CNI_PATH", node.plugin_path()), ("PATH", path())];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self {
            node,
            pod: None,
            program: BRAID.into(),
            is_braid: true,
            environment,
            config,
            input: None,
        }
    }

    pub(crate) fn of_pod(mut self, pod: &'a Pod<'a>) -> Self {
        self.pod = Some(pod);
        self.env("CNI_CONTAINERID", &pod.container)
            .env("CNI_NETNS", &pod.netns_path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", &pod.args())
    }

    /// Another program in braid's place.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self.is_braid = false;
        self
    }

    /// A program that runs braid, and is one for what is remembered of the call.
    pub(crate) fn wrapper(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self.is_braid = true;
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a variable, even one that is there already: see [`Call::run`].
    pub(crate) fn env_again(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable out of the environment.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(key, _)| key != name);
        self
    }

    /// Sets keys of the configuration; `null` takes one out.
    pub(crate) fn with(mut self, more: Value) -> Self {
        let config = self.config.as_object_mut().unwrap();
        for (key, value) in more.as_object().unwrap() {
            if value.is_null() {
                config.remove(key);
            } else {
                config.insert(key.clone(), value.clone());
            }
        }
        self
    }

    pub(crate) fn prev_result(self, result: Value) -> Self {
        self.with(json!({"prevResult": result}))
    }

    /// Sets a capability argument of the runtime; `null` takes it out.
    pub(crate) fn runtime_config(mut self, key: &str, value: Value) -> Self {
        let arguments = self.config["runtimeConfig"].as_object_mut().expect("runtimeConfig");
        if value.is_null() {
            arguments.remove(key);
        } else {
            arguments.insert(key.to_owned(), value);
        }
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config["runtimeConfig"][ANNOTATIONS][key] = json!(value);
        self
    }

    /// The pod asks for these extra networks.
    pub(crate) fn networks(self, value: &str) -> Self {
        self.annotation(NETWORKS, value)
    }

    /// The pod asks for extra networks in the JSON form.
    pub(crate) fn networks_json(self, value: Value) -> Self {
        self.annotation(NETWORKS, &value.to_string())
    }

    /// The pod asks for another primary.
    pub(crate) fn default_network(self, value: &str) -> Self {
        self.annotation(DEFAULT_NETWORK, value)
    }

    /// The runtime does not hand annotations over at all.
    pub(crate) fn without_annotations(self) -> Self {
        self.runtime_config(ANNOTATIONS, Value::Null)
    }

    /// Standard input is this text, not the configuration.
    pub(crate) fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// The configuration, as it will be sent.
    pub(crate) fn config(&self) -> Value {
        self.config.clone()
    }

    pub(crate) fn version(&self) -> String {
        text(&self.config["cniVersion"]).to_owned()
    }

    /// Runs the call to its end. A success of ADD, and the configuration in any case, is what the
    /// pod's next call builds on.
    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Starts the call.
    pub(crate) fn start(self) -> Running<'a> {
        let adds = self.environment.contains(&("CNI_COMMAND".to_owned(), "ADD".to_owned()));
        let remembers = self.pod.filter(|_| adds && self.is_braid);
        if let Some(pod) = remembers {
            let mut config = self.config.clone();
            config.as_object_mut().unwrap().remove("prevResult");
            *pod.memory.borrow_mut() = Memory { config, result: None };
        }
        let mut child = self.command().spawn().unwrap();
        let input = self.input.unwrap_or_else(|| self.config.to_string().into_bytes());
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read must not hold the test up.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        Running { child, writer, started: Instant::now(), remembers }
    }

    /// A repeated variable needs `execve` itself; the recorder does that.
    fn command(&self) -> Command {
        let mut names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let repeats = names.windows(2).any(|pair| pair[0] == pair[1]);
        let mut command;
        if repeats {
            command = self.node.host().command(crate::node::recorder());
            command.arg("exec").arg(&self.program);
            command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        } else {
            command = self.node.host().command(&self.program);
            command.env_clear().envs(self.environment.iter().cloned());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
}

/// A command of braid for people, started on the node.
pub(crate) fn start_tool<'a>(node: &Node, program: &Path, arguments: &[&str]) -> Running<'a> {
    let mut command = node.host().command(program);
    command.args(arguments).env_clear().env("PATH", path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let writer = std::thread::spawn(|| ());
    Running { child, writer, started: Instant::now(), remembers: None }
}

/// A call that is under way.
pub(crate) struct Running<'a> {
    child: Child,
    writer: JoinHandle<()>,
    started: Instant,
    remembers: Option<&'a Pod<'a>>,
}

impl Running<'_> {
    /// Sends braid a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn wait(self) -> Outcome {
        let output = self.child.wait_with_output().unwrap();
        self.writer.join().unwrap();
        let outcome = Outcome {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("standard output is text"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: self.started.elapsed(),
        };
        if let (Some(pod), true) = (self.remembers, outcome.status.success()) {
            pod.memory.borrow_mut().result = Some(outcome.json());
        }
        outcome
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Outcome {
    /// What it printed: one JSON document, or nothing (`null`).
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        if self.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} on stdout: {self:?}"))
    }

    /// The call succeeded; returns what it printed.
    #[track_caller]
    pub(crate) fn assert_success(&self) -> Value {
        assert!(self.status.success(), "failed: {}\n{}", self.stdout, self.stderr);
        let value = self.json();
        assert!(value["code"].is_null(), "an error with status 0: {}", self.stdout);
        value
    }

    /// The code and the message of a call that failed.
    #[track_caller]
    pub(crate) fn error(&self) -> (u64, String) {
        assert!(!self.status.success(), "succeeded: {self:?}");
        let error = self.json();
        (error["code"].as_u64().unwrap(), text(&error["msg"]).to_owned())
    }

    /// The call failed with this code, and says each of `texts`; returns the error.
    #[track_caller]
    pub(crate) fn assert_error<const N: usize>(
        &self,
        code: u64,
        texts: [&str; N],
    ) -> Map<String, Value> {
        assert!(!self.status.success(), "succeeded: {}", self.stdout);
        let error = self.json();
        let message = text(&error["msg"]);
        assert_eq!(error["code"], code, "{message}\n{}", self.stderr);
        for said in texts {
            assert!(message.contains(said), "\"{said}\" is not in: {message}");
        }
        error.as_object().cloned().unwrap()
    }
}

/// The addresses of a result.
pub(crate) fn addresses(result: &Value) -> Vec<&str> {
    result["ips"].as_array().unwrap().iter().map(|ip| text(&ip["address"])).collect()
}
