//! Platforms: Braid is installed into a root of the platform's layout by the page's command, the
//! runtime's calls go through what was written, and the root is afterwards as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::page::Recipe;
use crate::call::{ANNOTATIONS, Call, NETWORKS, addresses};
use crate::chain::Chain;
use crate::node::{Node, recorder, text};
use crate::operator::{Said, Tool};
use crate::pod::Pod;

macro_rules! platforms {
    ($($test:ident: $page:literal,)*) => {
        /// The pages that a test here is of.
        pub(super) const TESTED: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                Place::new($page).walk();
            }
        )*
    };
}

platforms! {
    kubeadm_with_flannel: "flannel",
    kubeadm_with_calico: "calico",
    kubeadm_with_cilium: "cilium",
    kubeadm_with_cilium_delegating: "cilium-delegating",
    kubeadm_with_cilium_behind_another_primary: "cilium-generic-veth",
    kubeadm_with_antrea: "antrea",
    kubeadm_with_kube_ovn: "kube-ovn",
    kubeadm_with_ovn_kubernetes: "ovn-kubernetes",
    k3s: "k3s",
    rke2: "rke2",
    microk8s: "microk8s",
    kind: "kind",
    talos: "talos",
    eks: "eks",
    aks: "aks",
    gke: "gke",
    openshift: "openshift",
}

/// A node whose root has the layout of a page's platform.
struct Place {
    recipe: Recipe,
    node: Node,
}

/// Every file below a directory with its bytes, directories with none.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

impl Place {
    fn new(page: &str) -> Self {
        let place = Self { recipe: Recipe::read(page), node: Node::new() };
        let from = place.recipe.file("root");
        for (path, bytes) in contents(&from) {
            let relative = path.strip_prefix(&from).unwrap().to_str().unwrap().to_owned();
            place.node.write(&format!("root/{relative}"), std::str::from_utf8(&bytes).unwrap());
        }
        // What a runtime of today has in it; Braid looks for the word.
        for file in ["usr/bin/containerd", "usr/bin/crio"] {
            place.node.write(&format!("root/{file}"), "loadOnlyInlinedPlugins");
        }
        place.install_plugins();
        place
    }

    fn root(&self) -> PathBuf {
        self.node.path("root")
    }

    /// A path of the page, on this root.
    fn path(&self, row: &str) -> PathBuf {
        let path = self.recipe.codes(row).first().cloned().expect("a path");
        self.root().join(path.trim_start_matches('/'))
    }

