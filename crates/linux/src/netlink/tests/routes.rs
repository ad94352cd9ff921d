//! Reading and changing routes.

use super::*;

#[test]
fn default_routes_of_both_families_and_every_metric_are_listed() {
    let (netns, mut netlink) = pod();
    ip(
        &netns,
        &[
            "route add default via 10.0.0.1",
            "route add default via 10.1.0.1 metric 50",
            "route add default dev net1 metric 70",
            "-6 route add default via fd00:0::1 metric 20",
            "-6 route add default dev net1",
            "route add 172.16.0.0/12 via 10.0.0.1",
            "route add default via 10.0.0.1 table 100",
            "route add default via 10.0.0.1 table 1000",
            "route add unreachable default metric 4000000",
            "-6 route add unreachable default metric 4000000",
        ],
    );
    let (eth0, net1) = (index(&mut netlink, "eth0"), index(&mut netlink, "net1"));
    let mut listed = |family| -> Vec<_> {
        let routes = netlink.default_routes(family).unwrap();
        routes.into_iter().map(|route| (route.link_index, route.gateway, route.metric)).collect()
    };
    let expected = [
        (Some(eth0), Some(address("10.0.0.1")), None),
        (Some(net1), Some(address("10.1.0.1")), Some(50)),
        (Some(net1), None, Some(70)),
    ];
    assert_eq!(listed(Family::V4), expected);
    let expected =
        [(Some(eth0), Some(address("fd00:0::1")), Some(20)), (Some(net1), None, Some(1024))];
    assert_eq!(listed(Family::V6), expected);
}

#[test]
fn what_a_router_advertised_is_left_alone() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["-6 route add default via fd00:0::1 proto ra expires 600"]);
    assert_eq!(netlink.default_routes(Family::V6).unwrap(), []);
}

#[test]
fn deleted_routes_are_restored_exactly() {
    let cases: [&[&str]; 8] = [
        &["route add default via 10.0.0.1"],
        &[
            "route add default via 10.0.0.1 src 10.0.0.2 mtu 1300 advmss 1200 proto dhcp metric 5",
            "-6 route add default via fd00:0::1 src fd00:0::2 mtu 1300 hoplimit 7 proto bird \
             metric 5 pref high",
        ],
        &["route add default dev eth0", "-6 route add default dev eth0"],
        &[
            "route add default via 192.0.2.1 dev eth0 onlink",
            "-6 route add default via fe80::9 dev eth0",
        ],
        &["-4 route add default via inet6 fe80::9 dev eth0"],
        &[
            "route add default via 10.0.0.1",
            "route append default via 10.1.0.1",
            "route append default via 10.0.0.9",
            "route add default via 10.0.0.1 tos 0x10",
            "-6 route add default dev net1",
            "-6 route append default dev eth0",
        ],
        &[
            "route add default nexthop via 10.0.0.1 dev eth0 weight 3 nexthop via 10.1.0.1 dev \
             net1",
            "-6 route add default nexthop via fd00:0::1 dev eth0 nexthop via fd00:1::1 dev net1 \
             weight 2",
        ],
        &[
            "nexthop add id 7 via 10.0.0.1 dev eth0",
            "route add default nhid 7",
            "nexthop add id 8 via fd00:0::1 dev eth0",
            "-6 route add default nhid 8",
        ],
    ];
    for lines in cases {
        let (netns, mut netlink) = pod();
        ip(&netns, lines);
        assert_restored_exactly(&netns, &mut netlink);
    }
}

#[test]
fn default_routes_that_lead_nowhere_are_listed_apart_and_restored_exactly() {
    let (netns, mut netlink) = pod();
    for (metric, kind) in ["blackhole", "unreachable", "prohibit", "throw"].into_iter().enumerate()
    {
        ip(&netns, &[&format!("route add {kind} default metric {metric}")]);
        ip(&netns, &[&format!("-6 route add {kind} default metric {}", 2000 + metric)]);
    }
    let before = routes(&netns);
    let metrics = [(Family::V4, [0, 1, 2, 3]), (Family::V6, [2000, 2001, 2002, 2003])];
    for (family, expected) in metrics {
        assert_eq!(netlink.default_routes(family).unwrap(), []);
        let rejecting_default_routes = netlink.rejecting_default_routes(family).unwrap();
        let listed: Vec<u32> =
            rejecting_default_routes.iter().map(|route| route.metric.unwrap_or_default()).collect();
        assert_eq!(listed, expected, "{family}");
        rejecting_default_routes.iter().for_each(|route| netlink.delete_route(route).unwrap());
        assert_eq!(netlink.rejecting_default_routes(family).unwrap(), []);
        rejecting_default_routes.iter().for_each(|route| netlink.restore_route(route).unwrap());
    }
    assert_eq!(routes(&netns), before);
}

