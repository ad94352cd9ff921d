use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::address::{ADDRESS_KEYS, FAMILY_ADDRESS_KEYS};
use super::interface::INTERFACE_KEYS;
use super::route::ROUTE_KEYS;
use super::*;

const LISTS: [Version; 5] =
    [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

fn read(value: Value) -> AttachmentResult {
    AttachmentResult::read(&value, Version::V1_1_0).unwrap()
}

fn lenient(value: Value) -> AttachmentResult {
    AttachmentResult::read_lenient(&value, Version::V1_1_0).unwrap()
}

fn refusal(value: Value) -> String {
    AttachmentResult::read(&value, Version::V1_1_0).unwrap_err().to_string()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn route(dst: &str, gw: Option<&str>) -> Route {
    Route { dst: dst.to_owned(), gw: gw.map(str::to_owned), other: Map::new() }
}

/// What `reject_foreign_interfaces` says to a result of net1's, in a pod that has eth0 and net2 as
/// well.
fn kept_off(interfaces: &[&Value]) -> Result<(), String> {
    let result = read(json!({
        "interfaces": interfaces,
        "ips": [{"address": "10.9.0.2/24"}, {"address": "2001:db8::2/64", "interface": 1}]
    }));
    let owner = |name: &str| ["eth0", "net2"].contains(&name).then(|| format!("which is {name}'s"));
    result.reject_foreign_interfaces("net1", owner).map_err(|error| error.to_string())
}

#[test]
fn an_address_on_the_interface_of_another_is_refused_by_name_alone() {
    let inside = |name: &str| json!({"name": name, "sandbox": "/n"});
    let (eth0, net1, net2) = (inside("eth0"), inside("net1"), inside("net2"));
    assert_eq!(kept_off(&[&eth0, &net1]), Ok(()), "an interface alone does no harm");
    assert_eq!(kept_off(&[&inside("tap0"), &json!({"name": "veth1"})]), Ok(()));
    for name in ["eth0", "net2"] {
        let expected = format!("ips[1] puts 2001:db8::2/64 on \"{name}\", which is {name}'s");
        for interface in [inside(name), json!({"name": name})] {
            assert_eq!(kept_off(&[&net1, &interface]).unwrap_err(), expected);
        }
    }
    // Without an index an address is on the first interface of the sandbox.
    let expected = "ips[0] puts 10.9.0.2/24 on \"net2\", which is net2's";
    assert_eq!(kept_off(&[&net2, &inside("tap0")]).unwrap_err(), expected);
}

/// A number that only a decoder of arbitrary precision keeps.
fn beyond_f64() -> Value {
    serde_json::from_str("1e400").unwrap()
}

/// The layout of each version, complete, in the specification's order of keys.
fn layout(version: Version) -> Value {
    match version {
        Version::V0_1_0 | Version::V0_2_0 => json!({
            "cniVersion": version.as_str(),
            "ip4": {
                "ip": "10.1.0.5/16",
                "gateway": "10.1.0.1",
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.2.0.0/16", "gw": "10.1.0.9"}],
                "x-lease": 1.50
            },
            "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
            "dns": {"nameservers": ["10.1.0.1"], "domain": "example.com"},
            "x-top": [null]
        }),
        Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => json!({
            "cniVersion": version.as_str(),
            "interfaces": [
                {"name": "cni0", "mac": "00:11:22:33:44:55"},
                {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue", "x-if": {}}
            ],
            "ips": [
                {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1, "x-ip": 1},
                {"version": "6", "address": "fd00::5/64", "interface": 1}
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1", "x-route": "y"}],
            "dns": {"nameservers": ["10.1.0.1"]},
            "x-top": beyond_f64()
        }),
        Version::V1_0_0 | Version::V1_1_0 => json!({
            "cniVersion": version.as_str(),
            "interfaces": [
                {"name": "cni0", "mac": "00:11:22:33:44:55", "mtu": 1500},
                {
                    "name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 9000,
                    "sandbox": "/var/run/netns/blue", "socketPath": "/run/x.sock", "pciID": "0000:01:02.3"
                }
            ],
            "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1}],
            "routes": [
                {"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 254, "scope": 0}
            ],
            "dns": {"nameservers": ["10.1.0.1"], "search": ["example.com"], "options": ["ndots:5"]},
            "x-top": {"deep": [1, 2]}
        }),
    }
}

#[test]
fn every_layout_is_written_as_it_was_read() {
    for version in Version::ALL {
        // The network's version is another one, so that the result's own has to count.
        let result = AttachmentResult::read(&layout(version), Version::V0_1_0).unwrap();
        assert_eq!(result.write(version).to_string(), layout(version).to_string());
    }
}

#[test]
fn the_newest_layout_is_understood() {
    let result = read(layout(Version::V1_1_0));
    let eth0 = Interface {
        name: "eth0".to_owned(),
        mac: Some("99:88:77:66:55:44".to_owned()),
        mtu: Some(9000),
        sandbox: Some("/var/run/netns/blue".to_owned()),
        socket_path: Some("/run/x.sock".to_owned()),
        pci_id: Some("0000:01:02.3".to_owned()),
        other: Map::new(),
    };
    assert_eq!(result.interfaces[1], eth0);
    assert_eq!(result.ips[0].interface, Some(1));
    assert_eq!(result.ips[0].gateway.as_deref(), Some("10.1.0.1"));
    assert_eq!(result.routes[0].other["advmss"], json!(1360));
    assert_eq!(result.other, object(json!({"x-top": {"deep": [1, 2]}})));
}

#[test]
fn the_network_names_the_version_if_the_result_does_not() {
    let families = json!({"ip4": {"ip": "10.1.0.5/16"}});
    for version in [json!(null), json!(""), json!("0.2.0")] {
        let mut value = families.clone();
        value["CNIVERSION"] = version;
        let result = AttachmentResult::read(&value, Version::V0_2_0).unwrap();
        assert_eq!((result.ips.len(), result.other.len()), (1, 0), "{value}");
    }
    assert_eq!(read(families).other.len(), 1);
}

#[test]
fn an_empty_result_is_one() {
    for version in Version::ALL {
        let only = json!({"cniVersion": version.as_str()});
        for value in [json!({}), only.clone(), json!({"ips": null, "interfaces": [], "ip4": null})]
        {
            let result = AttachmentResult::read(&value, version).unwrap();
            assert!(result.ips.is_empty() && result.interfaces.is_empty() && result.dns.is_none());
        }
        assert_eq!(AttachmentResult::default().write(version), only);
    }
}

#[test]
fn older_layouts_become_newer_ones() {
    let result = read(layout(Version::V0_2_0));
    let expected = json!({
        "cniVersion": "1.1.0",
        "ips": [
            {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "x-lease": 1.50},
            {"address": "fd00::5/64"}
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "10.2.0.0/16", "gw": "10.1.0.9"},
            {"dst": "::/0", "gw": "fd00::1"}
        ],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "example.com"},
        "x-top": [null]
    });
    assert_eq!(result.write(Version::V1_1_0).to_string(), expected.to_string());
    assert_eq!(result.write(Version::V0_4_0)["ips"][1]["version"], json!("6"));
}

#[test]
fn newer_layouts_become_older_ones() {
    let written = read(layout(Version::V1_1_0)).write(Version::V0_3_1);
    assert_eq!(written["cniVersion"], json!("0.3.1"));
    assert_eq!(written["ips"][0]["version"], json!("4"));
    assert_eq!(written["interfaces"][1]["pciID"], json!("0000:01:02.3"));
    assert_eq!(written["routes"][0]["priority"], json!(7));
    let expected = json!({
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "10.1.0.5/16",
            "gateway": "10.1.0.1",
            "routes": [{"dst": "0.0.0.0/0"}],
            "x-ip": 1
        },
        "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0", "gw": "fd00::1", "x-route": "y"}]},
        "dns": {"nameservers": ["10.1.0.1"]},
        "x-top": beyond_f64()
    });
    assert_eq!(read(layout(Version::V0_4_0)).write(Version::V0_2_0), expected);
}