    fn primary(&self) -> Value {
        let text = fs::read_to_string(self.path("Primary's file")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The chain of the primary: of a conf, its one plugin.
    fn plugins(&self) -> Vec<Value> {
        let primary = self.primary();
        primary["plugins"].as_array().cloned().unwrap_or_else(|| vec![primary.clone()])
    }

    /// A stub for each plugin of the primary, and one for the extra network.
    fn install_plugins(&self) {
        let mut kinds: Vec<String> = vec!["blue".to_owned()];
        for plugin in self.plugins() {
            kinds.push(text(&plugin["type"]).to_owned());
            kinds.extend(plugin["ipam"]["type"].as_str().map(str::to_owned));
        }
        let bin_dir = self.path("Plugins");
        fs::create_dir_all(&bin_dir).unwrap();
        for kind in kinds {
            self.node.recorder(&kind);
            let file = bin_dir.join(&kind);
            if !file.exists() {
                symlink(recorder(), file).unwrap();
            }
        }
    }

    /// The stubs' manners: the first makes the pod's interface, and insists on what the page says
    /// that its DEL and CHECK need; the others pass on what they get.
    fn script(&self, pod: &Pod<'_>) {
        let plugins = self.plugins();
        let (first, others) = plugins.split_first().unwrap();
        let version = text(&self.primary()["cniVersion"]).to_owned();
        let mut ip = json!({"address": "10.1.0.2/24", "interface": 0});
        if ["0.3.0", "0.3.1", "0.4.0"].contains(&version.as_str()) {
            ip["version"] = json!("4");
        }
        let mut more = json!({"ips": [ip]});
        if text(&first["type"]) == "aws-cni" {
            more = aws_result(pod);
        }
        let script = json!({
            "ADD": {"link": true, "add_to_result": more},
            "DEL": {"insist": self.recipe.needs("Needs on DEL")},
            "CHECK": {"insist": self.recipe.needs("Needs on CHECK")},
        });
        self.node.script(text(&first["type"]), script);
        let passes = json!({"ADD": {"pass_on": true}, "DEL": {"stdout": ""}});
        others.iter().for_each(|plugin| self.node.script(text(&plugin["type"]), passes.clone()));
    }

    /// Runs a command on the root, as the page's block has it.
    fn run(&self, arguments: &[String]) -> Said {
        let root = self.node.path_text("root");
        let (command, rest) = arguments.split_first().unwrap();
        let mut words = vec![command.as_str(), "--root", &root];
        words.extend(rest.iter().map(String::as_str));
        Tool::new(&self.node, &words).run()
    }

    fn walk(&self) {
        let before = contents(&self.root());
        let mut install = vec!["install".to_owned()];
        install.extend(self.recipe.installation());
        self.run(&install).assert_status(0);
        let binary = self.path("Plugins").join("braid");
        assert_eq!(fs::metadata(&binary).unwrap().permissions().mode() & 0o111, 0o111);
        let doctor: Vec<String> = ["doctor"].map(str::to_owned).to_vec();
        let directories = install.iter().skip(1).filter(|word| !word.starts_with("--mode"));
        let directories =
            directories.filter(|word| word.contains("-dir=") || word.contains("runtime="));
        let said = self.run(&doctor.into_iter().chain(directories.cloned()).collect::<Vec<_>>());
        let failing: Vec<&str> =
            said.stdout.lines().filter(|line| line.starts_with("fail")).collect();
        assert_eq!(failing, Vec::<&str>::new(), "{}", said.stdout);
        match self.recipe.codes("Mode").first().map(String::as_str) {
            Some("delegating") => self.attach_delegating(),
            Some("chained-file" | "chained") => self.attach_chained(),
            other => panic!("{}: mode {other:?}", self.recipe.name),
        }
        fs::remove_file(self.definition()).unwrap();
        self.run(&["uninstall".to_owned(), "--wait".to_owned()]).assert_status(0);
        let mut after = contents(&self.root());
        if self.root().join("etc/crio").exists() {
            // CRI-O tears down the pods of before with Braid: binary and state stay.
            let state = self.root().join("var/lib/cni/braid");
            after.retain(|path, _| *path != binary && !path.starts_with(&state));
        }
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert!(after == before, "uninstall leaves the root as it was");
    }

    /// Braid's entry with the paths of this root.
    fn on_root(&self, entry: &Value) -> Value {
        let root = self.node.path_text("root");
        let mut entry = entry.clone();
        let defaults = [
            ("primaryConfDir", "/etc/cni/net.d"),
            ("confDir", "/etc/cni/net.d/braid.d"),
            ("cniDir", "/var/lib/cni/braid"),
        ];
        let entry_object = entry.as_object_mut().unwrap();
        for (key, default) in defaults {
            entry_object.entry(key).or_insert_with(|| json!(default));
        }
        for value in entry_object.values_mut() {
            if let Some(path) = value.as_str().filter(|path| path.starts_with('/')) {
                *value = json!(format!("{root}{path}"));
            }
        }
        self.define(&entry);
        entry
    }

    /// The extra network, where Braid's configuration says that definitions are.
    fn define(&self, entry: &Value) {
        let config = json!({"cniVersion": "1.0.0", "type": "blue", "link": true, "addresses": ["10.9.0.2/24"]});
        let manifest = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "blue", "namespace": "team-a"}, "spec": {"config": config.to_string()},
        });
        let directory = Path::new(text(&entry["confDir"]));
        assert!(directory.is_dir(), "install makes {}", directory.display());
        assert_eq!(directory.join("blue.json"), self.definition());
        fs::write(self.definition(), manifest.to_string()).unwrap();
    }

    /// The file of the extra network.
    fn definition(&self) -> PathBuf {
        self.path("Configurations").join("braid.d/blue.json")
    }

    fn attach_delegating(&self) {
        let file = self.path("Configurations").join("00-braid.conflist");
        let conflist: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut config = self.on_root(&conflist["plugins"][0]);
        config.as_object_mut().unwrap().remove("capabilities");
        config["cniVersion"] = json!("1.0.0");
        config["name"] = conflist["name"].clone();
        config["runtimeConfig"] = json!({ANNOTATIONS: {NETWORKS: "blue"}});
        let pod = self.node.pod("team-a", "web");
        self.script(&pod);
        let add = Call::again(&self.node, "ADD", config.clone()).of_pod(&pod);
        let result = add.run().assert_success();
        self.assert_annotations_reach_those_that_declare_them();
        let shows_all = config["resultScope"] != "primary";
        let expected: &[&str] =
            if shows_all { &["10.1.0.2/24", "10.9.0.2/24"] } else { &["10.1.0.2/24"] };
        assert_eq!(addresses(&result), expected);
        assert_eq!(pod.links(), ["eth0", "net1"]);
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        self.assert_torn_down(&pod);
        let first = text(&self.plugins()[0]["type"]).to_owned();
        let checks = self
            .node
            .calls()
            .iter()
            .filter(|call| call.verb() == "CHECK" && call.plugin() == first)
            .count();
        assert_eq!(
            checks,
            usize::from(!self.recipe.cell("Needs on CHECK").starts_with("not called"))
        );
    }

    /// aws-cni reads the pod's annotations; no other primary is told of them.
    fn assert_annotations_reach_those_that_declare_them(&self) {
        for plugin in self.plugins() {
            let add = self.node.only_call("ADD", text(&plugin["type"]));
            let declares = plugin["capabilities"][ANNOTATIONS] == true;
            assert_eq!(!add.stdin()["runtimeConfig"][ANNOTATIONS].is_null(), declares, "{plugin}");
        }
    }

    fn attach_chained(&self) {
        let primary = self.primary();
        let file = self.path("Configurations").join(text(&primary["name"])).join("braid.conf");
        let mut plugins = self.plugins();
        match fs::read_to_string(&file) {
            Ok(entry) => plugins.push(serde_json::from_str(&entry).unwrap()),
            Err(_) => assert_eq!(plugins.last().unwrap()["type"], "braid"),
        }
        let entry = plugins.pop().unwrap();
        plugins.push(self.on_root(&entry));
        let pod = self.node.pod("team-a", "web");
        self.script(&pod);
        let chain = Chain::new(&self.node, json!(plugins)).version(text(&primary["cniVersion"]));
        let chain = chain.networks("blue");
        let result = chain.add(&pod).unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
        assert_eq!(addresses(&result), ["10.1.0.2/24", "10.9.0.2/24"]);
        assert_eq!(pod.links(), ["eth0", "net1"]);
        chain.del(&pod, &result).unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
        self.assert_torn_down(&pod);
    }

    fn assert_torn_down(&self, pod: &Pod<'_>) {
        assert_eq!(pod.links(), Vec::<String>::new());
        let deleted: Vec<String> = self
            .node
            .calls()
            .iter()
            .filter(|call| call.verb() == "DEL")
            .map(|call| call.plugin().to_owned())
            .collect();
        for plugin in self.plugins().iter().filter(|plugin| plugin["type"] != "braid") {
            assert!(deleted.iter().any(|kind| *kind == plugin["type"]), "{deleted:?}");
        }
        assert!(deleted.contains(&"blue".to_owned()), "{deleted:?}");
    }
}

/// OpenShift has CRI-O wait for Multus's network, so that Braid's file would not count.
#[test]
fn a_network_that_crio_waits_for_is_named() {
    let place = Place::new("openshift");
    let waits = "[crio.network]\ncni_default_network = \"multus-cni-network\"\n";
    place.node.write("root/etc/crio/crio.conf.d/01-multus", waits);
    place.run(&["install".to_owned()]).assert_status(0);
    let said = place.run(&["doctor".to_owned()]).assert_status(1);
    let words = "CRI-O takes no network but \"multus-cni-network\" (cni_default_network)";
    let all = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(all.contains(words) && all.contains("set cni_default_network to \"braid\""), "{all}");
}

/// What aws-cni answers: beside the pod's interface one that is none, which tells its DEL the VLAN
/// and the device by way of `mac` and `sandbox`.
fn aws_result(pod: &Pod<'_>) -> Value {
    json!({
        "interfaces": [
            {"name": "enia1b2c3d4e5f"},
            {"name": "eth0", "sandbox": pod.netns_path()},
            {"name": "dummya1b2c3d4e5", "mac": "0", "sandbox": "0"},
        ],
        "ips": [{"version": "4", "address": "10.1.0.2/24", "interface": 1}],
    })
}