#[test]
fn a_deleted_route_without_carrier_is_restored_exactly() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["route add default via 10.0.0.1 dev eth0", "link set peer0 down"]);
    // The kernel marks the routes a moment later.
    let is_marked = || routes(&netns).starts_with("default via 10.0.0.1 dev eth0 linkdown");
    let started = std::time::Instant::now();
    while !is_marked() && started.elapsed() < std::time::Duration::from_secs(30) {
        thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(is_marked(), "{}", routes(&netns));
    assert_restored_exactly(&netns, &mut netlink);
}

#[test]
fn an_expiring_route_expires_after_it_was_restored() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["-6 route add default via fd00:0::1 expires 600"]);
    let route = netlink.default_routes(Family::V6).unwrap().remove(0);
    netlink.delete_route(&route).unwrap();
    netlink.restore_route(&route).unwrap();
    let text = ip(&netns, &["-6 route show default"]);
    let seconds = text.split("expires ").nth(1).and_then(|rest| rest.split("sec").next());
    let seconds: u32 = seconds.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    assert!((540..=600).contains(&seconds), "{text}");
}

#[test]
fn a_multipath_route_appears_once_per_next_hop() {
    let (netns, mut netlink) = pod();
    ip(
        &netns,
        &[
            "route add default nexthop via 10.0.0.1 dev eth0 nexthop dev net1",
            "-6 route add default nexthop via fd00:0::1 dev eth0 nexthop via fd00:1::1 dev net1",
        ],
    );
    let (eth0, net1) = (Some(index(&mut netlink, "eth0")), Some(index(&mut netlink, "net1")));
    let v4: Vec<_> = netlink.default_routes(Family::V4).unwrap();
    assert_eq!(v4.iter().map(|route| route.link_index).collect::<Vec<_>>(), [eth0, net1]);
    assert_eq!(
        v4.iter().map(|route| route.gateway).collect::<Vec<_>>(),
        [Some(address("10.0.0.1")), None]
    );
    let v6: Vec<_> = netlink.default_routes(Family::V6).unwrap();
    assert_eq!(v6.iter().map(|route| route.link_index).collect::<Vec<_>>(), [eth0, net1]);
    assert!(v6.iter().all(|route| route.family() == Family::V6));
}

#[test]
fn deleting_and_restoring_twice_is_done_twice() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["route add default via 10.0.0.1", "-6 route add default via fd00:0::1"]);
    let before = routes(&netns);
    for family in Family::ALL {
        let route = netlink.default_routes(family).unwrap().remove(0);
        netlink.delete_route(&route).unwrap();
        netlink.delete_route(&route).unwrap();
        netlink.restore_route(&route).unwrap();
        netlink.restore_route(&route).unwrap();
    }
    assert_eq!(routes(&netns), before);
}

#[test]
fn a_route_of_a_deleted_link_is_gone_and_stays_gone() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["route add default via 10.0.0.1", "-6 route add default via fd00:0::1"]);
    let listed = Family::ALL.map(|family| netlink.default_routes(family).unwrap().remove(0));
    ip(&netns, &["link del eth0"]);
    for route in &listed {
        netlink.delete_route(route).unwrap();
        let error = netlink.restore_route(route).unwrap_err().to_string();
        assert!(
            error.contains(" on interface #") && error.contains(": the interface is gone (E"),
            "{error}"
        );
    }
}