#[test]
fn the_sandbox_address_is_the_one_that_fits_the_oldest_layout() {
    let interfaces = json!([{"name": "br0"}, {"name": "eth0", "sandbox": "/n"}]);
    for (ips, expected) in [
        (
            json!([{"address": "10.0.0.1/8", "interface": 0}, {"address": "10.0.0.2/8", "interface": 1}]),
            "10.0.0.2/8",
        ),
        (
            json!([{"address": "10.0.0.1/8", "interface": 0}, {"address": "10.0.0.2/8"}]),
            "10.0.0.2/8",
        ),
        (json!([{"address": "10.0.0.1/8", "interface": 0}]), "10.0.0.1/8"),
        (json!([{"address": "::1/128", "interface": 1}, {"address": "10.0.0.3/8"}]), "10.0.0.3/8"),
    ] {
        let written = read(json!({"interfaces": interfaces, "ips": ips})).write(Version::V0_1_0);
        assert_eq!(written["ip4"]["ip"], json!(expected), "{ips}");
    }
}

#[test]
fn unknown_keys_never_stand_in_for_known_ones() {
    let ip4 = json!({"ip": "10.0.0.1/8", "Interface": "x"});
    let old = json!({"cniVersion": "0.2.0", "IPS": "x", "ips": 1, "ip4": ip4});
    let written = read(old.clone()).write(Version::V1_1_0);
    assert_eq!(written, json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.1/8"}]}));
    assert_eq!(read(old.clone()).write(Version::V0_2_0), old);
    let new = json!({"cniVersion": "1.0.0", "ip4": 1, "Ip6": 2});
    assert_eq!(read(new.clone()).write(Version::V0_2_0), json!({"cniVersion": "0.2.0"}));
    assert_eq!(read(new.clone()).write(Version::V1_0_0), new);
}

#[test]
fn results_are_read_as_go_reads_them() {
    let result = read(json!({
        "Interfaces": [{"NAME": "eth0", "Mac": "", "mtu": 0, "sandbox": "", "pciId": "0000:01:02.3"}, null],
        "ips": [
            {"version": 4, "address": "10.0.0.1/8", "Gateway": "<nil>", "interface": -1},
            {"Address": "10.0.0.2/8", "address": "10.0.0.3/8", "gateway": "", "interface": null},
            {"address": "10.0.0.4/8", "interface": -0}
        ],
        "routes": [{"dst": "0.0.0.0/0", "GW": "10.0.0.254", "gw": null}],
        "dns": null
    }));
    let pci_id = Some("0000:01:02.3".to_owned());
    assert_eq!(
        result.interfaces[0],
        Interface { name: "eth0".to_owned(), pci_id, ..Interface::default() }
    );
    assert_eq!(result.interfaces[1], Interface::default());
    assert_eq!(result.ips[0], Address { address: "10.0.0.1/8".to_owned(), ..Address::default() });
    assert_eq!(result.ips[1], Address { address: "10.0.0.3/8".to_owned(), ..Address::default() });
    assert_eq!(result.ips[2].interface, Some(0));
    // An exact key that is null counts as missing and wins, as crate::keys has it.
    assert_eq!(result.routes, [route("0.0.0.0/0", None)]);
    assert_eq!(result.dns, None);
}

#[test]
fn refusals_name_the_place_and_the_value() {
    let two = json!([{"name": "a"}, {"name": "b"}]);
    let good = json!({"address": "10.0.0.1/8"});
    for (value, expected) in [
        (json!([]), "the result must be an object, not an array of 0"),
        (json!(null), "the result must be an object, not null"),
        (json!({"cniVersion": 1}), "cniVersion must be a string, not 1"),
        (json!({"ips": "x\n"}), "ips must be an array, not \"x\\n\""),
        (json!({"ips": [good, 7]}), "ips[1] must be an object, not 7"),
        (
            json!({"ips": [{}]}),
            "ips[0].address is missing: set it to an address and a prefix length",
        ),
        (json!({"ips": [null]}), "ips[0].address is missing"),
        (
            json!({"ips": [{"address": "10.0.0.1"}]}),
            "ips[0].address is \"10.0.0.1\": it must be an address and",
        ),
        (json!({"ips": [{"address": "10.0.0.1/33"}]}), "ips[0].address is \"10.0.0.1/33\""),
        (json!({"ips": [{"address": "10.0.0.1/255.0.0.0"}]}), "ips[0].address is"),
        (json!({"ips": [{"address": "10.0.0.1/+8"}]}), "ips[0].address is"),
        (json!({"ips": [{"address": "<nil>"}]}), "ips[0].address is \"<nil>\""),
        (
            json!({"ips": [{"address": "10.0.0.1/8", "gateway": "10.0.0.1/8"}]}),
            "ips[0].gateway is \"10.0.0.1/8\"",
        ),
        (
            json!({"interfaces": two, "ips": [good, good, {"address": "::1/8", "interface": 2}]}),
            "ips[2].interface is 2, but the result lists 2 interfaces: count from 0, or leave it \
             out",
        ),
        (
            json!({"ips": [{"address": "::1/8", "interface": -2}]}),
            "ips[0].interface is -2: it must be an integer",
        ),
        (
            json!({"ips": [{"address": "::1/8", "interface": 0.0}]}),
            "ips[0].interface must be an integer, not 0.0",
        ),
        (
            json!({"interfaces": [{"mtu": "1500"}]}),
            "interfaces[0].mtu must be an integer, not \"1500\"",
        ),
        (
            json!({"interfaces": [{}, {"pciID": []}]}),
            "interfaces[1].pciID must be a string, not an array of 0",
        ),
        (json!({"routes": [{"dst": "default"}]}), "routes[0].dst is \"default\""),
        (
            json!({"routes": [{"dst": "::/0", "gw": "fe80::1%eth0"}]}),
            "routes[0].gw is \"fe80::1%eth0\"",
        ),
        (json!({"dns": ["10.0.0.1"]}), "dns must be an object, not an array of 1"),
        (
            json!({"cniVersion": "9\u{1b}[2J"}),
            "cniVersion: cni version \"9\\u{1b}[2J\" is not known",
        ),
        (
            json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8", "routes": [{"dst": 1}]}}),
            "ip4.routes[0].dst must be a string, not 1",
        ),
        (json!({"cniVersion": "0.2.0", "ip6": {}}), "ip6.ip is missing"),
    ] {
        let refusal = refusal(value.clone());
        assert!(refusal.starts_with(expected), "{value}: {refusal}");
    }
}

#[test]
fn quoted_text_is_bounded() {
    let long = "\u{202e}".repeat(100_000);
    for value in
        [json!({"ips": long}), json!({"ips": [{"address": long}]}), json!({"cniVersion": long})]
    {
        let refusal = refusal(value);
        assert!(refusal.len() < 1000 && !refusal.contains('\u{202e}'), "{refusal}");
    }
    let digits: Value = serde_json::from_str(&"9".repeat(5000)).unwrap();
    assert!(refusal(json!({"interfaces": [{"mtu": digits}]})).len() < 200);
}

#[test]
fn lists_are_bounded() {
    let lists = |list: &str, entry: Value, count: usize| json!({list: vec![entry; count]});
    for (list, entry, most) in [
        ("interfaces", json!({"name": "a"}), MOST_INTERFACES),
        ("ips", json!({"address": "10.0.0.1/8"}), MOST_IPS),
        ("routes", json!({"dst": "10.0.0.0/8"}), MOST_ROUTES),
    ] {
        read(lists(list, entry.clone(), most));
        let value = lists(list, entry, most + 1);
        let expected = format!("{list} has {} entries: at most {most} are allowed", most + 1);
        assert_eq!(refusal(value.clone()), expected);
        assert!(AttachmentResult::read_lenient(&value, Version::V1_1_0).is_err());
    }
}

#[test]
fn the_oldest_layout_counts_the_routes_of_both_families() {
    let routes = vec![json!({"dst": "10.0.0.0/8"}); MOST_ROUTES];
    let value = json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.1/8", "routes": routes},
        "ip6": {"ip": "::1/64", "routes": [{"dst": "::/0"}]}
    });
    assert_eq!(refusal(value), "routes has 4097 entries: at most 4096 are allowed");
}

