//! Against the kernel: what `ip` and `bridge` show of a change.

use super::super::*;
use crate::netns::Netns;
use crate::netns::testing::{ip, sandbox};

fn open() -> (Netns, Netlink) {
    let netns = sandbox();
    let netlink = netns.run(Netlink::open).unwrap().unwrap();
    (netns, netlink)
}

fn bridge(name: &str) -> NewLink<'_> {
    NewLink::new(name, NewLinkKind::Bridge { vlan_filtering: false })
}

fn found(netlink: &mut Netlink, name: &str) -> LinkState {
    netlink.find(LinkId::Name(name)).unwrap().unwrap()
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

#[test]
fn one_message_makes_a_veth_pair_whose_other_end_is_elsewhere() {
    let (host, mut netlink) = open();
    let (container, mut inside) = open();
    let mac = [2, 0, 0, 0, 0, 9];
    let peer =
        NewLinkEnd { name: "eth0", mtu: Some(1400), mac: Some(&mac), netns: Some(&container) };
    let bridge = NewLink { up: true, ..bridge("br0") };
    let bridge =
        netlink.apply_then_find(&[Change::create_link(&bridge)], &[LinkId::Name("br0")]).unwrap();
    let bridge = bridge[0].clone().unwrap();
    assert!(matches!(bridge.kind, LinkKind::Bridge { vlan_filtering: false, .. }), "{bridge:?}");
    let pair = NewLink {
        master: Some(bridge.index),
        up: true,
        tx_queue_len: Some(0),
        mtu: Some(1400),
        ..NewLink::new("vethx", NewLinkKind::Veth { peer })
    };
    let port = PortSettings { hairpin: Some(true), isolated: Some(true) };
    let changes = [Change::create_link(&pair), Change::set_port(LinkId::Name("vethx"), port)];
    let end =
        netlink.apply_then_find(&changes, &[LinkId::Name("vethx")]).unwrap().remove(0).unwrap();
    assert_eq!((end.kind.clone(), end.master, end.up), (LinkKind::Veth, Some(bridge.index), true));
    let eth0 = found(&mut inside, "eth0");
    assert_eq!((eth0.mac.as_deref(), eth0.mtu, eth0.up), (Some("02:00:00:00:00:09"), 1400, false));
    assert_eq!(eth0.parent, Some(end.index));
    let shown = ip(&host, &["-d link show vethx"]);
    for word in ["hairpin on", "isolated on", "mtu 1400"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains("qlen"), "{shown}");
}

#[test]
fn a_refused_change_is_the_first_one_that_is_told_and_what_is_done_is_none() {
    let (_netns, mut netlink) = open();
    let link = bridge("br0");
    let twice = [
        Change::create_link(&link),
        Change::create_link(&link),
        Change::delete_link(LinkId::Name("no")),
    ];
    assert_eq!(
        netlink.apply(&twice).unwrap_err().to_string(),
        "cannot create bridge interface \"br0\": there is an interface of this name already \
         (EEXIST)"
    );
    netlink.apply(&[Change::ensure_link(&link), Change::delete_link(LinkId::Name("br0"))]).unwrap();
    assert_eq!(netlink.find(LinkId::Name("br0")).unwrap(), None);
    let up = LinkSettings { up: Some(true), ..LinkSettings::default() };
    let error =
        netlink.apply(&[Change::set_link(LinkId::Index(4711), &up)]).unwrap_err().to_string();
    assert_eq!(error, "cannot configure interface #4711: the interface is gone (ENODEV)");
}

#[test]
fn more_changes_than_a_datagram_takes_are_all_made() {
    let (_netns, mut netlink) = open();
    let names: Vec<String> = (0..70).map(|number| format!("b{number}")).collect();
    let links: Vec<NewLink<'_>> = names.iter().map(|name| bridge(name)).collect();
    let changes: Vec<Change<'_>> = links.iter().map(Change::create_link).collect();
    let asked: Vec<LinkId<'_>> = names.iter().map(|name| LinkId::Name(name)).collect();
    let found = netlink.apply_then_find(&changes, &asked).unwrap();
    let found: Vec<String> = found.into_iter().map(|link| link.unwrap().name).collect();
    assert_eq!(found, names);
    assert_eq!(
        netlink.apply_then_find(&[], &[LinkId::Name(""), asked[3]]).unwrap()[1]
            .as_ref()
            .unwrap()
            .name,
        "b3"
    );
}

#[test]
fn settings_of_a_link_are_what_ip_shows() {
    let (netns, mut netlink) = open();
    netlink.apply(&[Change::create_link(&bridge("br0"))]).unwrap();
    let settings = LinkSettings {
        up: Some(true),
        mac: Some(&[2, 0, 0, 0, 0, 7]),
        mtu: Some(1300),
        alias: Some("an alias"),
        promiscuous: Some(true),
        all_multicast: Some(true),
        tx_queue_len: Some(77),
        master: None,
        group: Some(70_000),
    };
    netlink.apply(&[Change::set_link(LinkId::Name("br0"), &settings)]).unwrap();
    let link = found(&mut netlink, "br0");
    assert!(link.promiscuous && link.up && link.mtu == 1300, "{link:?}");
    let down = LinkSettings { up: Some(false), ..LinkSettings::default() };
    netlink
        .apply(&[
            Change::set_link(LinkId::Index(link.index), &down),
            Change::rename_link(link.index, "br1"),
        ])
        .unwrap();
    let shown = ip(&netns, &["link show br1"]);
    for word in
        ["PROMISC", "mtu 1300", "qlen 77", "02:00:00:00:00:07", "alias an alias", "group 70000"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn a_group_is_deleted_whole_and_nothing_else() {
    let (netns, mut netlink) = open();
    let names = ["br0", "br1", "br2"];
    let settings = LinkSettings { group: Some(70_000), ..LinkSettings::default() };
    let made = names.map(|name| Change::create_link(&bridge(name)));
    netlink.apply(&made).unwrap();
    let joined = ["br0", "br2"].map(|name| Change::set_link(LinkId::Name(name), &settings));
    netlink.apply(&joined).unwrap();
    netlink.apply(&[Change::delete_group(70_000)]).unwrap();
    let shown = ip(&netns, &["-brief link"]);
    assert!(!shown.contains("br0") && shown.contains("br1") && !shown.contains("br2"), "{shown}");
    assert!(netlink.apply(&[Change::delete_group(70_000)]).is_err(), "an empty group");
}

#[test]
fn addresses_and_routes_are_what_ip_would_add() {
    let (netns, mut netlink) = open();
    ip(
        &netns,
        &["link add eth0 type veth peer name peer0", "link set peer0 up", "link set eth0 up"],
    );
    let eth0 = found(&mut netlink, "eth0").index;
    let route = |destination: &str| NewRoute::new(network(destination), eth0);
    let via = |destination: &str, gateway: &str| NewRoute {
        gateway: gateway.parse().ok(),
        ..route(destination)
    };
    let changes = [
        Change::add_address(eth0, network("10.0.0.2/24")),
        Change::add_address(eth0, network("10.0.2.2/31")),
        Change::add_address(eth0, network("fd00::2/64")),
        Change::add_route(&via("0.0.0.0/0", "10.0.0.1")),
        Change::add_route(&NewRoute {
            metric: Some(7),
            mtu: Some(1300),
            advmss: Some(1200),
            ..via("172.16.9.9/12", "10.0.0.1")
        }),
        Change::add_route(&NewRoute {
            table: Some(100),
            scope: Scope::Link,
            ..route("10.9.0.0/16")
        }),
        Change::add_route(&NewRoute {
            table: Some(1000),
            source: "10.0.0.2".parse().ok(),
            ..route("10.9.0.0/16")
        }),
        Change::add_route(&NewRoute { onlink: true, ..via("10.8.0.0/16", "192.0.2.1") }),
        Change::add_route(&via("fd99::/48", "fd00::1")),
        Change::add_route(&via("10.7.0.0/16", "fe80::1")),
    ];
    netlink.apply(&changes).unwrap();
    let shown = ip(&netns, &["-4 addr show eth0"])
        + &ip(&netns, &["-4 route show table all"])
        + &ip(&netns, &["-6 route show table main"]);
    for line in [
        "inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0",
        "inet 10.0.2.2/31 scope global eth0",
        "default via 10.0.0.1 dev eth0 \n",
        "172.16.0.0/12 via 10.0.0.1 dev eth0 metric 7 mtu 1300 advmss 1200 \n",
        "10.9.0.0/16 dev eth0 table 100 scope link \n",
        "10.9.0.0/16 dev eth0 table 1000 src 10.0.0.2 \n",
        "10.8.0.0/16 via 192.0.2.1 dev eth0 onlink \n",
        "fd99::/48 via fd00::1 dev eth0 metric 1024 pref medium\n",
        "10.7.0.0/16 via inet6 fe80::1 dev eth0 \n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert_eq!(netlink.default_link().unwrap(), Some(eth0));
    let addresses = netlink.link_addresses(eth0).unwrap();
    assert!(
        addresses.iter().any(|address| address.address == network("10.0.0.2/24")),
        "{addresses:?}"
    );
    netlink
        .apply(&[
            Change::delete_route(&via("0.0.0.0/0", "10.0.0.1")),
            Change::delete_route(&via("0.0.0.0/0", "10.0.0.1")),
            Change::delete_address(eth0, network("10.0.0.2/24")),
            Change::delete_address(eth0, network("10.0.0.2/24")),
        ])
        .unwrap();
    assert_eq!(netlink.default_link().unwrap(), None);
}

#[test]
fn a_route_of_the_kernel_is_deleted_and_one_of_another_link_replaced() {
    let (netns, mut netlink) = open();
    for name in ["eth0", "eth1"] {
        ip(
            &netns,
            &[
                &format!("link add {name} type veth peer name p{name}"),
                &format!("link set p{name} up"),
            ],
        );
        ip(&netns, &[&format!("link set {name} up")]);
    }
    let (eth0, eth1) = (found(&mut netlink, "eth0").index, found(&mut netlink, "eth1").index);
    let any = |destination: &str| NewRoute {
        scope: Scope::Any,
        ..NewRoute::new(network(destination), eth0)
    };
    for (address, subnet, host) in
        [("10.0.0.2/24", "10.0.0.0/24", "10.5.0.1/32"), ("fd00::2/64", "fd00::/64", "fd05::1/128")]
    {
        let hosts = |link| NewRoute::new(network(host), link);
        netlink
            .apply(&[
                Change::add_address(eth0, network(address)),
                Change::delete_route(&any(subnet)),
                Change::delete_route(&any(subnet)),
                Change::add_route(&hosts(eth0)),
                Change::replace_route(&hosts(eth1)),
            ])
            .unwrap();
        let shown = ip(&netns, &["-4 route"]) + &ip(&netns, &["-6 route"]);
        let host = host.trim_end_matches("/32").trim_end_matches("/128");
        assert!(!shown.contains(subnet), "{shown}");
        assert!(
            shown.contains(&format!("{host} dev eth1"))
                && !shown.contains(&format!("{host} dev eth0")),
            "{shown}"
        );
    }
}

#[test]
fn the_addresses_of_one_link_are_listed_while_they_are_checked() {
    let (netns, mut netlink) = open();
    ip(
        &netns,
        &[
            "link set lo up",
            "link add eth0 type veth peer name peer0",
            "link set peer0 up",
            "link set eth0 up",
        ],
    );
    let eth0 = found(&mut netlink, "eth0").index;
    netlink.apply(&[Change::add_address(eth0, network("fd00::2/64"))]).unwrap();
    let addresses = netlink.link_addresses(eth0).unwrap();
    let ours = addresses.iter().find(|address| address.address == network("fd00::2/64")).unwrap();
    assert!(ours.tentative && !ours.duplicate, "{ours:?}");
    assert!(addresses.iter().all(|address| address.address != network("::1/128")), "{addresses:?}");
    assert_eq!(netlink.link_addresses(4711).unwrap(), []);
}

#[test]
fn refused_addresses_are_explained() {
    let (_netns, mut netlink) = open();
    netlink.apply(&[Change::create_link(&bridge("br0"))]).unwrap();
    let index = found(&mut netlink, "br0").index;
    let add = Change::add_address(index, network("10.0.0.2/24"));
    let error = netlink.apply(&[add.clone(), add.clone()]).unwrap_err().to_string();
    assert!(error.ends_with("the interface has it already (EEXIST)"), "{error}");
    netlink.apply(&[add.unless_present()]).unwrap();
}

#[test]
fn a_macvlan_link_appears_in_another_namespace() {
    let (netns, mut netlink) = open();
    let (container, mut inside) = open();
    ip(&netns, &["link add eth0 type veth peer name peer0"]);
    let parent = found(&mut netlink, "eth0").index;
    for (mode, word) in
        [(MacVlan::Bridge, "bridge"), (MacVlan::Private, "private"), (MacVlan::Vepa, "vepa")]
    {
        let kind = NewLinkKind::MacVlan { parent, mode, broadcast_queue_len: Some(1234) };
        let link = NewLink { netns: Some(&container), ..NewLink::new("tmp0", kind) };
        netlink.apply(&[Change::create_link(&link)]).unwrap();
        assert_eq!(found(&mut inside, "tmp0").kind, LinkKind::MacVlan(Some(mode)));
        let shown = ip(&container, &["-d link show tmp0"]);
        assert!(shown.contains(&format!("macvlan mode {word} bcqueuelen 1234")), "{shown}");
        inside.apply(&[Change::delete_link(LinkId::Name("tmp0"))]).unwrap();
    }
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run it by scripts/vm"]
fn vlans_of_a_port_are_what_bridge_shows() {
    let (host, mut netlink) = open();
    let bridge =
        NewLink { up: true, ..NewLink::new("br0", NewLinkKind::Bridge { vlan_filtering: true }) };
    netlink.apply(&[Change::create_link(&bridge)]).unwrap();
    let bridge = found(&mut netlink, "br0");
    assert_eq!(bridge.kind, LinkKind::Bridge { vlan_filtering: true, default_vlan: 1 });
    let peer = NewLinkEnd { name: "peer", mtu: None, mac: None, netns: None };
    let pair =
        NewLink { master: Some(bridge.index), ..NewLink::new("vethx", NewLinkKind::Veth { peer }) };
    netlink.apply(&[Change::create_link(&pair)]).unwrap();
    let port = found(&mut netlink, "vethx");
    netlink
        .apply(&[
            Change::delete_vlan(port.index, 1),
            Change::delete_vlan(port.index, 77),
            Change::add_vlan(port.index, PortVlan::Native(5)),
            Change::add_vlan(port.index, PortVlan::Tagged(9)),
        ])
        .unwrap();
    let vlans = host.run(|| {
        std::process::Command::new("bridge").args(["vlan", "show", "dev", "vethx"]).output()
    });
    let vlans = String::from_utf8(vlans.unwrap().unwrap().stdout).unwrap();
    let words: Vec<&str> = vlans.split_whitespace().skip(2).collect();
    assert_eq!(words, ["vethx", "5", "PVID", "Egress", "Untagged", "9"]);
}

#[test]
#[ignore = "needs a kernel with vlan, ipvlan and dummy: run it by scripts/vm"]
fn links_on_top_of_others_are_what_ip_shows() {
    let (netns, mut netlink) = open();
    netlink.apply(&[Change::create_link(&NewLink::new("dummy0", NewLinkKind::Dummy))]).unwrap();
    let dummy = found(&mut netlink, "dummy0");
    assert_eq!(dummy.kind, LinkKind::Dummy);
    let parent = dummy.index;
    let vlan = NewLink::new("vlan5", NewLinkKind::Vlan { parent, id: 5 });
    netlink.apply(&[Change::create_link(&vlan)]).unwrap();
    assert_eq!(found(&mut netlink, "vlan5").kind, LinkKind::Vlan(5));
    assert!(ip(&netns, &["-d link show vlan5"]).contains("vlan protocol 802.1Q id 5"));
    for (mode, word) in [(IpVlan::L2, "l2"), (IpVlan::L3, "l3"), (IpVlan::L3s, "l3s")] {
        let link = NewLink::new("ipvl0", NewLinkKind::IpVlan { parent, mode });
        netlink.apply(&[Change::create_link(&link)]).unwrap();
        assert_eq!(found(&mut netlink, "ipvl0").kind, LinkKind::IpVlan(Some(mode)));
        let shown = ip(&netns, &["-d link show ipvl0"]);
        assert!(shown.contains(&format!("ipvlan  mode {word} bridge")), "{shown}");
        netlink.apply(&[Change::delete_link(LinkId::Name("ipvl0"))]).unwrap();
    }
}