#[test]
fn added_default_routes_are_what_ip_would_add() {
    let (netns, mut netlink) = pod();
    let net1 = index(&mut netlink, "net1");
    netlink.add_default_route(Family::V4, net1, Some(address("10.1.0.1")), None).unwrap();
    netlink.add_default_route(Family::V4, net1, None, Some(9)).unwrap();
    netlink.add_default_route(Family::V4, net1, Some(address("fe80::1")), Some(10)).unwrap();
    netlink.add_default_route(Family::V6, net1, Some(address("fd00:1::1")), Some(5)).unwrap();
    netlink.add_default_route(Family::V6, net1, None, None).unwrap();
    let ours = routes(&netns);
    ip(
        &netns,
        &[
            "route flush default",
            "-6 route flush default",
            "route add default via 10.1.0.1 dev net1 proto static",
            "route add default dev net1 metric 9 proto static",
            "-4 route add default via inet6 fe80::1 dev net1 metric 10 proto static",
            "-6 route add default via fd00:1::1 dev net1 metric 5 proto static",
            "-6 route add default dev net1 proto static",
        ],
    );
    assert_eq!(ours, routes(&netns));
    for text in
        ["default via 10.1.0.1 dev net1", "default dev net1 proto static scope link metric 9"]
    {
        assert!(ours.contains(text), "{ours}");
    }
}