#[test]
fn a_lenient_reader_keeps_what_does_no_harm() {
    let value = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [
            {"address": "nonsense", "gateway": "more", "interface": 9},
            {"gateway": "10.0.0.1"},
            {"address": "10.0.0.5"}
        ],
        "routes": [{"dst": "default", "gw": "on-link"}, {"scope": 0}]
    });
    let result = lenient(value.clone());
    assert_eq!(result.ips[0].interface, Some(9));
    assert_eq!(result.attachment_addresses().count(), 2);
    assert_eq!(result.default_hops(Family::V4), Vec::new());
    assert_eq!(result.write(Version::V1_0_0), value);
    // What is no address has no family to write; the rest keeps its own.
    let older = result.write(Version::V0_4_0);
    assert_eq!(older["ips"][0].get("version"), None);
    assert_eq!(older["ips"][2]["version"], json!("4"));
    assert_eq!(
        result.write(Version::V0_2_0),
        json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5"}})
    );
}

#[test]
fn a_lenient_reader_takes_integers_out_of_range_as_absent() {
    let digits: Value = serde_json::from_str("99999999999999999999999").unwrap();
    for number in [json!(-2), json!(i64::MIN), digits] {
        let value = json!({"interfaces": [{"mtu": number}], "ips": [{"interface": number}]});
        let result = lenient(value);
        assert_eq!((result.interfaces[0].mtu, result.ips[0].interface), (None, None));
    }
}

