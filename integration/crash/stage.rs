//! The node on which Braid is killed: what is called, how a runtime goes on, and that nothing is
//! left.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux::netns::Netns;
use serde_json::{Value, json};

use super::injection::{Point, Scope, calls_made, executable, killer, observer};
use crate::apiserver::{ApiServer, Fault, Latency, Setup};
use crate::call::{Call, Outcome, start_tool};
use crate::kubelet::{Kubelet, pod as allocated};
use crate::node::{Node, PLUGIN_DIR};
use crate::pod::Pod;

const VF: &str = "nic.example.com/vf";
const DEVICE: &str = "0000:18:02.5";

/// The call that is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Add,
    Del,
    Gc,
    /// `braid attach` of the first network to a pod that runs with the others.
    Attach,
    /// `braid detach` of the first network.
    Detach,
}

/// How Braid stands on the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Delegating,
    Chained,
}

/// How the runtime goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recovery {
    /// DEL, and DEL again.
    Del,
    /// The container is forgotten, and GC finds it stale.
    Gc,
}

/// The API of cluster-wide addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Api {
    /// It answers at once.
    There,
    /// It is away once Braid was killed, and comes back after the runtime has gone on.
    ComesBack,
    /// Each answer takes a while.
    Slow,
}

/// What happens on the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) verb: Verb,
    pub(super) mode: Mode,
    /// One to three extra networks: a bridge; a chain of ptp and portmap; a plugin that knows GC.
    pub(super) extras: usize,
    /// The pod's default routes, of both families, go to the first of them.
    pub(super) moves_default_route: bool,
    /// There is an API: it has the definitions and takes the status, and the first network has a
    /// device.
    pub(super) publishes: bool,
    /// The plugins are Braid's own, and called in its process.
    pub(super) built_in: bool,
    /// The first network has addresses of the cluster, and the API is like this.
    pub(super) addresses: Option<Api>,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, mode, extras, .. } = self;
        write!(f, "{verb:?}, {mode:?}, {extras} extra")?;
        let more = [
            (self.moves_default_route, "default route moved"),
            (self.publishes, "status on"),
            (self.built_in, "in the process"),
            (self.addresses == Some(Api::There), "cluster-wide addresses"),
            (self.addresses == Some(Api::ComesBack), "cluster-wide addresses, the API comes back"),
            (self.addresses == Some(Api::Slow), "cluster-wide addresses, the API is slow"),
        ];
        more.iter().filter(|(is_on, _)| *is_on).try_for_each(|(_, text)| write!(f, ", {text}"))
    }
}

/// A node of a scenario.
pub(super) struct Stage {
    // They go before the node's directory does.
    servers: Option<(ApiServer, Option<Kubelet>)>,
    scenario: Scenario,
    node: Node,
    config: Value,
    /// The node after one pod has come and gone, and an empty sandbox.
    before: BTreeSet<String>,
}

