//! The page's reference tables, each row held against the program.

use crate::source;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use braid::internals::config::{self, Config};
use braid::internals::selection::{self, Limits};
use serde_json::{Map, Value, json};

use super::page::{Table, block, code, codes, says, section, table};
use super::{REPOSITORY, blocks};
use crate::call::NETWORKS;
use crate::node::{Node, text};

/// Braid's configuration with these keys on top of what it cannot do without.
fn parse(more: &Value) -> Config {
    let mut value = json!({"cniVersion": "1.0.0", "name": "node", "type": "braid"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Config::parse(value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{more}: {error}"))
}

fn one(key: &str, value: Value) -> Value {
    Value::Object([(key.to_owned(), value)].into_iter().collect())
}

fn json_of(cell: &str) -> Value {
    serde_json::from_str(cell).unwrap_or_else(|error| panic!("{cell}: {error}"))
}

/// Key, type, default, meaning, example.
fn configuration() -> Table {
    table("Configuration")
}

#[test]
fn every_key_is_documented_once() {
    let rows = configuration();
    let mut documented: Vec<&str> = rows.iter().map(|row| code(&row[0])).collect();
    let prose = section("Configuration");
    let line = |start: &str| *prose.iter().find(|line| line.starts_with(start)).unwrap();
    documented.extend(codes(line("The protocol's own keys")));
    let mut known = config::known_keys().collect::<Vec<_>>();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
    assert_eq!(
        codes(line("Keys of Multus's daemon")).collect::<Vec<_>>(),
        config::MULTUS_DAEMON_KEYS
    );
}

#[test]
fn every_key_of_a_policy_and_every_annotation_is_documented_once() {
    let first = |start: &str, title: &str| -> Vec<String> {
        let rows = table(title);
        rows.iter()
            .map(|row| code(&row[0]).to_owned())
            .filter(|cell| cell.starts_with(start))
            .collect()
    };
    assert_eq!(first("", "What a policy adds"), braid::internals::policy::KEYS);
    let annotations = [
        braid::internals::policy::NAMESPACES_ANNOTATION,
        braid::internals::policy::ACCOUNTS_ANNOTATION,
        braid::internals::policy::REQUESTS_ANNOTATION,
        braid::internals::policy::IPS_ANNOTATION,
        braid::internals::policy::MACS_ANNOTATION,
    ];
    assert_eq!(first("braid.io/", "What holds without a policy"), annotations);
}

/// Every example is of its key's type, is accepted without a warning, and changes something.
#[test]
fn every_example_of_the_configuration_counts() {
    for row in configuration() {
        let (key, example) = (code(&row[0]), json_of(code(&row[4])));
        assert!(is_of_type(&example, &row[1]), "{key}: {example} is no {}", row[1]);
        let config = parse(&one(key, example));
        assert_eq!(config.warnings, Vec::<String>::new(), "{key}");
        let changes = format!("{config:?}") != format!("{:?}", parse(&json!({})));
        assert!(changes, "{key}: the example says what is the default already");
    }
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "text" => value.is_string(),
        "path" => text(value).starts_with('/'),
        "boolean" => value.is_boolean(),
        "number" => value.is_u64(),
        "duration" => value.is_string() || value.is_u64(),
        "object" => value.is_object(),
        "list of objects" => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
        "list of names" | "list of networks" => value.is_array() || value.is_string(),
        // The words that the key may have.
        words => codes(words).any(|word| word == text(value)),
    }
}

/// To write a default down changes nothing.
#[test]
fn every_default_is_the_programs() {
    let defaults = format!("{:?}", parse(&json!({})));
    for row in configuration() {
        let (key, default) = (code(&row[0]), row[2].as_str());
        match key {
            _ if default == "none" => {}
            "confDir" => {
                let shown: Vec<Value> = codes(default).map(json_of).collect();
                assert_eq!(
                    json!(shown),
                    json!([config::DEFAULT_CONF_DIR, config::MULTUS_CONF_DIR])
                );
            }
            _ => {
                let written = parse(&one(key, json_of(code(default))));
                assert_eq!(format!("{written:?}"), defaults, "{key}");
            }
        }
    }
}

/// If the type is a choice of words, each of them is accepted, and no other.
#[test]
fn every_word_of_a_choice_is_accepted() {
    let mut choices = 0;
    for row in configuration() {
        let key = code(&row[0]);
        for word in codes(&row[1]) {
            assert_eq!(parse(&one(key, json!(word))).warnings, Vec::<String>::new(), "{key}");
            choices += 1;
        }
    }
    assert_eq!(choices, 15);
    for level in ["panic", "error", "warning", "verbose", "debug"] {
        assert!(parse(&json!({"logLevel": level})).warnings.is_empty(), "{level}");
    }
    for duration in [json!(5), json!("5"), json!("500ms"), json!("90s"), json!("15m"), json!("24h")]
    {
        parse(&json!({"delegateTimeout": duration}));
    }
}

/// The complete configurations of the page.
#[test]
fn every_configuration_is_accepted_without_a_warning() {
    for block in blocks("config") {
        let config = Config::parse(block.text.as_bytes());
        let config = config.unwrap_or_else(|error| panic!("{}: {error}", block.place));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", block.place);
    }
}

// What a tenant may write.

/// Key, example, effect.
fn element_keys() -> Vec<(String, Value)> {
    let rows = table("More than a name");
    rows.iter().map(|row| (code(&row[0]).to_owned(), json_of(code(&row[1])))).collect()
}

/// Every key that the parser knows has a row, and every row is known: an unknown key would be
/// refused.
#[test]
fn every_key_of_an_element_is_documented() {
    let mut documented: BTreeSet<String> = element_keys().into_iter().map(|(key, _)| key).collect();
    documented.insert("interfaceRequest".to_owned());
    assert!(says("`interfaceRequest` is Multus's older name"));
    let source =
        fs::read_to_string(Path::new(REPOSITORY).join("src/selection/json_form.rs")).unwrap();
    let list = source.split("const KEYS").nth(1).and_then(|rest| rest.split("];").next()).unwrap();
    let known: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(documented, known);
}

/// Each example goes through an ADD on a network that can do everything, and its plugin is told.
#[test]
fn every_example_of_an_element_reaches_the_plugin() {
    for (key, example) in element_keys() {
        let node = Node::new();
        node.recorder("able");
        let capabilities: Map<String, Value> =
            ["ips", "mac", "portMappings", "bandwidth", "infinibandGUID", "deviceID"]
                .map(|name| (name.to_owned(), json!(true)))
                .into_iter()
                .collect();
        let config = json!({
            "type": "able", "capabilities": capabilities, "link": key != "mac",
            "addresses": ["10.30.0.42/24", "fd00:30::42/64"],
        });
        for namespace in ["team-a", "default"] {
            node.define(namespace, "lan", config.clone());
        }
        let interface = if key == "interface" { "data0" } else { "net1" };
        if key == "mac" {
            node.script(
                "able",
                json!({"ADD": {"add_to_result": {"interfaces": [
                    {"name": "net1", "mac": example, "sandbox": "/run/netns/web"}
                ]}}}),
            );
        }
        let mut element = json!({"name": "lan"});
        element[&key] = example.clone();
        let pod = node.pod("team-a", "web");
        let primary = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
        pod.add(primary).networks_json(json!([element])).run().assert_success();
        let call = node.only_call("ADD", "able");
        assert_eq!(call.variable("CNI_IFNAME"), interface, "{key}");
        let told = match key.as_str() {
            "name" | "namespace" | "interface" => Value::Null,
            "default-route" => {
                assert_eq!(pod.default_routes(4), ["via 10.30.0.1 dev net1"]);
                assert_eq!(pod.default_routes(6), ["via fd00:30::1 dev net1"]);
                Value::Null
            }
            "cni-args" => call.stdin()["args"]["cni"].clone(),
            "ipam-claim-reference" => call.stdin()["args"]["cni"]["ipam-claim-reference"].clone(),
            "infiniband-guid" => call.stdin()["runtimeConfig"]["infinibandGUID"].clone(),
            "bandwidth" => {
                let mut told = call.stdin()["runtimeConfig"]["bandwidth"].clone();
                told.as_object_mut().unwrap().remove("egressBurst");
                told
            }
            capability => call.stdin()["runtimeConfig"][capability].clone(),
        };
        assert!(told.is_null() || told == example, "{key}: {told}");
        assert_eq!(
            told.is_null(),
            ["name", "namespace", "interface", "default-route"].contains(&key.as_str()),
            "{key}"
        );
    }
}

/// Every annotation that the program reads or writes has a row, and no other.
#[test]
fn every_annotation_is_in_the_readme() {
    let documented: BTreeSet<String> =
        table("The annotations").iter().map(|row| code(&row[0]).to_owned()).collect();
    let source = source::text();
    let domains = ["k8s.v1.cni.cncf.io/", "v1.multus-cni.io/", "braid.io/"];
    let quoted = source.split('"').filter(|text| {
        let name = domains.iter().find_map(|domain| text.strip_prefix(domain));
        name.is_some_and(|name| {
            // A pool's, to which a name is added, are on the page of addresses.
            !name.is_empty()
                && !name.ends_with('-')
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_uppercase())
        })
    });
    let mut known: BTreeSet<String> = quoted.map(str::to_owned).collect();
    // CNI-Genie's.
    assert!(source.contains(r#"= "cni";"#));
    known.insert("cni".to_owned());
    assert_eq!(documented, known);
}

/// Annotations of the pages' pods, both forms.
#[test]
fn every_annotation_parses() {
    for block in blocks("pod") {
        for pod in block.yaml() {
            let annotations = pod["metadata"]["annotations"].as_object().unwrap();
            for annotation in annotations.values() {
                let namespace = text(&pod["metadata"]["namespace"]).parse().unwrap();
                let parsed = selection::parse(text(annotation), &namespace, Limits::default());
                assert!(!parsed.unwrap().is_empty(), "{}", block.place);
            }
        }
    }
    assert!(block("pod", "short").text.contains(NETWORKS));
}

// Codes and limits.

/// Every code of the program that some path of it uses is in the table, and no other.
#[test]
fn every_code_is_documented() {
    let documented: BTreeSet<u64> =
        table("Codes").iter().map(|row| row[0].parse().unwrap()).collect();
    let source = source::text();
    let constants = source.split("pub const ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(": Self = Self(")?;
        Some((name.to_owned(), rest.split(')').next()?.parse::<u64>().ok()?))
    });
    let used = |name: &str| {
        source.contains(&format!("Code::{name}")) || source.contains(&format!("=> {name},"))
    };
    let mut expected: BTreeSet<u64> =
        constants.filter(|(name, _)| used(name)).map(|(_, code)| code).collect();
    // The primary's own word, handed on by STATUS.
    assert!(source.contains("error.code == Code(51)"));
    expected.insert(51);
    assert_eq!(documented, expected);
}

/// The numbers of the limits are those of the program's constants.
#[test]
fn every_limit_is_the_programs() {
    let source = source::text();
    let constants: [(&str, &[(&str, &str)]); 16] = [
        ("bytes of an annotation", &[("MAX_ANNOTATION_BYTES: usize = 64 * 1024", "65536")]),
        ("networks of one pod", &[("max_networks: 16", "16"), ("networks: 16", "maxNetworks")]),
        (
            "bytes of configuration of a pod's networks together",
            &[("const MAX_BYTES: usize = 4 << 20", "4 MiB")],
        ),
        ("bytes of a record, results included", &[("MAX_RECORD_BYTES: u64 = 8 << 20", "8 MiB")]),
        (
            "last-known-good copies of one namespace's definitions",
            &[("OF_NAMESPACE: Bound = Bound { copies: 64, bytes: 2 << 20 }", "64, and 2 MiB")],
        ),
        (
            "last-known-good copies altogether",
            &[("OF_ALL: Bound = Bound { copies: 512, bytes: 16 << 20 }", "512, and 16 MiB")],
        ),
        ("addresses in `ips`", &[("MAX_IPS: usize = 32", "32")]),
        ("gateways in `default-route`", &[("MAX_GATEWAYS: usize = 8", "8")]),
        ("entries of `portMappings`", &[("MAX_PORT_MAPPINGS: usize = 128", "128")]),
        (
            "members of `cni-args`, levels of nesting",
            &[("MAX_CNI_ARGS: usize = 256", "256"), ("MAX_CNI_ARGS_DEPTH: usize = 32", "32")],
        ),
        ("characters of an interface name", &[("MAX_INTERFACE: usize = 15", "15")]),
        ("plugins of one chain", &[("MAX_PLUGINS: usize = 32", "32")]),
        ("size of a configuration file or manifest", &[("MAX_FILE_BYTES: u64 = 1 << 20", "1 MiB")]),
        ("files of a definitions directory", &[("MAX_FILES: usize = 4096", "4096")]),
        ("size of a plugin's output", &[("MAX_OUTPUT_BYTES: usize = 1 << 20", "1 MiB")]),
        (
            "interfaces, addresses, routes of a result",
            &[
                ("MOST_INTERFACES: usize = 256", "256"),
                ("MOST_IPS: usize = 1024", "1024"),
                ("MOST_ROUTES: usize = 4096", "4096"),
            ],
        ),
    ];
    let rows = table("Limits");
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, constants.map(|(name, _)| name));
    for (row, (name, limits)) in rows.iter().zip(constants) {
        for (constant, shown) in limits {
            assert!(source.contains(constant), "{name}: {constant} is not in the source");
            assert!(row[1].contains(shown), "{name}: {shown}");
        }
    }
    for seconds in [
        "ADD: Duration = Duration::from_secs(150)",
        "UNDO: Duration = Duration::from_secs(50)",
        "DEL: Duration = Duration::from_secs(50)",
        "OTHER: Duration = Duration::from_secs(50)",
        "STATUS: Duration = Duration::from_secs(10)",
    ] {
        assert!(source.contains(seconds), "{seconds}");
    }
    assert!(says(
        "ADD ends within 200 s with its undoing, DEL, CHECK and GC within 50 s, STATUS within 10 s"
    ));
}

// What is left for those who watch.

/// The page's event is one that a call leaves, but for times, and the metrics are those of the
/// file.
#[test]
fn what_a_call_leaves_is_as_shown() {
    let node = Node::new();
    node.recorders(["bridge", "macvlan"]);
    node.define("team-a", "blue", json!({"type": "macvlan"}));
    node.script("macvlan", json!({"ADD": {"error": {"code": 42, "msg": "no such master"}}}));
    let primary = json!({"cniVersion": "1.0.0", "name": "cluster", "type": "bridge", "addresses": ["10.1.0.2/24"]});
    let (events, metrics) = (node.path("events.log"), node.path("braid.prom"));
    let config = json!({"delegates": [primary], "eventLog": events, "metricsFile": metrics});
    node.pod("team-a", "web")
        .add(config)
        .networks("blue")
        .run()
        .assert_error(42, ["no such master"]);
    let left: Value = serde_json::from_str(&fs::read_to_string(events).unwrap()).unwrap();
    assert_eq!(without_times(left), without_times(block("event", "").json()));

    let written = fs::read_to_string(metrics).unwrap();
    let types = written.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let rows = table("Watching a node");
    let documented = rows.iter().map(|row| (code(&row[0]), row[1].as_str()));
    assert_eq!(documented.collect::<Vec<_>>(), types.collect::<Vec<_>>());
}

fn without_times(mut event: Value) -> Value {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for key in ["time", "ms", "container"] {
                    object.entry(key).and_modify(|value| *value = Value::Null);
                }
                object.values_mut().for_each(clear);
            }
            Value::Array(list) => list.iter_mut().for_each(clear),
            _ => {}
        }
    }
    clear(&mut event);
    event
}