#[test]
fn a_lenient_reader_refuses_wrong_types_and_versions() {
    for value in [
        json!("x"),
        json!({"ips": "x"}),
        json!({"ips": [[]]}),
        json!({"ips": [{"interface": "0"}]}),
        json!({"interfaces": [{"name": 1}]}),
        json!({"routes": [{"gw": {}}]}),
        json!({"dns": "x"}),
        json!({"cniVersion": "2.0.0"}),
    ] {
        assert!(AttachmentResult::read_lenient(&value, Version::V1_1_0).is_err(), "{value}");
    }
}

#[test]
fn addresses_of_the_sandbox_are_the_attachments() {
    let result = read(json!({
        "interfaces": [{"name": "veth"}, {"name": "eth0", "sandbox": "/n"}],
        "ips": [
            {"address": "10.0.0.1/8", "interface": 0},
            {"address": "10.0.0.2/8", "interface": 1},
            {"address": "10.0.0.3/8"}
        ]
    }));
    let addresses: Vec<_> =
        result.attachment_addresses().map(|address| address.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.2/8", "10.0.0.3/8"]);
    let interfaces: Vec<_> =
        result.sandbox_interfaces().map(|(at, found)| (at, found.name.as_str())).collect();
    assert_eq!(interfaces, [(1, "eth0")]);
}

fn primary() -> Value {
    json!({
        "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/n"}],
        "ips": [{"address": "10.0.0.2/8", "gateway": "10.0.0.1", "interface": 1}, {"address": "fd00::2/64"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"domain": "first"},
        "x": 1
    })
}

