use serde_json::{Value, json};

use crate::policy::tests::Scene;

fn policy() -> Value {
    json!({"policy": {
        "allowedHostInterfaces": {"br-a*": ["team-a"], "trunk0": "*", "br-b*": ["team-b"]},
        "allowedSubnets": {"10.20.0.0/16": ["team-a"], "fd00:20::/48": ["team-a"], "10.21.0.0/16": ["team-b"]},
        "allowedVlans": {"5-9": ["team-a"], "20": ["team-a"], "100": ["team-b"]},
    }})
}

/// What is said of a definition in team-a: empty if it is allowed.
fn said(mut definition: Value) -> String {
    if definition.get("name").is_none() {
        definition["name"] = json!("team-a.blue");
    }
    Scene::new(policy()).defined(definition).refusal()
}

fn local(ipam: Value) -> Value {
    let mut whole = json!({"type": "host-local"});
    whole.as_object_mut().unwrap().extend(ipam.as_object().cloned().unwrap());
    json!({"type": "bridge", "bridge": "br-a0", "ipam": whole})
}

#[test]
fn ordinary_networks_pass() {
    let table = [
        json!({"type": "bridge", "bridge": "br-a0", "vlan": 7, "vlanTrunk": [{"id": 5}, {"minID": 5, "maxID": 9}], "capabilities": {"ips": true}}),
        json!({"type": "macvlan", "master": "trunk0", "mode": "bridge", "ipam": {}}),
        json!({"type": "vlan", "master": "trunk0", "vlanId": 5}),
        json!({"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.20.0.9/24", "gateway": "10.20.0.1"}]}}),
        local(
            json!({"ranges": [[{"subnet": "10.20.1.0/24", "rangeStart": "10.20.1.9"}], [{"subnet": "fd00:20::/64"}]]}),
        ),
        local(
            json!({"subnet": "10.20.1.0/24", "routes": [{"dst": "10.20.0.0/16", "gw": "10.20.1.1"}]}),
        ),
        json!({"type": "ptp", "ipam": {"type": "whereabouts", "range": "10.20.1.5-10.20.1.9/24", "exclude": ["10.20.1.6/32"]}}),
        json!({"cniVersion": "1.0.0", "plugins": [
            {"type": "ptp"}, {"type": "bandwidth", "ingressRate": 1, "ingressBurst": 1},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
        ]}),
    ];
    for definition in table {
        assert_eq!(said(definition.clone()), "", "{definition}");
    }
}

#[test]
fn what_reaches_for_the_host_is_refused() {
    let table = [
        (json!({"type": "bridge"}), "must carry \"bridge\""),
        (json!({"type": "bridge", "bridge": ""}), "must carry \"bridge\""),
        (json!({"type": "bridge", "Bridge": "br-a0"}), "must carry \"bridge\""),
        (
            json!({"type": "bridge", "bridge": "br-a0", "BRIDGE": "cni0"}),
            "may not carry \"BRIDGE\"",
        ),
        (json!({"type": "bridge", "bridge": "cni0"}), "interface \"cni0\""),
        (json!({"type": "bridge", "bridge": "br-b0"}), "interface \"br-b0\""),
        (json!({"type": "bridge", "bridge": "br-a/../x"}), "interface \"br-a/../x\""),
        (json!({"type": "bridge", "bridge": "br-a0", "ipMasq": true}), "may not carry \"ipMasq\""),
        (json!({"type": "bridge", "bridge": "br-a0", "isDefaultGateway": true}), "may not carry"),
        (json!({"type": "macvlan"}), "must carry \"master\""),
        (json!({"type": "ipvlan", "mode": "l2"}), "must carry \"master\""),
        (json!({"type": "macvlan", "master": "eth0"}), "interface \"eth0\""),
        (json!({"type": "macvlan", "master": 7}), "must carry \"master\""),
        (
            json!({"type": "macvlan", "master": "trunk0", "mode": "passthru"}),
            "shares the interface",
        ),
        (json!({"type": "macvlan", "master": "trunk0", "linkInContainer": true}), "may not carry"),
        (json!({"type": "host-device", "device": "eth0"}), "may not use plugin \"host-device\""),
        (json!({"type": "portmap"}), "may not use plugin \"portmap\""),
        (json!({"type": "flannel", "delegate": {"type": "bridge"}}), "delegates to others"),
        (json!({"type": "multus", "delegates": []}), "delegates to others"),
        (json!({"type": "ptp", "ipam": {"type": "dhcp"}}), "may not use plugin \"dhcp\""),
        (
            json!({"type": "ptp", "ipam": {"type": "bridge", "bridge": "br-a0"}}),
            "may not use plugin \"bridge\"",
        ),
        (json!({"type": "ptp", "ipam": {"dataDir": "/etc"}}), "\"type\""),
        (json!({"type": "ptp", "ipam": {"Type": "host-local"}}), "\"type\""),
        (json!({"type": "ptp", "ipam": ["host-local"]}), "must be an object"),
        (
            local(json!({"subnet": "10.20.1.0/24", "dataDir": "/var/lib/cni/networks/../../x"})),
            "\"dataDir\"",
        ),
        (local(json!({"subnet": "10.20.1.0/24", "dataDir": "x"})), "\"dataDir\""),
        (local(json!({"subnet": "10.20.1.0/24", "resolvConf": "/etc/shadow"})), "\"resolvConf\""),
        (local(json!({"ranges": [[{"subnet": "10.20.1.0/24", "dataDir": "/x"}]]})), "\"dataDir\""),
        (local(json!({"ranges": [[{"type": "flannel"}]]})), "delegates to others"),
        (
            json!({"type": "bridge", "bridge": "br-a0", "vlanTrunk": [{"type": "host-device"}]}),
            "\"host-device\"",
        ),
        (json!({"type": "ptp", "runtimeConfig": {"ips": ["10.96.0.1"]}}), "\"runtimeConfig\""),
        (json!({"type": "ptp", "args": {"cni": {"ips": ["10.96.0.1"]}}}), "\"args\""),
        (json!({"type": "ptp", "prevResult": {}}), "\"prevResult\""),
        (json!({"type": "ptp", "capabilities": {"ips": "10.96.0.1"}}), "object of true and false"),
    ];
    for (definition, expected) in table {
        let refusal = said(definition.clone());
        assert!(refusal.contains(expected), "{definition}: {refusal}");
    }
}

