use super::*;
use crate::delegate::DelegateError;
use crate::selection::{self, Limits};
use cni::netconf::Missing;
use cni::netconf::PluginType;
use cni::request::ContainerId;
use cni::version::Version;
use serde_json::{Value, json};
use std::path::Path;

fn network(value: &Value) -> NetworkConfig {
    NetworkConfig::parse(
        &value.to_string(),
        &Missing { name: Some("blue"), version: Version::V1_0_0 },
    )
    .unwrap()
}

fn node_network(value: &Value) -> NodeNetwork {
    NodeNetwork::new(network(value), None)
}

/// One element of the annotation, of a network with this configuration.
fn selected(element: Value, configuration: &Value) -> SelectedNetwork {
    let mut object = json!({"name": "blue"});
    object.as_object_mut().unwrap().extend(element.as_object().cloned().unwrap());
    let annotation = json!([object]).to_string();
    let namespace = "team-a".parse().unwrap();
    let selection = selection::parse(&annotation, &namespace, Limits::default()).unwrap().remove(0);
    let (network, resource) = (network(configuration), None);
    SelectedNetwork { selection, network, resource, granted_networks: None, other_name: None }
}

/// What a plan is made from, to be changed and then made.
struct Case {
    config: Value,
    args: &'static str,
    primary: Option<PrimaryNetwork>,
    node: Vec<NodeNetwork>,
    pod: Vec<SelectedNetwork>,
    links: Vec<&'static str>,
}

impl Case {
    fn new() -> Self {
        Self {
            config: json!({}),
            args: "IgnoreUnknown=1;K8S_POD_NAME=web",
            primary: None,
            node: Vec::new(),
            pod: Vec::new(),
            links: vec!["lo"],
        }
    }

    fn pod(element: Value, configuration: &Value) -> Self {
        Self { pod: vec![selected(element, configuration)], ..Self::new() }
    }

    fn make(self) -> Result<Plan, String> {
        let mut config = json!({"cniVersion": "1.0.0", "name": "node"});
        config.as_object_mut().unwrap().extend(self.config.as_object().cloned().unwrap());
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let sandbox = Sandbox {
            container: "c1".parse::<ContainerId>().unwrap(),
            netns: "/run/netns/x".to_owned(),
            interface: "eth0".parse().unwrap(),
            args: self.args.into(),
        };
        make(Inputs {
            config: &config,
            sandbox: &sandbox,
            primary: self.primary,
            node_networks: self.node,
            selected: self.pod,
            links: self.links.into_iter().map(str::to_owned).collect(),
        })
        .map_err(|error| error.to_string())
    }

    /// The one attachment of the plan.
    fn only(self) -> Attachment {
        let mut attachments = self.make().unwrap().attachments;
        assert_eq!(attachments.len(), 1);
        attachments.remove(0)
    }
}

fn plain() -> Value {
    json!({"type": "bridge"})
}

fn declaring(capability: &str) -> Value {
    json!({"type": "bridge", "capabilities": {capability: true}})
}

fn interfaces(plan: &Plan) -> Vec<&str> {
    plan.attachments.iter().map(|attachment| attachment.interface.as_str()).collect()
}

#[test]
fn networks_are_named_by_their_position() {
    let mut case = Case::new();
    case.node = vec![node_network(&plain())];
    case.pod =
        vec![selected(json!({}), &plain()), selected(json!({"interface": "data0"}), &plain())];
    case.pod.push(selected(json!({}), &plain()));
    assert_eq!(interfaces(&case.make().unwrap()), ["net1", "net2", "data0", "net4"]);
}