/// What `append` adds to the primary: its interfaces, ips and routes.
fn appended(extra: Value) -> (Value, Value, Value) {
    let (before, mut merged) = (read(primary()), read(primary()));
    merged.append(read(extra), "net1", "/n");
    assert_eq!(merged.interfaces[..2], before.interfaces[..]);
    assert_eq!(merged.ips[..2], before.ips[..]);
    assert_eq!(merged.routes[..1], before.routes[..]);
    assert_eq!((&merged.dns, &merged.other), (&before.dns, &before.other));
    let written = |entries: Vec<Value>| Value::Array(entries);
    (
        written(merged.interfaces[2..].iter().map(Interface::write).collect()),
        written(merged.ips[2..].iter().map(|address| address.write(Version::V1_1_0)).collect()),
        written(merged.routes[1..].iter().map(Route::write).collect()),
    )
}

#[test]
fn an_extra_is_appended_with_its_own_indices() {
    let interfaces = json!([{"name": "veth2"}, {"name": "net1", "sandbox": "/n"}]);
    let extra = json!({
        "interfaces": interfaces,
        "ips": [
            {"address": "10.9.0.2/24", "interface": 1, "x-ip": true},
            {"address": "10.9.0.1/24", "interface": 0},
            {"address": "10.9.0.3/24"}
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.9.0.1"},
            {"dst": "10.8.0.0/16", "priority": 3},
            {"dst": "0::0/0"},
            {"dst": "0.0.0.0/1"}
        ],
        "dns": {"domain": "second"},
        "x": 2,
        "y": 3
    });
    let ips = json!([
        {"address": "10.9.0.2/24", "interface": 3, "x-ip": true},
        {"address": "10.9.0.1/24", "interface": 2},
        {"address": "10.9.0.3/24", "interface": 3}
    ]);
    let routes = json!([{"dst": "10.8.0.0/16", "priority": 3}, {"dst": "0.0.0.0/1"}]);
    assert_eq!(appended(extra), (interfaces, ips, routes));
}