#[test]
fn addresses_stay_in_the_namespaces_subnets() {
    let table = [
        local(json!({"subnet": "10.96.0.0/12"})),
        local(json!({"subnet": "10.21.0.0/24"})),
        local(json!({"subnet": "10.20.0.0/15"})),
        local(json!({"subnet": "10.20.1.0/24", "gateway": "10.96.0.1"})),
        local(json!({"subnet": "10.20.1.0/24", "routes": [{"dst": "0.0.0.0/0"}]})),
        local(
            json!({"subnet": "10.20.1.0/24", "routes": [{"dst": "10.20.0.0/16", "gw": "10.1.0.1"}]}),
        ),
        json!({"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.244.0.9/16"}]}}),
        json!({"type": "ptp", "ipam": {"type": "whereabouts", "range": "10.20.1.5-10.22.1.9/24"}}),
        json!({"type": "ptp", "ipam": {"type": "whereabouts", "range": "fd00:20::/32"}}),
    ];
    for definition in table {
        let refusal = said(definition.clone());
        assert!(refusal.contains("is in no subnet of namespace team-a"), "{definition}: {refusal}");
    }
    for address in
        [json!("010.20.1.0/24"), json!("::ffff:10.96.0.0/112"), json!("x"), json!(7), json!("")]
    {
        let refusal = said(local(json!({"subnet": address})));
        assert!(!refusal.is_empty(), "{address}");
    }
}

#[test]
fn vlans_are_the_namespaces_own() {
    let bridge = |more: Value| {
        let mut bridge = json!({"type": "bridge", "bridge": "br-a0"});
        bridge.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        bridge
    };
    for harmless in [
        json!({"vlan": 0}),
        json!({"vlan": 5, "preserveDefaultVlan": false}),
        json!({"vlanTrunk": []}),
    ] {
        assert_eq!(said(bridge(harmless.clone())), "", "{harmless}");
    }
    let table = [
        json!({"type": "vlan", "master": "trunk0", "vlanId": 100}),
        json!({"type": "vlan", "master": "trunk0", "vlanId": 4097}),
        json!({"type": "vlan", "master": "trunk0", "vlanId": 0}),
        json!({"type": "vlan", "master": "trunk0"}),
        bridge(json!({"vlanTrunk": [{"id": 5}]})),
        bridge(json!({"vlan": 0, "vlanTrunk": [{"id": 5}]})),
        bridge(json!({"vlan": 5, "preserveDefaultVlan": true})),
        bridge(json!({"vlan": 5, "vlanTrunk": [{"id": 6}], "preserveDefaultVlan": true})),
        bridge(json!({"vlan": 10})),
        bridge(json!({"vlanTrunk": [{"id": 5}, {"id": 100}]})),
        bridge(json!({"vlanTrunk": [{"minID": 5, "maxID": 20}]})),
        bridge(json!({"vlanTrunk": [{"minID": 9, "maxID": 5}]})),
    ];
    for definition in table {
        let refusal = said(definition.clone());
        assert!(refusal.contains("is no VLAN of namespace team-a"), "{definition}: {refusal}");
    }
    let odd = [
        json!({"vlan": "5"}),
        json!({"vlan": 5.0}),
        json!({"vlanTrunk": {"id": 5}}),
        json!({"vlanTrunk": [5]}),
        json!({"vlanTrunk": [[{"id": 100}]]}),
        json!({"vlanTrunk": [{"minID": 5}]}),
        json!({"vlanTrunk": [{"id": 5, "minID": 1, "maxID": 4094}]}),
    ];
    for more in odd {
        let refusal = said(bridge(more.clone()));
        assert!(refusal.contains("which must be a"), "{more}: {refusal}");
    }
}