#[test]
fn automatic_names_pass_over_those_asked_for_and_those_there() {
    let element = |name: &str| selected(json!({"interface": name}), &plain());
    let any = || selected(json!({}), &plain());
    let table = [
        (vec![any(), element("net1")], vec!["lo"], vec!["net2", "net1"]),
        (vec![any(), any()], vec!["lo", "net1"], vec!["net2", "net3"]),
        (vec![any(), element("net3"), any()], vec!["net1"], vec!["net2", "net3", "net4"]),
        (vec![any(), any(), any()], vec!["net2"], vec!["net1", "net3", "net4"]),
    ];
    for (pod, links, expected) in table {
        let case = Case { pod, links: links.clone(), ..Case::new() };
        assert_eq!(interfaces(&case.make().unwrap()), expected, "{links:?}");
    }
    let mut case = Case::pod(json!({}), &plain());
    case.node = vec![node_network(&plain())];
    case.links = vec!["net1", "net2", "net3"];
    assert_eq!(interfaces(&case.make().unwrap()), ["net4", "net5"]);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let refused = |name: &str| {
        let mut case = Case::pod(json!({"interface": name}), &plain());
        case.links = vec!["lo", "data0"];
        case.make().unwrap_err()
    };
    assert_eq!(
        refused("eth0"),
        "network \"team-a/blue\" cannot have interface \"eth0\": it is the pod's primary \
         interface; choose another name"
    );
    assert_eq!(
        refused("data0"),
        "network \"team-a/blue\" cannot have interface \"data0\": the sandbox already has an \
         interface of that name; choose another name"
    );
}

#[test]
fn the_primary_comes_first_then_the_nodes_networks_then_the_pods() {
    let mut case = Case::pod(json!({}), &plain());
    case.primary =
        Some(PrimaryNetwork::OfNode(node_network(&json!({"name": "cluster", "type": "ptp"}))));
    case.node = vec![node_network(&json!({"name": "extra", "type": "x"}))];
    let plan = case.make().unwrap();
    let shown: Vec<_> = plan
        .attachments
        .iter()
        .map(|attachment| {
            (attachment.label.as_str(), attachment.role, attachment.interface.as_str())
        })
        .collect();
    let expected = [
        ("cluster", Role::Primary, "eth0"),
        ("extra", Role::Extra, "net1"),
        ("team-a/blue", Role::Extra, "net2"),
    ];
    assert_eq!(shown, expected);
    assert!(plan.needs_record());
}

#[test]
fn what_only_a_capability_can_do_is_refused_without_it() {
    let table = [
        (
            "infiniband-guid",
            "infinibandGUID",
            json!({"infiniband-guid": "24:8a:07:03:00:8d:ae:2f"}),
        ),
        (
            "portMappings",
            "portMappings",
            json!({"portMappings": [{"hostPort": 1, "containerPort": 2}]}),
        ),
        ("bandwidth", "bandwidth", json!({"bandwidth": {"ingressRate": 1}})),
    ];
    for (key, capability, element) in table {
        let error = Case::pod(element.clone(), &plain()).make().unwrap_err();
        let start =
            format!("network \"team-a/blue\" cannot do \"{key}\": no plugin of it declares");
        assert!(error.starts_with(&start), "{error}");
        assert!(
            error.contains(&format!("\"capabilities\": {{\"{capability}\": true}}")),
            "{error}"
        );
        let attachment = Case::pod(element, &declaring(capability)).only();
        assert!(attachment.runtime_config.contains_key(capability), "{key}");
    }
    // A capability that is switched off is none.
    let off = json!({"type": "bridge", "capabilities": {"bandwidth": false}});
    assert!(Case::pod(json!({"bandwidth": {"ingressRate": 1}}), &off).make().is_err());
}

#[test]
fn addresses_need_the_capability_only_if_the_policy_is_strict() {
    for (key, element) in
        [("ips", json!({"ips": ["10.0.0.5/24"]})), ("mac", json!({"mac": "02:00:00:00:00:01"}))]
    {
        assert!(Case::pod(element.clone(), &plain()).make().is_ok(), "{key}");
        let strict = |configuration: Value| {
            let mut case = Case::pod(element.clone(), &configuration);
            case.config = json!({"capabilityPolicy": "strict"});
            case.make()
        };
        let error = strict(plain()).unwrap_err();
        assert!(error.contains(&format!("cannot do \"{key}\"")), "{error}");
        assert!(strict(declaring(key)).is_ok(), "{key}");
    }
}