#[test]
fn an_address_without_an_interface_gets_one() {
    let net1 = json!({"name": "net1", "sandbox": "/n"});
    let ips = |index: u64| {
        let address = |cidr: &str| json!({"address": cidr, "interface": index});
        json!([address("10.9.0.2/24"), address("::9/64")])
    };
    let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.9.0.2/24"}, "ip6": {"ip": "::9/64"}});
    assert_eq!(appended(old), (json!([net1]), ips(2), json!([])));
    let host_only = json!({
        "interfaces": [{"name": "veth2"}],
        "ips": [{"address": "10.9.0.2/24"}, {"address": "::9/64"}]
    });
    assert_eq!(appended(host_only), (json!([{"name": "veth2"}, net1]), ips(3), json!([])));
}

#[test]
fn an_extra_without_addresses_gets_no_interface() {
    assert_eq!(appended(json!({})), (json!([]), json!([]), json!([])));
}

#[test]
fn dangling_indices_never_reach_another_attachment() {
    let mut merged = lenient(json!({
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [{"address": "10.0.0.2/8", "interface": 1}]
    }));
    let extra = lenient(json!({
        "interfaces": [{"name": "net1", "sandbox": "/n"}],
        "ips": [{"address": "10.9.0.2/8", "interface": 1}]
    }));
    merged.append(extra.clone(), "net1", "/n");
    merged.append(extra, "net2", "/n");
    let indices: Vec<_> = merged.ips.iter().map(|address| address.interface).collect();
    assert_eq!(indices, [None, Some(1), Some(2)]);
}

#[test]
fn default_hops_come_from_routes_then_from_addresses() {
    let ips = json!([
        {"address": "fd00::2/64", "gateway": "fd00::1"},
        {"address": "10.0.0.2/8", "gateway": "10.0.0.1"}
    ]);
    for (routes, v4, v6) in [
        (json!([]), "", ""),
        (json!([{"dst": "10.0.0.0/8", "gw": "10.0.0.9"}]), "", ""),
        (json!([{"dst": "0.0.0.0/0"}]), "10.0.0.1", ""),
        (json!([{"dst": "0.0.0.0/0", "gw": "10.0.0.9"}, {"dst": "::/0"}]), "10.0.0.9", "fd00::1"),
        (
            json!([{"dst": "0.0.0.0/0", "gw": "10.0.0.9"}, {"dst": "0.0.0.0/0"}]),
            "10.0.0.9 10.0.0.1",
            "",
        ),
        (json!([{"dst": "0.0.0.0/0", "gw": "fe80::1"}]), "fe80::1", ""),
        (
            json!([{"dst": "0.0.0.0/0", "gw": "0.0.0.0"}, {"dst": "::/0", "gw": "::"}]),
            "link",
            "link",
        ),
    ] {
        let result = read(json!({"ips": ips, "routes": routes}));
        let shown =
            |hop: &Option<IpAddr>| hop.map_or_else(|| "link".to_owned(), |ip| ip.to_string());
        let found =
            |family| result.default_hops(family).iter().map(shown).collect::<Vec<_>>().join(" ");
        assert_eq!((found(Family::V4).as_str(), found(Family::V6).as_str()), (v4, v6), "{routes}");
    }
}

#[test]
fn a_gateway_of_the_other_family_is_no_fallback() {
    let result = read(
        json!({"ips": [{"address": "::2/64", "gateway": "::1"}], "routes": [{"dst": "0.0.0.0/0"}]}),
    );
    assert_eq!(result.default_hops(Family::V4), [None], "it is on the link");
}

#[test]
fn default_routes_are_replaced_per_family() {
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.0.0.0/8"}, {"dst": "10.1.1.1/0"}]);
    let mut result = read(json!({"routes": routes}));
    let gateways = ["10.0.0.1", "10.0.0.2"];
    result.replace_default_routes(Family::V4, &gateways.map(|gateway| gateway.parse().ok()));
    let kept = [route("::/0", None), route("10.0.0.0/8", None)];
    assert_eq!(result.routes[..2], kept);
    assert_eq!(result.routes[2..], gateways.map(|gateway| route("0.0.0.0/0", Some(gateway))));
    result.replace_default_routes(Family::V4, &[]);
    assert_eq!(result.routes, kept);
    result.replace_default_routes(Family::V6, &["fe80::1".parse().ok(), None]);
    let expected = [route("10.0.0.0/8", None), route("::/0", Some("fe80::1")), route("::/0", None)];
    assert_eq!(result.routes, expected);
}

