use super::*;
use crate::definition::OnOutage;
use serde_json::json;

struct Node(tempfile::TempDir);

impl Node {
    fn new(files: &[(&str, Value)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }
        Self(dir)
    }

    fn config(&self, more: Value) -> Config {
        let text = more.to_string().replace("DIR", self.0.path().to_str().unwrap());
        let mut value = json!({
            "cniVersion": "1.0.0", "name": "node", "primaryConfDir": self.0.path().join("net.d"),
            "confDir": self.0.path().join("braid.d")
        });
        value
            .as_object_mut()
            .unwrap()
            .extend(serde_json::from_str::<serde_json::Map<_, _>>(&text).unwrap());
        Config::parse(value.to_string().as_bytes()).unwrap()
    }

    fn resolve(&self, more: Value) -> Result<String, String> {
        let config = self.config(more);
        let node = NodeDefinitions::read(&config.conf_dirs);
        let mut definitions =
            crate::prepare::finder(&config, node, Api::Absent, OnOutage::UseCopies);
        let resolved = resolve(config.primary.as_ref().unwrap(), &config, &mut definitions);
        resolved
            .map(|resolved| resolved.network.plugins[0].kind.to_string())
            .map_err(|error| error.to_string())
    }
}

fn node() -> Node {
    let list = |name: &str, kinds: &[&str]| json!({"name": name, "plugins": kinds.iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>()});
    Node::new(&[
        ("net.d/00-braid.conflist", list("node", &["braid"])),
        ("net.d/05-chained.conflist", list("chained", &["ptp", "multus"])),
        ("net.d/10-calico.conflist", list("k8s-pod-network", &["calico", "portmap"])),
        ("net.d/99-other.conf", json!({"name": "other", "type": "other"})),
        ("braid.d/flannel.conf", json!({"name": "flannel", "type": "flannel"})),
        ("net.d/aux/10.conf", json!({"type": "vendor"})),
    ])
}

#[test]
fn every_way_to_name_the_primary_works() {
    let table = [
        (json!({"clusterNetwork": "auto"}), "calico"),
        (json!({"clusterNetwork": "DIR/net.d"}), "calico"),
        (json!({"clusterNetwork": "DIR/net.d/99-other.conf"}), "other"),
        (json!({"clusterNetwork": "flannel"}), "flannel"),
        (json!({"clusterNetwork": "k8s-pod-network"}), "calico"),
        (json!({"delegates": [{"type": "weave-net", "hairpinMode": true}]}), "weave-net"),
    ];
    for (more, expected) in table {
        assert_eq!(node().resolve(more.clone()).as_deref(), Ok(expected), "{more}");
    }
}

#[test]
fn what_cannot_be_the_primary_says_why() {
    let table = [
        (json!({"clusterNetwork": "absent"}), "no configuration file there or in"),
        (json!({"clusterNetwork": "DIR/net.d/00-braid.conflist"}), "cannot be delegated to"),
        (
            json!({"clusterNetwork": "DIR/none.conf"}),
            "none.conf is not a valid network configuration",
        ),
        (json!({"clusterNetwork": "auto", "primaryConfDir": "DIR/empty"}), "no primary network in"),
        (json!({"delegates": [{"name": "x"}]}), "the first of \"delegates\" is not a valid"),
    ];
    for (more, expected) in table {
        let message = node().resolve(more.clone()).unwrap_err();
        assert!(message.contains(expected), "{more}: {message}");
    }
}

#[test]
fn a_pod_chooses_by_name_before_type() {
    let node = node();
    std::fs::write(node.0.path().join("net.d/00-torn.conf"), "{").unwrap();
    std::fs::write(
        node.0.path().join("net.d/01-genie.conf"),
        r#"{"name": "genie", "type": "genie"}"#,
    )
    .unwrap();
    let by_type = json!({"name": "weave", "type": "calico"}).to_string();
    std::fs::write(node.0.path().join("net.d/90-weave.conf"), by_type).unwrap();
    let choices = Choices::read(&node.config(json!({})));
    let found = |word: &str| {
        choices.find(&word.parse().unwrap()).map(|(_, network)| network.name.to_string())
    };
    assert_eq!(choices.warnings.len(), 1, "{:?}", choices.warnings);
    for (word, expected) in [
        ("calico", "k8s-pod-network"),
        ("k8s-pod-network", "k8s-pod-network"),
        ("weave", "weave"),
        ("other", "other"),
    ] {
        assert_eq!(found(word).unwrap(), expected, "{word}");
    }
    for word in ["portmap", "braid", "chained", "genie", "absent"] {
        assert!(
            found(word)
                .unwrap_err()
                .to_string()
                .ends_with("nor one whose first plugin is of that type")
        );
    }
}

#[test]
fn the_auxiliary_chain_is_the_sub_directorys_files() {
    let node = node();
    let config = node.config(
        json!({"clusterNetwork": "DIR/net.d/10-calico.conflist", "auxiliaryCNIChainName": "aux"}),
    );
    let network =
        auxiliary_chain(config.auxiliary_chain.as_ref().unwrap(), &config).unwrap().unwrap();
    assert_eq!((network.name.as_str(), network.plugins[0].kind.as_str()), ("aux", "vendor"));
    let absent = "absent".parse().unwrap();
    assert_eq!(auxiliary_chain(&absent, &config).unwrap(), None);
}