#[test]
fn a_device_is_one_that_the_pod_has() {
    let scene = Scene::new(policy()).annotated(json!({"braid.io/allowed-requests": "deviceID"}));
    let asks = scene.asks(json!({"deviceID": "0000:04:00.5"}));
    assert!(
        asks.refusal().contains("no device but those that the kubelet has given them"),
        "{}",
        asks.refusal()
    );
    let with_resource = json!({"braid.io/allowed-requests": "deviceID", "k8s.v1.cni.cncf.io/resourceName": "x.io/vf"});
    assert_eq!(asks.annotated(with_resource).refusal(), "");
}

#[test]
fn arguments_stay_inside_the_fence() {
    let scene = Scene::new(policy())
        .annotated(json!({"braid.io/allowed-requests": "cni-args"}))
        .defined(json!({"name": "team-a.blue", "plugins": [{"type": "ptp"}, {"type": "tuning"}]}));
    let asks = |arguments: Value| scene.clone().asks(json!({"cni-args": arguments})).refusal();
    assert_eq!(asks(json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400})), "");
    let table = [
        (json!({"sysctl": {"net.core.somaxconn": "1"}}), "net.ipv4.conf.IFNAME"),
        (json!({"\u{17f}ysctl": {}}), "none of its plugins may carry"),
        (json!({"allmulti": true}), "none of its plugins may carry \"allmulti\""),
        (json!({"ipam": {"type": "dhcp"}}), "may not use plugin \"dhcp\""),
    ];
    for (arguments, expected) in table {
        let refusal = asks(arguments.clone());
        assert!(refusal.contains(expected), "{arguments}: {refusal}");
    }
}

#[test]
fn sysctls_are_the_interfaces_own() {
    let set = |name: &str| said(json!({"type": "tuning", "sysctl": {name: "1"}}));
    assert_eq!(set("net.ipv6.conf.IFNAME.accept_ra"), "");
    for name in [
        "net.ipv4.ip_forward",
        "net.core.somaxconn",
        "kernel.core_pattern",
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.eth0.rp_filter",
        "net/ipv4/conf/IFNAME/../../x",
        "net.ipv4.conf.IFNAME.a/../../b",
        "net.ipv4.conf.IFNAME.",
    ] {
        assert!(
            set(name).contains("which must be texts under names like"),
            "{name}: {}",
            set(name)
        );
    }
}

#[test]
fn a_name_that_is_another_namespaces_too_is_scoped_or_refused() {
    assert_eq!(said(json!({"type": "ptp", "name": "team-b.blue"})), "");
    let overlay = json!({"policy": {"allowedPlugins": {"ovn-k8s-cni-overlay": ["topology"]}}});
    let of_ovn =
        |name: &str| json!({"type": "ovn-k8s-cni-overlay", "name": name, "topology": "layer2"});
    let scene = |name: &str| Scene::new(overlay.clone()).defined(of_ovn(name));
    assert_eq!(scene("team-a.blue").refusal(), "");
    let refusal = scene("blue").refusal();
    assert!(refusal.contains("its owner can write \"name\": \"team-a.blue\""), "{refusal}");
}

/// The name is given under the policy alone, and told of while the policy is only audited.
#[test]
fn a_scoped_name_is_the_policys_word() {
    use crate::definition::DefinitionKind;
    let names = |scene: Scene| {
        let verdict = scene.verdict();
        let text = |name: Option<cni::netconf::NetworkName>| name.map(|name| name.to_string());
        (text(verdict.scoped_name), text(verdict.would_scope))
    };
    let scene = |config: Value| Scene::new(config).defined(json!({"type": "ptp", "name": "lan"}));
    let scoped = Some("team-a.lan".to_owned());
    assert_eq!(names(scene(policy())), (scoped.clone(), None));
    assert_eq!(names(scene(json!({"policy": {"mode": "audit"}}))), (None, scoped));
    assert_eq!(names(scene(json!({}))), (None, None), "no policy");
    assert_eq!(names(scene(json!({"policy": {"trustedNamespaces": ["team-a"]}}))), (None, None));
    assert_eq!(names(scene(policy()).kind(DefinitionKind::Manifest)), (None, None));
    assert_eq!(
        names(Scene::new(policy()).defined(json!({"type": "portmap", "name": "lan"}))),
        (None, None)
    );
}

#[test]
fn a_definition_has_a_size() {
    let vlans: Vec<Value> = (0..20_000).map(|id| json!({"id": id})).collect();
    let refusal = said(json!({"type": "bridge", "bridge": "br-a0", "vlanTrunk": vlans}));
    assert!(refusal.contains("such a one may have 65536"), "{refusal}");
}

#[test]
fn manifests_of_the_node_and_trusted_namespaces_are_not_fenced() {
    use crate::definition::DefinitionKind;
    let definition = json!({"name": "team-a.blue", "type": "host-device", "device": "eth0"});
    let scene = Scene::new(policy()).defined(definition.clone());
    assert_eq!(scene.clone().kind(DefinitionKind::Manifest).refusal(), "");
    assert!(scene.refusal().contains("host-device"));
    let trusted =
        Scene::new(json!({"policy": {"trustedNamespaces": ["team-a"]}})).defined(definition);
    assert_eq!(trusted.refusal(), "");
}