#[test]
fn families_are_told_apart() {
    for (text, family, default) in [
        ("0.0.0.0/0", Some(Family::V4), Some(Family::V4)),
        ("::/0", Some(Family::V6), Some(Family::V6)),
        ("0:0::/00", Some(Family::V6), Some(Family::V6)),
        ("0.0.0.0/1", Some(Family::V4), None),
        ("::ffff:10.0.0.1", Some(Family::V4), None),
        ("0.0.0.0", Some(Family::V4), None),
        ("default", None, None),
        ("", None, None),
        ("/0", None, None),
    ] {
        assert_eq!((Family::of_text(text), Family::is_default(text)), (family, default), "{text}");
    }
    assert_eq!(Family::ALL.map(|family| family.to_string()), ["IPv4", "IPv6"]);
}

/// Any JSON, with the keys of results more often than others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..4).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "(10\\.0\\.0\\.[0-9]|::[0-9]|<nil>)(/[0-9]{1,2})?".prop_map(Value::from),
        "(0|1)\\.[0-4]\\.0".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any_key(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known =
        [LIST_KEYS, FAMILY_KEYS, INTERFACE_KEYS, ADDRESS_KEYS, FAMILY_ADDRESS_KEYS, ROUTE_KEYS]
            .concat();
    prop_oneof![
        8 => prop::sample::select(known.clone()).prop_map(str::to_owned),
        1 => prop::sample::select(known).prop_map(str::to_uppercase),
        1 => "[a-z]{0,3}",
    ]
}

/// A result that is mostly of the right types, with odd content.
fn odd_result() -> impl Strategy<Value = Value> {
    let text =
        || prop_oneof![".{0,6}", "10\\.0\\.0\\.[0-9]{1,3}(/[0-9]{1,2})?", "::[0-9](/[0-9]{1,3})?"];
    let number = || prop_oneof![-3i64..5, any::<i64>()].prop_map(Value::from);
    let entry = move |texts: &'static [&'static str], numbers: &'static [&'static str]| {
        let texts = vec((prop::sample::select(texts), text().prop_map(Value::from)), 0..5);
        let numbers = vec((prop::sample::select(numbers), number()), 0..2);
        (texts, numbers).prop_map(|(texts, numbers)| {
            let entries = texts.into_iter().chain(numbers);
            Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).collect())
        })
    };
    let interfaces = vec(entry(&["name", "mac", "sandbox", "pciID", "Mac"], &["mtu", "z"]), 0..4);
    let ips = vec(entry(&["address", "gateway", "version", "Gateway"], &["interface", "z"]), 0..4);
    let routes = vec(entry(&["dst", "gw", "DST"], &["mtu", "priority"]), 0..4);
    (interfaces, ips, routes).prop_map(
        |(interfaces, ips, routes)| json!({"interfaces": interfaces, "ips": ips, "routes": routes}),
    )
}

fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<u64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from)
    ];
    vec(("x-[a-z]{1,3}", value), 0..3).prop_map(|entries| entries.into_iter().collect())
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let v6 = any::<[u16; 8]>().prop_map(IpAddr::from);
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), v6]
}

fn any_cidr() -> impl Strategy<Value = String> {
    (any_ip(), 0u8..=32).prop_map(|(ip, prefix)| format!("{ip}/{prefix}"))
}

fn any_gateway() -> impl Strategy<Value = Option<String>> {
    option::of(any_ip().prop_map(|ip| ip.to_string()))
}

fn any_interface() -> impl Strategy<Value = Interface> {
    let text = || option::of(".{1,12}");
    (".{0,15}", text(), option::of(1..=u64::MAX), text(), text(), text(), unknown()).prop_map(
        |(name, mac, mtu, sandbox, socket_path, pci_id, other)| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
            other,
        },
    )
}

fn any_address(interfaces: usize) -> impl Strategy<Value = Address> {
    let index =
        (0..=interfaces).prop_map(move |index| Some(index).filter(|index| *index < interfaces));
    (any_cidr(), any_gateway(), index, unknown()).prop_map(
        |(address, gateway, interface, other)| Address { address, gateway, interface, other },
    )
}

fn any_route() -> impl Strategy<Value = Route> {
    let numbers = vec((prop::sample::select(vec!["mtu", "table", "scope"]), any::<u32>()), 0..3);
    (any_cidr(), any_gateway(), unknown(), numbers).prop_map(|(dst, gw, mut other, numbers)| {
        other.extend(numbers.into_iter().map(|(key, number)| (key.to_owned(), number.into())));
        Route { dst, gw, other }
    })
}