#[test]
fn addresses_travel_as_capability_arguments_and_as_cni_args() {
    let attachment =
        Case::pod(json!({"ips": ["10.0.0.5/24"], "mac": "02-00-00-00-00-0A"}), &declaring("ips"))
            .only();
    assert_eq!(
        Value::Object(attachment.runtime_config),
        json!({"ips": ["10.0.0.5/24"], "mac": "02:00:00:00:00:0a"})
    );
    assert_eq!(
        attachment.args.as_str(),
        "K8S_POD_NAME=web;IgnoreUnknown=true;IP=10.0.0.5/24;MAC=02:00:00:00:00:0a"
    );
    assert_eq!(attachment.asked_ips, ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(attachment.asked_mac.as_deref(), Some("02:00:00:00:00:0a"));
}

#[test]
fn a_list_of_addresses_is_in_the_arguments_only_without_the_capability() {
    let element = json!({"ips": ["10.0.0.5/24", "fd00::5/64"]});
    let with = Case::pod(element.clone(), &declaring("ips")).only();
    assert_eq!(with.args.as_str(), "IgnoreUnknown=1;K8S_POD_NAME=web");
    assert_eq!(with.runtime_config.get("ips"), Some(&json!(["10.0.0.5/24", "fd00::5/64"])));
    let without = Case::pod(element, &plain()).only();
    assert_eq!(without.args.get("IP"), Some("10.0.0.5/24,fd00::5/64"));
    assert_eq!(without.args.get("IgnoreUnknown"), Some("true"));
}

#[test]
fn arguments_stay_as_they_came_if_nothing_is_asked() {
    assert_eq!(
        Case::pod(json!({}), &plain()).only().args.as_str(),
        "IgnoreUnknown=1;K8S_POD_NAME=web"
    );
    let mut case = Case::pod(json!({"ips": ["10.0.0.5"]}), &plain());
    case.args = "";
    assert_eq!(case.only().args.as_str(), "IgnoreUnknown=true;IP=10.0.0.5");
    // What a runtime says of another address is not for this network.
    let mut case = Case::pod(json!({"ips": ["10.0.0.5"]}), &plain());
    case.args = "IP=192.0.2.1;IgnoreUnknown=1";
    assert_eq!(case.only().args.as_str(), "IgnoreUnknown=true;IP=10.0.0.5");
}

#[test]
fn cni_args_are_merged_into_every_plugin_the_pods_word_first() {
    let chain = json!({"plugins": [
        {"type": "a", "args": {"cni": {"mode": "node", "kept": 1}, "other": true}},
        {"type": "b", "Args": {"CNI": {"mode": "node"}}},
        {"type": "c"}
    ]});
    let attachment = Case::pod(json!({"cni-args": {"mode": "pod", "n": 1.5}}), &chain).only();
    let args = |at: usize| attachment.network.plugins[at].object().get("args").cloned().unwrap();
    assert_eq!(args(0), json!({"cni": {"mode": "pod", "kept": 1, "n": 1.5}, "other": true}));
    assert_eq!(args(1), json!({"cni": {"mode": "pod", "n": 1.5}}));
    assert_eq!(args(2), json!({"cni": {"mode": "pod", "n": 1.5}}));
    assert!(
        !attachment.network.plugins[1].object().contains_key("Args"),
        "a second spelling stayed"
    );
}

#[test]
fn cni_args_that_cannot_be_merged_are_refused() {
    for args in [json!({"args": 1}), json!({"args": {"cni": []}})] {
        let mut configuration = plain();
        configuration.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
        let error = Case::pod(json!({"cni-args": {"a": 1}}), &configuration).make().unwrap_err();
        assert!(error.starts_with("network \"team-a/blue\": the configuration's"), "{error}");
        assert!(Case::pod(json!({}), &configuration).make().is_ok(), "refused without cni-args");
    }
}

#[test]
fn an_ipam_claim_is_an_argument() {
    let attachment =
        Case::pod(json!({"ipam-claim-reference": "claim-1", "cni-args": {"a": 1}}), &plain())
            .only();
    assert_eq!(
        attachment.network.plugins[0].object().get("args"),
        Some(&json!({"cni": {"a": 1, "ipam-claim-reference": "claim-1"}}))
    );
}

#[test]
fn a_device_of_a_resource_goes_to_every_plugin_under_the_keys_of_multus() {
    let chain = json!({"plugins": [{"type": "a", "DeviceID": "old"}, {"type": "b"}]});
    let mut case = Case::pod(json!({"deviceID": "0000:00:1f.6"}), &chain);
    case.pod[0].resource = Some("nic.example.com/vf".to_owned());
    let attachment = case.only();
    for (plugin, kind) in attachment.network.plugins.iter().zip(["a", "b"]) {
        assert_eq!(
            Value::Object(plugin.object().clone()),
            json!({"type": kind, "deviceID": "0000:00:1f.6", "pciBusID": "0000:00:1f.6"})
        );
    }
    assert_eq!(attachment.runtime_config.get("deviceID"), Some(&json!("0000:00:1f.6")));
}

/// A tenant must not replace the device that a definition has fixed.
#[test]
fn a_device_that_the_pod_names_is_a_capability_argument_alone() {
    let fixed =
        json!({"type": "a", "deviceID": "0000:00:01.0", "capabilities": {"deviceID": true}});
    let attachment = Case::pod(json!({"deviceID": "0000:00:1f.6"}), &fixed).only();
    assert_eq!(attachment.network.plugins[0].text("deviceID"), Some("0000:00:01.0"));
    assert_eq!(attachment.network.plugins[0].text("pciBusID"), None);
    assert_eq!(attachment.runtime_config.get("deviceID"), Some(&json!("0000:00:1f.6")));
    let error = Case::pod(json!({"deviceID": "0000:00:1f.6"}), &plain()).make().unwrap_err();
    assert!(error.contains("cannot do \"deviceID\""), "{error}");
}

#[test]
fn only_one_attachment_may_have_the_default_route() {
    let with_route = || selected(json!({"default-route": ["10.0.0.1"]}), &plain());
    let mut case = Case::new();
    case.config = json!({"clusterNetwork": "cluster"});
    case.primary = Some(PrimaryNetwork::OfPod(Box::new(with_route())));
    case.pod = vec![selected(json!({}), &plain())];
    assert_eq!(case.make().unwrap().attachments[0].default_route.as_ref().map(Vec::len), Some(1));
    let mut case = Case::pod(json!({"default-route": []}), &plain());
    case.primary = Some(PrimaryNetwork::OfPod(Box::new(with_route())));
    assert_eq!(
        case.make().unwrap_err(),
        "the default-network annotation and network \"team-a/blue\" both have \"default-route\": \
         only one attachment may"
    );
}

#[test]
fn the_runtimes_arguments_go_to_the_primary_alone() {
    let mut case = Case::pod(json!({}), &declaring("portMappings"));
    case.config = json!({
        "clusterNetwork": "cluster",
        "runtimeConfig": {
            "portMappings": [{"hostPort": 80}],
            "io.kubernetes.cri.pod-annotations": {"secret": "x"}
        }
    });
    case.primary = Some(PrimaryNetwork::OfNode(node_network(&declaring("portMappings"))));
    case.node = vec![node_network(&declaring("portMappings"))];
    let plan = case.make().unwrap();
    assert_eq!(
        Value::Object(plan.attachments[0].runtime_config.clone()),
        json!({"portMappings": [{"hostPort": 80}]})
    );
    for extra in &plan.attachments[1..] {
        assert!(extra.runtime_config.is_empty(), "{}", extra.label);
    }
}

#[test]
fn a_primary_that_the_pod_chose_gets_both_words_the_pods_first() {
    let mut case = Case::new();
    case.config =
        json!({"clusterNetwork": "cluster", "runtimeConfig": {"ips": ["10.0.0.9"], "dns": {}}});
    let chosen = selected(json!({"ips": ["10.0.0.5"]}), &declaring("ips"));
    case.primary = Some(PrimaryNetwork::OfPod(Box::new(chosen)));
    let attachment = case.only();
    assert_eq!((attachment.role, attachment.interface.as_str()), (Role::Primary, "eth0"));
    assert_eq!(Value::Object(attachment.runtime_config), json!({"ips": ["10.0.0.5"], "dns": {}}));
}

#[test]
fn capabilities_that_braid_does_not_declare_are_a_warning() {
    let warnings = |declared: Option<Value>| {
        let mut case = Case::new();
        case.config = json!({"clusterNetwork": "cluster"});
        case.config
            .as_object_mut()
            .unwrap()
            .extend(declared.map(|map| ("capabilities".to_owned(), map)));
        let chain = json!({"plugins": [
            {"type": "a", "capabilities": {"portMappings": true, "dns": false}},
            {"type": "b", "capabilities": {"bandwidth": true}}
        ]});
        case.primary = Some(PrimaryNetwork::OfNode(node_network(&chain)));
        case.make().unwrap().warnings
    };
    // Newer runtimes take the list away before Braid sees it, so its absence says nothing.
    assert_eq!(warnings(None), Vec::<String>::new());
    assert_eq!(
        warnings(Some(json!({"portMappings": true, "bandwidth": true}))),
        Vec::<String>::new()
    );
    let some = warnings(Some(json!({"portMappings": true})));
    assert!(
        some.len() == 1 && some[0].ends_with("the runtime will not send them: bandwidth"),
        "{some:?}"
    );
    assert!(some[0].starts_with("network \"blue\" takes capabilities"), "{some:?}");
    let all = warnings(Some(json!({})));
    assert!(all[0].ends_with(": bandwidth, portMappings"), "{all:?}");
}

#[test]
fn a_meta_plugin_is_refused_wherever_it_stands() {
    for kind in ["braid", "multus", "multus-shim"] {
        let chain = json!({"plugins": [{"type": "ptp"}, {"type": kind}]});
        let error = Case::pod(json!({}), &chain).make().unwrap_err();
        assert_eq!(
            error,
            "network \"team-a/blue\" has braid or multus in its chain, which cannot be delegated to"
        );
        let mut case = Case::new();
        case.node = vec![node_network(&chain)];
        assert!(case.make().is_err(), "{kind} in a network of the node");
    }
    assert!(Case::pod(json!({}), &json!({"type": "multusish"})).make().is_ok());
}

/// Holds the plan of these networks against a node with these plugins and interfaces.
fn check(configurations: &[Value], installed: &[&str], host: &[&str]) -> Result<(), String> {
    let node = configurations.iter().map(node_network).collect();
    let plan = Case { node, ..Case::new() }.make().unwrap();
    let is_installed = |kind: &PluginType| {
        if installed.contains(&kind.as_str()) {
            Ok(())
        } else {
            Err(DelegateError::NotInstalled {
                plugin: kind.clone(),
                path: vec!["/opt/cni/bin".into()],
            })
        }
    };
    let has_file = |path: &Path| host.iter().any(|there| path == Path::new(there));
    let host_link = |name: &str| {
        if host.contains(&name) { HostLink::Present(Some(1500)) } else { HostLink::Absent }
    };
    plan.check_node(is_installed, host_link, has_file).map_err(|error| error.to_string())
}

#[test]
fn a_missing_plugin_is_refused() {
    let ipam = json!({"type": "host-local", "subnet": "10.0.0.0/24"});
    let chain = json!({"plugins": [{"type": "bridge", "ipam": ipam}, {"type": "tuning"}]});
    let chain = [chain];
    assert_eq!(check(&chain, &["bridge", "host-local", "tuning"], &[]), Ok(()));
    let error = check(&chain, &["bridge", "host-local"], &[]).unwrap_err();
    assert_eq!(
        error,
        "network \"blue\": plugin \"tuning\" is not installed: no executable of that name in \
         /opt/cni/bin"
    );
    let error = check(&chain, &["bridge", "tuning"], &[]).unwrap_err();
    assert!(error.contains("plugin \"host-local\" is not installed"), "{error}");
    // Keys are matched as Go matches them.
    let error = check(&[json!({"type": "bridge", "IPAM": {"Type": "dhcp"}})], &["bridge"], &[])
        .unwrap_err();
    assert!(error.contains("plugin \"dhcp\" is not installed"), "{error}");
}

#[test]
fn a_missing_master_is_refused() {
    let all = ["macvlan", "ipvlan", "vlan", "bridge", "macvtap", "bond", "host-device"];
    for kind in ["macvlan", "ipvlan", "vlan", "macvtap"] {
        let network = [json!({"type": kind, "master": "ens9"})];
        assert_eq!(check(&network, &all, &["ens9"]), Ok(()), "{kind}");
        assert_eq!(
            check(&network, &all, &["eth0"]).unwrap_err(),
            format!(
                "network \"blue\": plugin \"{kind}\" builds on interface \"ens9\", which this node \
                 does not have; correct \"master\" in the definition, or give it an interface of \
                 this node in \"nodeInterfaces\""
            )
        );
    }
    // Without a master the plugin takes the default route's.
    assert_eq!(check(&[json!({"type": "macvlan"})], &all, &[]), Ok(()));
    assert_eq!(check(&[json!({"type": "macvlan", "master": ""})], &all, &[]), Ok(()));
    // What `master` means to a plugin that is not of their kind is not known.
    assert_eq!(check(&[json!({"type": "bridge", "master": "ens9"})], &all, &[]), Ok(()));
    assert!(check(&[json!({"type": "macvlan", "Master": "ens9"})], &all, &[]).is_err());
}

#[test]
fn an_mtu_above_the_masters_is_refused() {
    let all = ["macvlan", "ipvlan", "vlan"];
    for kind in ["macvlan", "vlan"] {
        let network = |mtu: Value| [json!({"type": kind, "master": "ens9", "mtu": mtu})];
        assert_eq!(check(&network(json!(1500)), &all, &["ens9"]), Ok(()), "{kind}");
        assert_eq!(
            check(&network(json!(9000)), &all, &["ens9"]).unwrap_err(),
            format!(
                "network \"blue\": plugin \"{kind}\" cannot have 9000 for \"mtu\", since interface \
                 \"ens9\" has 1500: write 1500 or less, or leave it out"
            )
        );
    }
    // The plugin does not compare it.
    assert_eq!(
        check(&[json!({"type": "ipvlan", "master": "ens9", "mtu": 9000})], &all, &["ens9"]),
        Ok(())
    );
}

#[test]
fn a_device_that_is_not_on_the_host_is_refused() {
    let network = [json!({"type": "host-device", "device": "ens9"})];
    assert_eq!(check(&network, &["host-device"], &["ens9"]), Ok(()));
    let error = check(&network, &["host-device"], &["eth0"]).unwrap_err();
    assert!(
        error.contains("moves interface \"ens9\" into the pod, which this node does not have"),
        "{error}"
    );
}

/// What a plugin would refuse in ADD, and again in DEL, never starts; the node's own primary is not
/// judged.
#[test]
fn a_configuration_that_its_plugin_cannot_read_is_refused() {
    let mistake = json!({"type": "vlan", "master": "ens9", "vlanId": "1000"});
    assert_eq!(
        Case::pod(json!({}), &mistake).make().unwrap_err(),
        "network \"team-a/blue\": plugin \"vlan\" cannot have \"1000\" for \"vlanId\": write a \
         whole number from 0 to 4094, without quotes"
    );
    let local = json!({"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}});
    let both = json!({"ips": ["10.0.0.5", "fd00::5"]});
    let error = Case::pod(both, &local).make().unwrap_err();
    assert!(
        error.contains("cannot do \"ips\": no plugin of it declares the capability"),
        "{error}"
    );
    assert!(Case::pod(json!({"ips": ["10.0.0.5"]}), &local).make().is_ok());
    let error = Case::pod(json!({}), &json!({"type": "host-device"})).make().unwrap_err();
    assert!(
        error.contains("plugin \"host-device\" has no device: name one under \"device\""),
        "{error}"
    );
}

#[test]
fn a_missing_dhcp_daemon_is_refused() {
    let all = ["macvlan", "dhcp"];
    let network = |ipam: Value| [json!({"type": "macvlan", "IPAM": ipam})];
    let usual = network(json!({"type": "dhcp"}));
    assert_eq!(check(&usual, &all, &["/run/cni/dhcp.sock"]), Ok(()));
    assert_eq!(
        check(&usual, &all, &[]).unwrap_err(),
        "network \"blue\": the daemon of plugin \"dhcp\" is not running on this node: \
         /run/cni/dhcp.sock is missing; start it (dhcp daemon)"
    );
    // The plugin's to look at.
    let elsewhere = network(json!({"Type": "dhcp", "DaemonSocketPath": "/run/other.sock"}));
    assert_eq!(check(&elsewhere, &all, &[]), Ok(()));
}

#[test]
fn a_master_in_the_sandbox_or_made_by_a_network_need_not_be_there() {
    let all = ["macvlan", "vlan", "bridge"];
    for key in ["linkInContainer", "linkincontainer"] {
        assert_eq!(
            check(&[json!({"type": "vlan", "master": "net1", key: true})], &all, &[]),
            Ok(()),
            "{key}"
        );
        assert!(
            check(&[json!({"type": "vlan", "master": "net1", key: false})], &all, &[]).is_err(),
            "{key}"
        );
    }
    let bridge = json!({"name": "a", "type": "bridge", "bridge": "br-a"});
    let on_bridge = json!({"name": "b", "type": "macvlan", "master": "br-a"});
    assert_eq!(check(&[bridge, on_bridge.clone()], &all, &[]), Ok(()));
    assert!(check(&[on_bridge], &all, &[]).is_err());
}
