use std::path::Path;

use super::value::parse_duration;
use super::*;
use serde_json::json;

fn parse(more: Value) -> Result<Config, ConfigError> {
    let mut value = json!({"cniVersion": "1.1.0", "name": "node", "type": "braid"});
    value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    Config::parse(value.to_string().as_bytes())
}

#[test]
fn nothing_configured_is_chained_with_safe_defaults() {
    let config = parse(json!({})).unwrap();
    assert!(!config.is_delegating() && config.tenancy.isolation && config.retry_delete);
    assert_eq!(config.conf_dirs, [PathBuf::from(DEFAULT_CONF_DIR), PathBuf::from(MULTUS_CONF_DIR)]);
    assert_eq!(
        (config.tenancy.global_namespaces, config.warnings),
        (vec!["default".to_owned()], vec![])
    );
}

#[test]
fn a_primary_makes_it_delegating() {
    let table = [
        (json!({"clusterNetwork": "auto"}), PrimarySource::Auto),
        (
            json!({"clusterNetwork": "/etc/cni/x.conf"}),
            PrimarySource::Path("/etc/cni/x.conf".into()),
        ),
        (json!({"CLUSTERNETWORK": "calico"}), PrimarySource::Named("calico".into())),
        (
            json!({"delegates": [{"type": "a"}, {"type": "b"}]}),
            PrimarySource::Inline(json!({"type": "a"})),
        ),
    ];
    for (more, expected) in table {
        assert_eq!(parse(more).unwrap().primary, Some(expected));
    }
}

#[test]
fn cluster_network_wins_over_delegates_and_says_so() {
    let config = parse(json!({"clusterNetwork": "auto", "delegates": [{"type": "a"}]})).unwrap();
    assert!(config.inline_networks.is_empty());
    assert_eq!(config.warnings, ["\"delegates\" is ignored because \"clusterNetwork\" is set"]);
}

#[test]
fn lists_may_be_texts_with_commas() {
    let config =
        parse(json!({"globalNamespaces": "default, ops", "systemNamespaces": ["a"]})).unwrap();
    assert_eq!(config.tenancy.global_namespaces, ["default", "ops"]);
    assert_eq!(config.system_namespaces, ["a"]);
}

#[test]
fn unknown_keys_are_warnings_with_a_hint() {
    let config =
        parse(json!({"clusterNetwrk": "x", "daemonSocketDir": "/run", "org.example.note": 1}))
            .unwrap();
    assert_eq!(
        config.warnings,
        ["unknown key \"clusterNetwrk\" in braid's configuration: did you mean \
             \"clusterNetwork\"?"]
    );
}

#[test]
fn annotations_are_read_strictly_unless_the_administrator_says_otherwise() {
    let keys = |more| parse(more).unwrap().limits().unknown_keys;
    assert_eq!(keys(json!({})), UnknownKeys::Refuse);
    assert_eq!(keys(json!({"lenientAnnotations": false})), UnknownKeys::Refuse);
    assert_eq!(keys(json!({"lenientAnnotations": true})), UnknownKeys::Ignore);
}

#[test]
fn wrong_values_name_their_key() {
    let table = [
        (json!({"confDir": "relative"}), "confDir"),
        (json!({"namespaceIsolation": "yes"}), "namespaceIsolation"),
        (json!({"delegateTimeout": "soon"}), "delegateTimeout"),
        (json!({"delegateTimeout": 0}), "delegateTimeout"),
        (json!({"keepClusterRoutes": ["10.0.0.0/99"]}), "keepClusterRoutes"),
        (json!({"multusNamespace": "Not A Name"}), "multusNamespace"),
        (json!({"resultScope": "some"}), "resultScope"),
        (json!({"cni.dev/valid-attachments": [{"containerID": "x"}]}), "valid-attachments"),
        (json!({"runtimeConfig": []}), "runtimeConfig"),
        (json!({"auxiliaryCNIChainName": "not a name"}), "auxiliaryCNIChainName"),
        (json!({"logOptions": {"maxSize": "big"}}), "logOptions.maxSize"),
        (json!({"lenientAnnotations": "true"}), "lenientAnnotations"),
    ];
    for (more, key) in table {
        let error = parse(more).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn teardown_takes_what_it_needs_of_an_invalid_configuration() {
    let text = json!({
        "name": "node", "cniDir": "/state", "statusPolicy": "sometimes", "deleteGiveUp": "soon", "confDir": "x",
    });
    let config = Config::parse_for_teardown(text.to_string().as_bytes()).unwrap();
    assert_eq!(
        (config.state_dir.as_path(), config.delete_give_up),
        (Path::new("/state"), Duration::from_mins(15))
    );
    for key in ["statusPolicy", "deleteGiveUp", "confDir"] {
        let warned = config.warnings.iter().filter(|warning| warning.contains(key));
        assert_eq!(warned.count(), 1, "{key}");
        assert!(config.require(&["cniDir", key]).unwrap_err().to_string().contains(key));
    }
    config.require(&["cniDir", "clusterNetwork"]).unwrap();
    for needed in [r#"{"name": "n", "cniDir": "x"}"#, r#"{"name": "/"}"#, "{}", "[]"] {
        assert!(Config::parse_for_teardown(needed.as_bytes()).is_err(), "{needed}");
    }
}

#[test]
fn durations_have_units() {
    let table =
        [("90", 90_000), ("90s", 90_000), ("15m", 900_000), ("24h", 86_400_000), ("500ms", 500)];
    for (text, expected) in table {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(expected)), "{text}");
    }
    for text in ["", "s", "-1", "1d", "1.5s", "99999999999999999999", "18446744073709551615h"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn gc_needs_the_list_to_be_there() {
    assert_eq!(parse(json!({})).unwrap().from_runtime.valid_attachments, None);
    for none in [json!(null), json!([])] {
        let config = parse(json!({"cni.dev/valid-attachments": none})).unwrap();
        assert_eq!(config.from_runtime.valid_attachments, Some(Vec::new()));
    }
    let config =
        parse(json!({"cni.dev/valid-attachments": [{"containerID": "c", "ifname": "eth0"}]}))
            .unwrap();
    assert_eq!(
        config.from_runtime.valid_attachments,
        Some(vec![ValidAttachment { container: "c".to_owned(), interface: "eth0".to_owned() }])
    );
}

#[test]
fn an_unknown_log_level_is_a_warning() {
    let config = parse(json!({"logLevel": "loud"})).unwrap();
    assert_eq!(config.warnings.len(), 1);
}