impl Stage {
    pub(super) fn new(scenario: Scenario) -> Self {
        let node = Node::new();
        node.recorder("blue");
        if scenario.built_in {
            for kind in ["bridge", "host-local", "ptp", "whereabouts"] {
                symlink(executable(), node.path("bin").join(kind)).unwrap();
            }
        }
        let config = match scenario.mode {
            Mode::Delegating => {
                json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]})
            }
            Mode::Chained => json!({}),
        };
        let mut stage = Self { servers: None, scenario, node, config, before: BTreeSet::new() };
        stage.config["keepClusterRoutes"] = json!(["10.96.0.0/12", "fd96::/108"]);
        stage.define();
        // What plugins keep for every pod is made by the first one: bridges, the chains of portmap.
        let pod = stage.pod();
        stage.attach(&pod);
        stage.detach(&pod);
        let before = stage.dump(&pod);
        drop(pod);
        Self { before, ..stage }
    }

    /// The definitions: files of the node, or objects of the API, which has the pod then too.
    fn define(&mut self) {
        let mut networks = self.networks();
        if !self.scenario.publishes && self.scenario.addresses.is_none() {
            for (name, config) in networks {
                self.node.define("team-a", name, config);
            }
            return;
        }
        let host = Netns::open(self.node.host().path().as_ref()).unwrap();
        let manifests = vec!["rbac.yaml", "optional/rbac-addresses.yaml"];
        let latency = match self.scenario.addresses {
            Some(Api::Slow) => Duration::from_millis(20),
            _ => Duration::ZERO,
        };
        let latency = Latency { read: latency, write: latency };
        let setup = Setup { manifests, latency, ..Setup::default() };
        let server = host.run(move || ApiServer::with(setup)).unwrap();
        server.add_pod("team-a", "web", "uid-web", json!({}));
        if self.scenario.addresses.is_some() {
            self.give_addresses(&server, &mut networks[0].1);
            self.publish(&server, &networks, "");
            self.config["kubeconfig"] = json!(server.usual_kubeconfig());
            self.servers = Some((server, None));
            return;
        }
        networks[0].1["capabilities"] = json!({"deviceID": true, "CNIDeviceInfoFile": true});
        self.publish(&server, &networks, VF);
        let info = json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": DEVICE}});
        self.node.write(
            &format!("devinfo/dp/nic.example.com-vf-{DEVICE}-device.json"),
            &info.to_string(),
        );
        let socket = self.node.path("kubelet/kubelet.sock");
        let devices = json!([{"resourceName": VF, "deviceIds": [DEVICE]}]);
        let kubelet = Kubelet::start(&socket).get([allocated("team-a", "web", devices)]);
        let of_cluster = [
            ("kubeconfig", json!(server.usual_kubeconfig())),
            ("kubeletSocket", json!(socket)),
            ("deviceInfoDir", json!(self.node.path("devinfo"))),
        ];
        for (key, value) in of_cluster {
            self.config[key] = value;
        }
        self.servers = Some((server, Some(kubelet)));
    }

    /// The definitions as objects of the API; the first one's pods need the resource.
    fn publish(&self, server: &ApiServer, networks: &[(&str, Value)], of_first: &str) {
        for (name, config) in networks {
            let resource = if *name == "lan" { of_first } else { "" };
            let annotations = json!({"k8s.v1.cni.cncf.io/resourceName": resource});
            server.objects().put(json!({
                "kind": "NetworkAttachmentDefinition",
                "metadata": {"namespace": "team-a", "name": name, "annotations": annotations},
                "spec": {"config": config.to_string()},
            }));
        }
    }

    fn give_addresses(&self, server: &ApiServer, network: &mut Value) {
        network["ipam"] = json!({
            "type": "whereabouts", "range": "10.9.0.0/24", "ipRanges": [{"range": "fd09::/64"}],
            "kubernetes": {"kubeconfig": server.usual_kubeconfig()},
            "dataDir": self.node.path("state/addresses"),
        });
    }

    /// The cluster's addresses that are taken.
    fn addresses(&self) -> Vec<String> {
        let Some((server, _)) = &self.servers else { return Vec::new() };
        let objects = server.objects();
        let entries = |pool: &Value| {
            let entries = pool["spec"]["allocations"].as_object().unwrap();
            entries.iter().map(|(at, entry)| format!("{at}: {entry}")).collect::<Vec<_>>()
        };
        let entries = objects.all("ippools").iter().flat_map(entries).collect::<Vec<_>>();
        let reserved = objects.all("overlappingrangeipreservations");
        let reserved = reserved.iter().map(|it| it["metadata"]["name"].to_string());
        entries.into_iter().chain(reserved).collect()
    }

    fn networks(&self) -> Vec<(&'static str, Value)> {
        let ipam = |subnets| self.node.host_local(subnets);
        let lan = json!({
            "cniVersion": "1.0.0", "type": "bridge", "bridge": "br-lan", "isGateway": true, "ipam": ipam("10.9.0.0/24 fd09::/64"),
        });
        let ported = json!({"cniVersion": "1.0.0", "name": "ported", "plugins": [
            {"type": "ptp", "ipam": ipam("10.8.0.0/24")},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]});
        let blue = json!({"cniVersion": "1.1.0", "type": "blue", "link": true, "addresses": ["10.7.0.2/24"]});
        let all = [("lan", lan), ("ported", ported), ("blue", blue)];
        all.into_iter().take(self.scenario.extras).collect()
    }

    /// What the pod's annotation says.
    fn asked(&self) -> Value {
        let mut lan = json!({"name": "lan"});
        if self.scenario.moves_default_route {
            lan["default-route"] = json!(["10.9.0.1", "fd09::1"]);
        }
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let all = [lan, json!({"name": "ported", "portMappings": ports}), json!({"name": "blue"})];
        all.into_iter().take(self.scenario.extras).collect()
    }

    pub(super) fn pod(&self) -> Pod<'_> {
        self.node.pod("team-a", "web")
    }

    // Calls.

    fn call<'c>(&'c self, verb: &str, pod: &'c Pod<'_>) -> Call<'c> {
        let call = self.node.call(verb, self.config.clone());
        call.of_pod(pod).networks_json(self.asked()).program(executable())
    }

    fn add<'c>(&'c self, pod: &'c Pod<'_>, primary: &Value) -> Call<'c> {
        let call = self.call("ADD", pod);
        if primary.is_null() { call } else { call.prev_result(primary.clone()) }
    }

    fn gc(&self) -> Call<'_> {
        let call = self.node.call("GC", self.config.clone()).program(executable());
        call.with(json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}))
    }

    /// The primary before a chained Braid; there is none before a delegating one.
    fn primary(&self, verb: &str, pod: &Pod<'_>) -> Value {
        if self.scenario.mode == Mode::Delegating {
            return Value::Null;
        }
        let mut config = self.node.bridge("cni0", "10.1.0.0/24 fd01::/64");
        config["name"] = json!("node");
        let call = Call::again(&self.node, verb, config).of_pod(pod);
        call.program(Path::new(PLUGIN_DIR).join("bridge")).run().assert_success()
    }

    /// ADD of the whole chain.
    fn attach(&self, pod: &Pod<'_>) {
        let primary = self.primary("ADD", pod);
        self.add(pod, &primary).run().assert_success();
        let extras = (1..=self.scenario.extras).map(|number| format!("net{number}"));
        assert_eq!(pod.links(), ["eth0".to_owned()].into_iter().chain(extras).collect::<Vec<_>>());
    }

    /// DEL of the whole chain, as after an ADD that has failed: without a result.
    fn detach(&self, pod: &Pod<'_>) {
        self.call("DEL", pod).run().assert_success();
        self.primary("DEL", pod);
    }

    /// The call that is to be killed, up to its start.
    fn prepared<'c>(&'c self, pod: &'c Pod<'_>) -> Call<'c> {
        // As on a node if Braid was installed a moment ago.
        let _ = fs::remove_dir_all(self.node.path("state"));
        if self.scenario.verb == Verb::Add {
            let primary = self.primary("ADD", pod);
            return self.add(pod, &primary);
        }
        self.attach(pod);
        if self.scenario.verb == Verb::Del { self.call("DEL", pod) } else { self.gc() }
    }

    /// A pod that runs, and the command that changes its networks.
    fn change(&self, pod: &Pod<'_>, program: &Path) -> Outcome {
        let _ = fs::remove_dir_all(self.node.path("state"));
        let mut entry = self.config.clone();
        let own = self.call("ADD", pod).config();
        entry.as_object_mut().unwrap().extend(own.as_object().cloned().unwrap());
        for key in ["runtimeConfig", "name", "cniVersion", "capabilities"] {
            entry.as_object_mut().unwrap().remove(key);
        }
        entry["type"] = json!("braid");
        let mut plugins = vec![entry];
        if self.scenario.mode == Mode::Chained {
            plugins.insert(0, json!({"type": "bridge"}));
        }
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": plugins});
        self.node.write("tool.d/00-braid.conflist", &conflist.to_string());
        let all = self.asked();
        let (first, others) = all.as_array().unwrap().split_first().unwrap();
        let at_start = if self.scenario.verb == Verb::Attach { json!(others) } else { all.clone() };
        let primary = self.primary("ADD", pod);
        self.add(pod, &primary).networks_json(at_start).run().assert_success();
        let conf_dir = self.node.path_text("tool.d");
        let bin_dir = self.node.path_text("bin");
        let asked = json!([first]).to_string();
        let what = if self.scenario.verb == Verb::Attach {
            ["attach", "--container", &pod.container, &asked]
        } else {
            ["detach", "--container", &pod.container, "net1"]
        };
        let at =
            ["--json", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--bin-dir", PLUGIN_DIR];
        start_tool(&self.node, program, &[&what[..], &at[..]].concat()).wait()
    }

    /// A default route that was on its way is the one thing that a running pod may miss: CHECK says
    /// how an administrator has it back at once.
    fn mend(&self, pod: &Pod<'_>) {
        if self.scenario.moves_default_route {
            let scope = json!({"checkNetworks": "kernel"});
            let looked = self.call("CHECK", pod).with(scope).run();
            let tells = looked.stdout.contains("was broken off: run braid repair");
            assert!(looked.status.success() || tells, "{}", looked.stdout);
            let conf_dir = self.node.path_text("tool.d");
            let bin_dir = self.node.path_text("bin");
            let at = ["--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--bin-dir", PLUGIN_DIR];
            let what = ["repair", &pod.container];
            let mended =
                start_tool(&self.node, &executable(), &[&what[..], &at[..]].concat()).wait();
            assert!(mended.status.success(), "{}{}", mended.stdout, mended.stderr);
        }
    }

    /// What a runtime that looks finds nothing wrong with: portmap's own CHECK looks for rules of
    /// IPv6 if there is no IPv6.
    fn check(&self, pod: &Pod<'_>) {
        if self.scenario.mode == Mode::Delegating {
            let scope = json!({"checkNetworks": "kernel"});
            self.call("CHECK", pod).with(scope).run().assert_success();
        }
    }

    fn run(&self, pod: &Pod<'_>, program: PathBuf) -> Outcome {
        if matches!(self.scenario.verb, Verb::Attach | Verb::Detach) {
            return self.change(pod, &program);
        }
        self.prepared(pod).program(program).run()
    }

    // Points.

    /// The calls that an unharmed run makes.
    pub(super) fn calls(&self, pod: &mut Pod<'_>) -> Vec<(Scope, String)> {
        let mut all = Vec::new();
        for scope in Scope::ALL {
            self.rename(pod, &format!("{scope:?}"));
            self.run(pod, observer(&self.node, scope)).assert_success();
            self.recover(pod, Recovery::Del);
            self.assert_nothing_left(pod, "an unharmed run");
            all.extend(calls_made(&self.node).into_iter().map(|call| (scope, call)));
        }
        all
    }

    /// Kills at the point, once for each way to go on. Whether there is such a point.
    pub(super) fn visit(&self, pod: &mut Pod<'_>, point: &Point, ways: &[Recovery]) -> bool {
        for &recovery in ways {
            let _where = Where(format!("{}, killed at {point}, then {recovery:?}", self.scenario));
            self.rename(pod, &format!("{}{}-{recovery:?}", point.call, point.number));
            let outcome = self.run(pod, killer(&self.node, point));
            let killed = outcome.status.signal() == Some(9);
            if !killed {
                outcome.assert_success();
            }
            if matches!(self.scenario.verb, Verb::Attach | Verb::Detach) {
                self.mend(pod);
                self.check(pod);
            }
            self.recover(pod, recovery);
            self.assert_nothing_left(pod, "the kill");
            if !killed {
                return false;
            }
            self.attach_again(pod, recovery);
        }
        true
    }

    /// Another container in the same sandbox.
    fn rename(&self, pod: &mut Pod<'_>, name: &str) {
        pod.container = name.replace('_', "-").to_lowercase();
    }

    /// While the API is away, the runtime goes on; when it is back, any later call does the rest.
    fn recover(&self, pod: &Pod<'_>, recovery: Recovery) {
        let returning =
            self.servers.as_ref().filter(|_| self.scenario.addresses == Some(Api::ComesBack));
        let Some((server, _)) = returning else { return self.go_on(pod, recovery) };
        server.weather(|_| Some(Fault::Close));
        self.go_on(pod, recovery);
        server.weather(|_| None);
        self.gc().run().assert_success();
    }

    fn go_on(&self, pod: &Pod<'_>, recovery: Recovery) {
        for _ in 0..2 {
            match recovery {
                Recovery::Del => self.detach(pod),
                Recovery::Gc => {
                    self.gc().run().assert_success();
                    self.primary("DEL", pod);
                }
            }
        }
    }

    /// The same container again after DEL, and another one.
    fn attach_again(&self, pod: &mut Pod<'_>, recovery: Recovery) {
        if recovery == Recovery::Del {
            self.attach(pod);
            self.detach(pod);
        }
        let other = format!("{}-new", pod.container);
        self.rename(pod, &other);
        self.attach(pod);
        self.detach(pod);
        self.assert_nothing_left(pod, "another ADD and DEL");
    }

    fn dump(&self, pod: &Pod<'_>) -> BTreeSet<String> {
        self.node.dump().into_iter().chain(pod.netns().dump("sandbox")).collect()
    }

    #[track_caller]
    fn assert_nothing_left(&self, pod: &Pod<'_>, what: &str) {
        let sandbox =
            pod.netns().dump("sandbox").into_iter().filter(|line| !self.before.contains(line));
        let left = self.node.leftovers(&self.before).into_iter().chain(sandbox);
        let left: Vec<String> = left.chain(self.addresses()).collect();
        assert_eq!(left, Vec::<String>::new(), "after {what}");
    }
}

/// Says where a test was when it failed.
struct Where(String);

impl Drop for Where {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}
