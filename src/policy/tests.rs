use crate::config::Config;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::definition::{Annotations, Source, Viewer};
use cni::netconf::{Missing, NetworkConfig};

/// A case as data: what a test changes stands in it, the rest is a harmless pod of team-a.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) config: Value,
    pub(super) owner: &'static str,
    pub(super) element: Value,
    pub(super) definition: Value,
    pub(super) annotations: Value,
    pub(super) kind: DefinitionKind,
    pub(super) path: Path,
    pub(super) account: Account,
    pub(super) host: Vec<HostRoute>,
}

impl Scene {
    pub(super) fn new(config: Value) -> Self {
        Self {
            config,
            owner: "team-a",
            element: json!({}),
            definition: json!({"name": "team-a.blue", "type": "ptp"}),
            annotations: json!({}),
            kind: DefinitionKind::Object,
            path: Path::Networks,
            account: Account::Unknown("not asked".to_owned()),
            host: Vec::new(),
        }
    }

    pub(super) fn of(mut self, owner: &'static str) -> Self {
        self.owner = owner;
        self
    }

    pub(super) fn asks(mut self, element: Value) -> Self {
        self.element = element;
        self
    }

    pub(super) fn annotated(mut self, annotations: Value) -> Self {
        self.annotations = annotations;
        self
    }