#[test]
fn a_gateway_in_no_subnet_is_named() {
    let (_netns, mut netlink) = pod();
    let net1 = index(&mut netlink, "net1");
    let cases = [
        (Family::V4, "10.0.0.1", "ENETUNREACH"),
        (Family::V4, "192.0.2.1", "ENETUNREACH"),
        (Family::V6, "fd00:0::1", "EHOSTUNREACH"),
        (Family::V6, "2001:db8::1", "EHOSTUNREACH"),
    ];
    for (family, gateway, errno) in cases {
        let gateway = address(gateway);
        let error = netlink.add_default_route(family, net1, Some(gateway), None).unwrap_err();
        let expected = format!(
            "cannot add the {family} default route via {gateway} on interface \"net1\": gateway \
             {gateway} is in no subnet of the interface ({errno})"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_the_kernel_refuses_is_explained() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["link set peer1 down", "link set net1 down", "route add default via 10.0.0.1"]);
    let (eth0, net1) = (index(&mut netlink, "eth0"), index(&mut netlink, "net1"));
    let cases = [
        (Family::V4, eth0, "10.0.0.1", ": there is one with the same metric already (EEXIST)"),
        (
            Family::V6,
            eth0,
            "fd00::2",
            ": is gateway fd00::2 one of our own addresses, or no router's? (EINVAL)",
        ),
        (Family::V4, net1, "10.1.0.1", "\"net1\": the interface is down (ENETUNREACH)"),
        (Family::V4, net1, "", "\"net1\": the interface is down (ENETDOWN)"),
        (Family::V4, 4321, "10.1.0.1", "#4321: the interface is gone (ENETUNREACH)"),
        (Family::V4, 4321, "", "#4321: the interface is gone (ENODEV)"),
    ];
    for (family, link, gateway, end) in cases {
        let error =
            netlink.add_default_route(family, link, gateway.parse().ok(), None).unwrap_err();
        assert!(error.to_string().ends_with(end), "{error}");
    }
}

#[test]
fn disabled_ipv6_is_asked_about() {
    let (netns, mut netlink) = pod();
    netns
        .run(|| std::fs::write("/proc/sys/net/ipv6/conf/net1/disable_ipv6", "1"))
        .unwrap()
        .unwrap();
    let net1 = index(&mut netlink, "net1");
    let error = netlink.add_default_route(Family::V6, net1, None, None).unwrap_err();
    assert!(error.to_string().contains("net.ipv6.conf.net1.disable_ipv6? (E"), "{error}");
}

/// Adds a route to each destination twice, like the first default route of its family, and lists
/// the routes.
fn kept(lines: &[&str], destinations: &[&str]) -> String {
    let (netns, mut netlink) = pod();
    ip(&netns, lines);
    let eth0 = index(&mut netlink, "eth0");
    for destination in destinations.iter().chain(destinations) {
        let destination: IpNetwork = destination.parse().unwrap();
        let like = netlink.default_routes(Family::of(destination.ip())).unwrap().remove(0);
        netlink.add_route(destination, eth0, &like).unwrap();
    }
    routes(&netns)
}

#[test]
fn a_route_leaves_as_the_default_route_that_it_is_like() {
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &[
                "route add default via 10.0.0.1 metric 9",
                "-6 route add default via fd00:0::1 metric 9",
            ],
            &[
                "172.16.0.0/12 via 10.0.0.1 dev eth0 proto static",
                "fd99::/48 via fd00::1 dev eth0 proto static",
            ],
        ),
        (
            &["route add default dev eth0 scope link", "-6 route add default dev eth0"],
            &["172.16.0.0/12 dev eth0 proto static scope link", "fd99::/48 dev eth0 proto static"],
        ),
        (
            &[
                "route add default via 192.0.2.1 dev eth0 onlink mtu 1300 src 10.0.0.2",
                "-6 route add default via 2001:db8::1 dev eth0 onlink mtu 1300",
            ],
            &[
                "172.16.0.0/12 via 192.0.2.1 dev eth0 proto static src 10.0.0.2 onlink mtu 1300",
                "fd99::/48 via 2001:db8::1 dev eth0 proto static metric 1024 onlink mtu 1300",
            ],
        ),
        (
            &[
                "route add default nexthop via 10.0.0.1 dev eth0 nexthop via 10.0.0.9 dev eth0",
                "-6 route add default nexthop via fd00:0::1 dev eth0 nexthop via fd00:0::9 dev \
                 eth0",
            ],
            &[
                "172.16.0.0/12 proto static \n\tnexthop via 10.0.0.1 dev eth0 weight 1 \n\tnexthop \
                 via 10.0.0.9 dev eth0",
                "fd99::/48 proto static metric 1024 pref medium\n\tnexthop via fd00::1 dev eth0 \
                 weight 1 \n\tnexthop via fd00::9 dev eth0",
            ],
        ),
        (
            &[
                "route add default nexthop via 10.1.0.1 dev net1 nexthop via 10.0.0.1 dev eth0",
                "-6 route add default nexthop via fd00:1::1 dev net1 nexthop via fd00:0::1 dev \
                 eth0",
            ],
            &[
                "172.16.0.0/12 via 10.0.0.1 dev eth0 proto static",
                "fd99::/48 via fd00::1 dev eth0 proto static",
            ],
        ),
        (
            &[
                "nexthop add id 1 via 10.1.0.1 dev net1",
                "nexthop add id 2 via 10.0.0.1 dev eth0",
                "nexthop add id 9 group 1/2",
                "route add default nhid 9",
                "nexthop add id 3 via fd00:0::1 dev eth0",
                "-6 route add default nhid 3",
            ],
            &[
                "172.16.0.0/12 via 10.0.0.1 dev eth0 proto static",
                "fd99::/48 nhid 3 via fd00::1 dev eth0",
            ],
        ),
    ];
    for (lines, expected) in cases {
        let text = kept(lines, &["172.16.5.5/12", "fd99::5/48"]);
        for line in expected {
            assert!(text.contains(line), "{lines:?}: {line} is not in\n{text}");
        }
    }
}

#[test]
fn a_route_that_cannot_be_is_named() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["route add default via 10.0.0.1"]);
    let like = netlink.default_routes(Family::V4).unwrap().remove(0);
    ip(&netns, &["addr del 10.0.0.2/24 dev eth0"]);
    let eth0 = index(&mut netlink, "eth0");
    let error = netlink.add_route("10.9.0.0/16".parse().unwrap(), eth0, &like).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot add the route to 10.9.0.0/16 via 10.0.0.1"),
        "{error}"
    );
}

#[test]
fn the_link_towards_an_address_is_that_of_its_route() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["route add 172.16.0.0/12 via 10.1.0.9"]);
    let (eth0, net1) = (index(&mut netlink, "eth0"), index(&mut netlink, "net1"));
    for (target, link) in [
        ("10.0.0.9", Some(eth0)),
        ("172.16.0.1", Some(net1)),
        ("fd00:0::9", Some(eth0)),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
    ] {
        assert_eq!(netlink.link_towards(address(target)).unwrap(), link, "{target}");
    }
}