fn any_result() -> impl Strategy<Value = AttachmentResult> {
    vec(any_interface(), 0..5).prop_flat_map(|interfaces| {
        let ips = vec(any_address(interfaces.len()), 0..5);
        let dns = option::of(unknown().prop_map(Value::Object));
        (Just(interfaces), ips, vec(any_route(), 0..5), dns, unknown()).prop_map(
            |(interfaces, ips, routes, dns, other)| AttachmentResult {
                interfaces,
                ips,
                routes,
                dns,
                other,
            },
        )
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_from_0_3_0(result in any_result()) {
        for version in LISTS {
            let text = result.write(version).to_string();
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(AttachmentResult::read(&value, Version::V0_1_0), Ok(result.clone()));
            prop_assert_eq!(AttachmentResult::read_lenient(&value, Version::V0_1_0), Ok(result.clone()));
        }
    }

    #[test]
    fn the_oldest_layout_keeps_one_address_of_each_family(result in any_result()) {
        let old = AttachmentResult::read(&result.write(Version::V0_2_0), Version::V1_1_0).unwrap();
        for family in Family::ALL {
            let of_family = |address: &&Address| address.family() == Some(family);
            let expected = result.attachment_addresses().find(of_family).or(result.ips.iter().find(of_family));
            let kept: Vec<_> = old.ips.iter().filter(of_family).collect();
            let expected = expected.map(|address| Address { interface: None, ..address.clone() });
            prop_assert_eq!(kept, Vec::from_iter(expected.as_ref()));
            let routes = |result: &AttachmentResult| -> Vec<Route> {
                result.routes.iter().filter(|route| route.family() == Some(family)).cloned().collect()
            };
            prop_assert_eq!(routes(&old), if expected.is_some() { routes(&result) } else { Vec::new() });
        }
        prop_assert_eq!((&old.dns, &old.other, old.interfaces.len()), (&result.dns, &result.other, 0));
        // A second time nothing more is lost.
        let again = AttachmentResult::read(&old.write(Version::V0_1_0), Version::V1_1_0).unwrap();
        prop_assert_eq!(again, old);
    }

    #[test]
    fn any_json_is_a_result_or_a_refusal(value in any_json()) {
        for network in Version::ALL {
            let strict = AttachmentResult::read(&value, network);
            let lenient = AttachmentResult::read_lenient(&value, network);
            if let Ok(strict) = strict {
                prop_assert_eq!(&lenient, &Ok(strict));
            }
            if let Ok(mut result) = lenient {
                let _ = Version::ALL.map(|version| result.write(version));
                result.append(result.clone(), "net1", "/n");
                let _ = result.default_hops(Family::V4);
            }
        }
    }

    #[test]
    fn a_lenient_reader_takes_odd_content_and_reads_back_what_it_wrote(value in odd_result()) {
        let result = AttachmentResult::read_lenient(&value, Version::V1_1_0);
        prop_assert!(result.is_ok(), "{:?}", result);
        let result = result.unwrap();
        for version in LISTS {
            let again = AttachmentResult::read_lenient(&result.write(version), Version::V0_1_0).unwrap();
            prop_assert_eq!(&again, &result);
        }
    }

    #[test]
    fn appending_keeps_what_is_there_and_indexes_the_rest(first in any_result(), extra in any_result()) {
        let mut merged = first.clone();
        merged.append(extra.clone(), "net1", "/n");
        prop_assert_eq!(&merged.interfaces[..first.interfaces.len()], &first.interfaces[..]);
        prop_assert_eq!(&merged.ips[..first.ips.len()], &first.ips[..]);
        prop_assert_eq!(&merged.routes[..first.routes.len()], &first.routes[..]);
        prop_assert_eq!((&merged.dns, &merged.other), (&first.dns, &first.other));
        for (address, before) in merged.ips[first.ips.len()..].iter().zip(&extra.ips) {
            let named = &merged.interfaces[address.interface.unwrap()];
            match before.interface {
                Some(index) => prop_assert_eq!(named, &extra.interfaces[index]),
                None => prop_assert!(named.is_in_sandbox()),
            }
            prop_assert!(address.interface.unwrap() >= first.interfaces.len());
        }
        prop_assert_eq!(merged.ips.len(), first.ips.len() + extra.ips.len());
    }
}