    pub(super) fn kind(mut self, kind: DefinitionKind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn defined(mut self, definition: Value) -> Self {
        self.definition = definition;
        self
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict_with(Ok(&self.host))
    }

    /// The refusal on a host of which this is known.
    pub(super) fn refusal_with(&self, host: HostRoutes<'_>) -> String {
        self.verdict_with(host).refusal.map(|refusal| refusal.to_string()).unwrap_or_default()
    }

    fn verdict_with(&self, host: HostRoutes<'_>) -> Verdict {
        let mut value = json!({"cniVersion": "1.0.0", "name": "n"});
        extend(&mut value, &self.config);
        let config = Config::parse(value.to_string().as_bytes()).unwrap();
        let mut element = json!({"name": "blue", "namespace": self.owner});
        extend(&mut element, &self.element);
        let namespace = "team-a".parse().unwrap();
        let text = json!([element]).to_string();
        let selection =
            crate::selection::parse(&text, &namespace, Default::default()).unwrap().remove(0);
        let annotations: Annotations = serde_json::from_value(self.annotations.clone()).unwrap();
        let text = self.definition.to_string();
        let definition = Definition {
            source: Source::File(PathBuf::from("/x")),
            kind: self.kind,
            annotations,
            bytes: text.len(),
            network: NetworkConfig::parse(
                &text,
                &Missing { name: Some("blue"), ..Missing::default() },
            )
            .unwrap(),
        };
        let view = View { tenancy: &config.tenancy, namespace: &namespace, path: self.path };
        let account = &self.account;
        judge(&Case { view, account, selection: &selection, definition: &definition, host })
    }

    /// The refusal; empty if there is none.
    pub(super) fn refusal(&self) -> String {
        self.verdict().refusal.map(|refusal| refusal.to_string()).unwrap_or_default()
    }
}

fn extend(value: &mut Value, more: &Value) {
    value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
}

#[test]
fn isolation_is_on_unless_it_is_turned_off() {
    let table = [
        ("team-a", Path::Networks, json!({}), true),
        ("team-b", Path::Networks, json!({}), false),
        ("default", Path::Networks, json!({}), true),
        ("default", Path::Networks, json!({"globalNamespaces": "ops"}), false),
        ("ops", Path::Networks, json!({"globalNamespaces": ["ops"]}), true),
        ("team-b", Path::Networks, json!({"namespaceIsolation": false}), true),
        ("kube-system", Path::Networks, json!({}), false),
        ("kube-system", Path::DefaultNetwork, json!({}), true),
        ("team-b", Path::DefaultNetwork, json!({}), false),
        ("infra", Path::DefaultNetwork, json!({"multusNamespace": "infra"}), true),
    ];
    for (owner, path, config, expected) in table {
        let scene = Scene { path, ..Scene::new(config.clone()).of(owner) };
        assert_eq!(scene.refusal().is_empty(), expected, "{owner} {path:?} {config}");
    }
}

#[test]
fn an_owner_shares_with_the_namespaces_it_names() {
    let shared = |list: &str| {
        let scene =
            Scene::new(json!({})).of("team-b").annotated(json!({NAMESPACES_ANNOTATION: list}));
        scene.refusal()
    };
    for list in ["team-a", "team-c,team-a", "team-c\n team-a", "*"] {
        assert_eq!(shared(list), "", "{list}");
    }
    for list in ["", "team-ab", "team-*", "Team-A", "[\"team-a\"]"] {
        assert_eq!(
            shared(list),
            "network \"team-b/blue\" is not shared with namespace team-a: its owner can add \
             braid.io/allowed-namespaces: team-a",
            "{list}"
        );
    }
}

#[test]
fn service_accounts_narrow_further_in_every_namespace() {
    let scene = |owner, list: &str, account: &str| Scene {
        account: Account::Known(account.to_owned()),
        ..Scene::new(json!({"namespaceIsolation": false}))
            .of(owner)
            .annotated(json!({ACCOUNTS_ANNOTATION: list}))
    };
    let table = [
        ("team-b", "team-a/builder", "builder", true),
        ("team-b", "team-a/*", "builder", true),
        ("team-b", "builder", "builder", false),
        ("team-a", "builder", "builder", true),
        ("team-a", "*", "builder", false),
        ("team-a", "", "builder", false),
        ("team-b", "team-b/builder", "builder", false),
        ("team-a", "builder", "default", false),
    ];
    for (owner, list, account, expected) in table {
        assert_eq!(
            scene(owner, list, account).refusal().is_empty(),
            expected,
            "{owner} {list} {account}"
        );
    }
    let unknown =
        Scene { account: Account::Unknown("silence".to_owned()), ..scene("team-a", "builder", "") };
    assert!(
        unknown.refusal().ends_with("the pod's cannot be learnt: silence"),
        "{}",
        unknown.refusal()
    );
}

#[test]
fn what_may_be_asked_is_the_owners_word_before_the_nodes() {
    let ports = json!({"portMappings": [{"hostPort": 80, "containerPort": 80}]});
    let ips = json!({"ips": ["10.1.0.9/24"]});
    let hidden = json!({"cni-args": {"IPS": ["10.1.0.9/24"]}});
    let (none, policy) = (json!({}), json!({"policy": {"allowedSubnets": ["10.1.0.0/16"]}}));
    let no_ips = json!({"policy": {"allowedSubnets": ["10.1.0.0/16"], "allowedRequests": ["mac"]}});
    let owner = |list: &str| json!({REQUESTS_ANNOTATION: list});
    let table = [
        (&none, json!({}), &ports, ""),
        (&policy, json!({}), &ports, "\"portMappings\" from pods: its owner"),
        (&policy, owner("portMappings"), &ports, ""),
        (&none, owner("ips"), &ports, "\"portMappings\""),
        (&policy, json!({}), &ips, ""),
        (
            &no_ips,
            json!({}),
            &ips,
            "\"ips\" from pods: its owner can add it to braid.io/allowed-requests, or the",
        ),
        (&no_ips, owner("ips"), &ips, ""),
        (&none, owner("cni-args"), &hidden, "\"ips\""),
        (&policy, owner("cni-args ips"), &hidden, ""),
        (&none, json!({IPS_ANNOTATION: "10.1.0.0/24"}), &hidden, ""),
        (&none, json!({IPS_ANNOTATION: "10.2.0.0/24"}), &hidden, "braid.io/allowed-ips"),
        (&none, json!({IPS_ANNOTATION: ""}), &ips, "braid.io/allowed-ips"),
    ];
    for (config, annotations, element, expected) in table {
        let refusal = Scene::new(config.clone())
            .annotated(annotations.clone())
            .asks(element.clone())
            .refusal();
        let fits =
            if expected.is_empty() { refusal.is_empty() } else { refusal.contains(expected) };
        assert!(fits, "{config} {annotations} {element}: {refusal}");
    }
}

#[test]
fn a_tenants_network_gives_no_address_outside_its_subnets() {
    let config = json!({"policy": {"allowedSubnets": ["10.20.0.0/16"]}});
    let asks = |address: &str| Scene::new(config.clone()).asks(json!({"ips": [address]})).refusal();
    assert_eq!(asks("10.20.0.9/24"), "");
    for address in ["10.96.0.1", "10.20.0.9/8", "fd00::1"] {
        assert!(asks(address).contains("policy.allowedSubnets"), "{address}: {}", asks(address));
    }
}

#[test]
fn the_primary_is_the_administrators_to_give() {
    let scene = |policy: Value| Scene {
        path: Path::DefaultNetwork,
        ..Scene::new(json!({"policy": policy})).of("kube-system")
    };
    let rule = |pods: &str, name: &str| json!({"primaryOverride": [{"podNamespaces": [pods], "definitions": [name]}]});
    assert!(scene(json!({})).refusal().contains("policy.primaryOverride"));
    assert_eq!(scene(rule("team-a", "kube-system/blue")).refusal(), "");
    assert_eq!(scene(rule("*", "kube-system/blue")).refusal(), "");
    assert!(scene(rule("team-b", "kube-system/blue")).refusal().contains("primaryOverride"));
    assert!(scene(rule("team-a", "kube-system/red")).refusal().contains("primaryOverride"));
    let foreign = scene(rule("team-a", "team-b/blue")).of("team-b");
    assert!(foreign.refusal().contains("is not shared"), "isolation holds all the same");
}

#[test]
fn a_network_of_the_node_is_for_whom_the_policy_names() {
    let scene =
        |policy: Value, kind, owner| Scene::new(json!({"policy": policy})).of(owner).kind(kind);
    let shared = |namespaces: Value| json!({"sharedNodeNetworks": {"blue": namespaces}});
    let (file, empty) = (DefinitionKind::NodeNetwork, DefinitionKind::EmptyObject);
    let table = [
        (scene(json!({}), file, "team-a"), false),
        (scene(shared(json!(["team-a"])), file, "team-a"), true),
        (scene(shared(json!(["*"])), file, "team-a"), true),
        (scene(shared(json!(["team-b"])), file, "team-a"), false),
        (scene(shared(json!(["team-b"])), empty, "team-a"), false),
        (scene(shared(json!(["team-a"])), empty, "team-a"), true),
        (scene(json!({}), empty, "team-a"), false),
        (scene(json!({}), DefinitionKind::Manifest, "team-a"), true),
        (scene(shared(json!(["default"])), empty, "default"), false),
        (scene(json!({"trustedNamespaces": ["default"]}), empty, "default"), true),
    ];
    for (scene, expected) in table {
        assert_eq!(scene.refusal().is_empty(), expected, "{scene:?}: {}", scene.refusal());
    }
    let handed_on = scene(shared(json!(["team-b"])), empty, "team-b")
        .annotated(json!({NAMESPACES_ANNOTATION: "*"}));
    assert!(handed_on.refusal().contains("sharedNodeNetworks"), "it is not handed on");
    assert_eq!(Scene::new(json!({})).kind(file).refusal(), "", "without a policy, as in Multus");
}

#[test]
fn an_unclear_policy_refuses_everything() {
    let scene = Scene::new(json!({"policy": {"mod": "audit"}}));
    assert!(
        scene.refusal().contains("unknown key \"mod\": did you mean \"mode\"?"),
        "{}",
        scene.refusal()
    );
}

#[test]
fn audit_says_what_would_be_refused() {
    let scene =
        Scene::new(json!({"policy": {"mode": "audit"}})).defined(json!({"type": "host-device"}));
    let verdict = scene.verdict();
    assert_eq!((verdict.refusal, verdict.would_refuse.len()), (None, 1));
    let foreign = Scene::new(json!({"policy": {"mode": "audit"}})).of("team-b");
    assert!(foreign.refusal().contains("is not shared"), "audit does not turn isolation off");
}

#[test]
fn a_pod_does_not_hear_of_what_is_not_shared_with_it() {
    let config = Config::parse(br#"{"name": "n", "policy": {}}"#).unwrap();
    let namespace = "team-a".parse().unwrap();
    let view = View { tenancy: &config.tenancy, namespace: &namespace, path: Path::Networks };
    assert!(!view.sees(&"team-b".parse().unwrap(), &Annotations::new()));
    assert!(!view.sees_node_network(
        &namespace,
        &"blue".parse().unwrap(),
        DefinitionKind::NodeNetwork
    ));
}

/// What a policy may grant, one thing each: a key, and what stands under it.
const GRANTS: [(&str, &str, &str); 14] = [
    ("allowedHostInterfaces", "br-b*", r#"["team-a", "team-b"]"#),
    ("allowedHostInterfaces", "*", r#""*""#),
    ("allowedSubnets", "10.20.0.0/16", r#""*""#),
    ("allowedSubnets", "::/0", r#"["team-a"]"#),
    ("allowedVlans", "1-4094", r#"["team-b"]"#),
    ("allowedPlugins", "host-device", r#"["device"]"#),
    ("sharedNodeNetworks", "blue", r#"["team-a"]"#),
    ("sharedNodeNetworks", "blue", r#""*""#),
    ("trustedNamespaces", "kube-system", ""),
    ("trustedNamespaces", "team-b", ""),
    ("allowedRequests", "ips", ""),
    ("allowedRequests", "mac", ""),
    ("primaryOverride", "kube-system/blue", "team-a"),
    ("primaryOverride", "weave", "*"),
];

/// The policy with those of the grants that `mask` has; whatever is not granted is refused in
/// words.
fn granting(mask: u16) -> Value {
    let granted = || {
        GRANTS.iter().enumerate().filter(move |(at, _)| mask & 1 << at != 0).map(|(_, grant)| grant)
    };
    let of = |key: &'static str| granted().filter(move |(name, _, _)| *name == key);
    let mut policy = json!({"allowedPlugins": {"bandwidth": false}});
    for key in [
        "allowedHostInterfaces",
        "allowedSubnets",
        "allowedVlans",
        "allowedPlugins",
        "sharedNodeNetworks",
    ] {
        for (_, name, value) in of(key) {
            policy[key][*name] = serde_json::from_str(value).unwrap();
        }
    }
    for key in ["trustedNamespaces", "allowedRequests"] {
        policy[key] = of(key).map(|(_, name, _)| json!(name)).collect();
    }
    policy["primaryOverride"] = of("primaryOverride")
        .map(|(_, name, pods)| json!({"podNamespaces": pods, "definitions": name}))
        .collect();
    policy
}

/// Annotations with which an owner narrows what its definition is for.
fn narrowing() -> impl Strategy<Value = Map<String, Value>> {
    let annotation = prop_oneof![
        Just((IPS_ANNOTATION, "10.20.0.0/24")),
        Just((IPS_ANNOTATION, "")),
        Just((MACS_ANNOTATION, "02:00")),
        Just((MACS_ANNOTATION, "06")),
        Just((ACCOUNTS_ANNOTATION, "team-a/builder")),
        Just((ACCOUNTS_ANNOTATION, "team-b/*")),
    ];
    proptest::collection::vec(annotation, 1..4).prop_map(|list| {
        list.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    })
}

/// One rule more, as a key of the policy that takes something away.
fn rules() -> impl Strategy<Value = Map<String, Value>> {
    let rule = prop_oneof![
        Just(("allowedRequests", json!([]))),
        Just(("allowedRequests", json!(["ips"]))),
        Just(("allowedPlugins", json!({"ptp": false}))),
        Just(("allowedPlugins", json!({"bridge": ["bridge"]}))),
        Just(("trustedNamespaces", json!([]))),
    ];
    proptest::collection::vec(rule, 0..4)
        .prop_map(|rules| rules.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn scenes() -> impl Strategy<Value = Scene> {
    let owners = prop_oneof![Just("team-a"), Just("team-b"), Just("default"), Just("kube-system")];
    let elements = prop_oneof![
        Just(json!({})),
        Just(json!({"ips": ["10.20.0.9/24"]})),
        Just(json!({"mac": "02:00:00:00:00:01"})),
        Just(json!({"cni-args": {"mac": "02:00:00:00:00:01"}})),
        Just(json!({"portMappings": [{"hostPort": 80, "containerPort": 80}]})),
        Just(json!({"deviceID": "0000:04:00.5"})),
    ];
    let definitions = prop_oneof![
        Just(json!({"name": "team-a.blue", "type": "ptp"})),
        Just(json!({"name": "team-b.blue", "type": "bridge", "bridge": "br-b"})),
        Just(json!({"name": "team-b.blue", "type": "bridge", "bridge": "br-b", "vlan": 7})),
        Just(json!({"type": "host-device", "device": "eth0"})),
    ];
    let annotations = prop_oneof![
        Just(json!({})),
        Just(json!({NAMESPACES_ANNOTATION: "*"})),
        Just(json!({REQUESTS_ANNOTATION: "ips, portMappings"})),
        Just(json!({MACS_ANNOTATION: "02:00"})),
        Just(json!({NAMESPACES_ANNOTATION: "team-a", ACCOUNTS_ANNOTATION: "team-a/x"})),
    ];
    let kinds = prop_oneof![
        Just(DefinitionKind::NodeNetwork),
        Just(DefinitionKind::Manifest),
        Just(DefinitionKind::EmptyObject),
        Just(DefinitionKind::Object)
    ];
    let paths = prop_oneof![Just(Path::Networks), Just(Path::DefaultNetwork)];
    (owners, elements, definitions, annotations, kinds, paths).prop_map(
        |(owner, element, definition, annotations, kind, path)| Scene {
            element,
            definition,
            annotations,
            path,
            ..Scene::new(json!({})).of(owner).kind(kind)
        },
    )
}

/// A policy that grants much, so that there is something to take away.
fn generous() -> Map<String, Value> {
    let policy = json!({
        "allowedHostInterfaces": ["*"], "allowedSubnets": ["0.0.0.0/0", "::/0"],
        "sharedNodeNetworks": {"blue": "*"},
        "primaryOverride": [{"podNamespaces": "*", "definitions": ["kube-system/blue", "team-a/blue"]}],
    });
    policy.as_object().cloned().unwrap()
}

proptest! {
    /// What a policy refuses, the same policy with more rules refuses too; and what is refused
    /// without one is refused with one.
    #[test]
    fn a_policy_only_gets_stricter(scene in scenes(), rules in rules(), generous_one: bool) {
        let base = if generous_one { generous() } else { Map::new() };
        let with = |config: Value| Scene { config, ..scene.clone() }.verdict().refusal.is_some();
        let mut more = base.clone();
        more.extend(rules);
        let (none, some, all) = (with(json!({})), with(json!({"policy": base})), with(json!({"policy": more})));
        prop_assert!(!none || some, "a policy lets in what isolation keeps out");
        prop_assert!(!some || all, "a rule lets in what the policy keeps out");
    }

    /// With one grant less, nothing is let in that was kept out before; and what isolation keeps
    /// out, no grant lets in.
    #[test]
    fn a_policy_that_grants_less_lets_in_less(scene in scenes(), grants: u16, taken: u16) {
        let with = |config: Value| Scene { config, ..scene.clone() }.verdict().refusal.is_some();
        let more = with(json!({"policy": granting(grants)}));
        let less = with(json!({"policy": granting(grants & !taken)}));
        prop_assert!(!more || less, "{} lets in what {} keeps out", granting(grants & !taken), granting(grants));
        prop_assert!(!with(json!({})) || more, "a policy lets in what isolation keeps out");
    }

    /// An owner's further limits let nothing in.
    #[test]
    fn an_owner_who_narrows_lets_in_less(scene in scenes(), grants: u16, more in narrowing(), known: bool) {
        let account = if known { Account::Known("builder".to_owned()) } else { scene.account.clone() };
        let mut before = scene.annotations.clone();
        // Not in place of a limit that is there already, which may be the narrower one.
        before.as_object_mut().unwrap().retain(|key, _| !more.contains_key(key));
        let mut after = before.clone();
        extend(&mut after, &Value::Object(more));
        for config in [json!({}), json!({"policy": granting(grants)})] {
            let with = |annotations: &Value| Scene {
                config: config.clone(), annotations: annotations.clone(), account: account.clone(), ..scene.clone()
            };
            if config.get("policy").is_some() && after.get(IPS_ANNOTATION).is_some() {
                // Under a policy it grants addresses, too.
                continue;
            }
            let (wide, narrow) = (with(&before).verdict(), with(&after).verdict());
            prop_assert!(wide.refusal.is_none() || narrow.refusal.is_some(), "{after} lets in what {before} keeps out");
        }
    }

    /// Every allowed pod is told by which rules, and no refused one is.
    #[test]
    fn a_verdict_says_why(scene in scenes(), grants: u16) {
        let verdict = Scene { config: json!({"policy": granting(grants)}), ..scene.clone() }.verdict();
        prop_assert_eq!(verdict.refusal.is_none(), !verdict.granted_by.is_empty());
        prop_assert!(verdict.would_refuse.is_empty());
    }

    /// CNI-Genie's annotation, under the same three laws.
    #[test]
    fn a_choice_is_judged_as_a_primary_is(grants: u16, taken: u16, found in proptest::option::of("weave|blue|kube-system")) {
        let network = found.map(|name| name.parse().unwrap());
        let judged = |config: Value| {
            let mut value = json!({"name": "n"});
            extend(&mut value, &config);
            let config = Config::parse(value.to_string().as_bytes()).unwrap();
            let namespace = "team-a".parse().unwrap();
            let view = View { tenancy: &config.tenancy, namespace: &namespace, path: Path::Genie };
            judge_choice(&view, &"calico".parse().unwrap(), network.as_ref())
        };
        let (more, less) = (granting(grants), granting(grants & !taken));
        let refused = judged(json!({"policy": more})).refusal;
        let without = judged(json!({"policy": less})).refusal;
        prop_assert!(refused.is_none() || without.is_some());
        prop_assert_eq!(judged(json!({})).refusal, None);
        let mut audit = more;
        audit["mode"] = json!("audit");
        let audit = judged(json!({"policy": audit}));
        prop_assert_eq!(audit.refusal, None);
        prop_assert_eq!(audit.would_refuse.first().cloned(), refused);
    }

    /// A pod that is allowed is allowed in audit mode, and one that isolation refuses stays
    /// refused.
    #[test]
    fn audit_never_changes_the_outcome_of_an_allowed_pod(scene in scenes(), rules in rules()) {
        let with = |mode: Option<&str>| {
            let mut policy = generous();
            policy.extend(rules.clone());
            policy.insert("mode".to_owned(), json!(mode.unwrap_or("enforce")));
            let config = if mode.is_some() { json!({"policy": policy}) } else { json!({}) };
            Scene { config, ..scene.clone() }.verdict()
        };
        let (none, audit, enforced) = (with(None), with(Some("audit")), with(Some("enforce")));
        prop_assert_eq!(none.refusal, audit.refusal.clone());
        let first = audit.refusal.clone().or_else(|| audit.would_refuse.first().cloned());
        prop_assert_eq!(first, enforced.refusal);
    }
}
