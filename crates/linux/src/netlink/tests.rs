//! Against the kernel, each test in a network namespace of its own.

mod routes;

use super::*;
use crate::family::Family;
use crate::netns::Netns;
use crate::netns::testing::{ip, sandbox};
use std::net::IpAddr;
use std::thread;

/// Two veth pairs, `eth0` and `net1`, both dual-stack and up.
fn pod() -> (Netns, Netlink) {
    let netns = sandbox();
    ip(
        &netns,
        &[
            "link set lo up",
            "link add eth0 type veth peer name peer0",
            "link add net1 address 02:00:00:00:00:0a mtu 1400 type veth peer name peer1",
            "link set peer0 up",
            "link set peer1 up",
            "addr add 10.0.0.2/24 dev eth0",
            "addr add fd00:0::2/64 dev eth0 nodad",
            "addr add 10.1.0.2/24 dev net1",
            "addr add fd00:1::2/64 dev net1 nodad",
            "link set eth0 up",
            "link set net1 up",
        ],
    );
    wait_for_carriers(&netns);
    let netlink = netns.run(Netlink::open).unwrap().unwrap();
    (netns, netlink)
}

/// The kernel notices carriers up to a second later, and marks routes until then.
fn wait_for_carriers(netns: &Netns) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while routes(netns).contains("linkdown") {
        assert!(std::time::Instant::now() < until, "{}", routes(netns));
        thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// What `ip` lists, in its words.
fn routes(netns: &Netns) -> String {
    ip(netns, &["-4 route show table main"]) + &ip(netns, &["-6 route show table main"])
}

fn link(netlink: &mut Netlink, name: &str) -> Link {
    netlink.links().unwrap().into_iter().find(|link| link.name == name).unwrap()
}

fn index(netlink: &mut Netlink, name: &str) -> u32 {
    link(netlink, name).index
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Deletes and restores the default routes of both families, and compares at each step.
fn assert_restored_exactly(netns: &Netns, netlink: &mut Netlink) {
    let before = routes(netns);
    assert!(before.contains("default"), "{before}");
    let listed: Vec<DefaultRoute> = Family::ALL
        .into_iter()
        .flat_map(|family| netlink.default_routes(family).unwrap())
        .collect();
    for route in &listed {
        netlink.delete_route(route).unwrap();
    }
    assert!(!routes(netns).contains("default"), "{}", routes(netns));
    for route in &listed {
        netlink.restore_route(route).unwrap();
    }
    assert_eq!(routes(netns), before);
}

#[test]
fn links_show_addresses_of_both_families() {
    let (_netns, mut netlink) = pod();
    let links = netlink.links().unwrap();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["lo", "peer0", "eth0", "peer1", "net1"]);
    let expected = Link {
        index: links[4].index,
        name: "net1".to_owned(),
        mac: Some("02:00:00:00:00:0a".to_owned()),
        mtu: Some(1400),
        up: true,
        parent: Some(links[3].index),
        addresses: vec!["10.1.0.2/24".parse().unwrap(), "fd00:1::2/64".parse().unwrap()],
    };
    assert_eq!(links[4], expected);
    assert_eq!(links[1].addresses, [], "link-local only");
}

#[test]
fn addresses_are_sorted_and_local() {
    let (netns, mut netlink) = pod();
    ip(
        &netns,
        &[
            "addr add 10.0.0.1/24 dev eth0",
            "addr add 9.9.9.9 peer 8.8.8.8/32 dev eth0",
            "link set eth0 down",
        ],
    );
    let link = link(&mut netlink, "eth0");
    let texts: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(texts[..3], ["9.9.9.9/32", "10.0.0.1/24", "10.0.0.2/24"]);
    assert!(!link.up);
}

#[test]
fn an_address_with_a_lifetime_is_not_listed() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["addr add fd00:0::9/64 dev eth0 nodad valid_lft 300 preferred_lft 300"]);
    let link = link(&mut netlink, "eth0");
    assert_eq!(
        link.addresses,
        ["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse::<IpNetwork>().unwrap()]
    );
}

#[test]
fn an_empty_namespace_has_lo_alone() {
    let netns = sandbox();
    let links = netns.run(|| Netlink::open().unwrap().links().unwrap()).unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!((links[0].name.as_str(), links[0].up), ("lo", false));
    assert_eq!(links[0].addresses, []);
}

#[test]
fn a_hundred_links_are_all_listed() {
    let netns = sandbox();
    let adds: Vec<String> =
        (0..100).map(|number| format!("link add b{number} type bridge")).collect();
    ip(&netns, &adds.iter().map(String::as_str).collect::<Vec<_>>());
    let links = netns.run(|| Netlink::open().unwrap().links().unwrap()).unwrap();
    assert_eq!(links.len(), 101);
}

#[test]
fn a_link_that_is_not_there_is_none() {
    let (_netns, mut netlink) = pod();
    let long = "x".repeat(127);
    for name in
        ["eth1", "", "eth0\0", "x".repeat(16).as_str(), &long, &"x".repeat(4000), "\u{1b}[2J"]
    {
        assert!(!netlink.link_exists(name).unwrap(), "{name:?}");
    }
    assert!(netlink.link_exists("eth0").unwrap());
}

#[test]
fn a_link_has_its_alternative_names_too() {
    let (netns, mut netlink) = pod();
    ip(&netns, &["link property add dev eth0 altname short altname longer-than-fifteen-bytes"]);
    for name in ["eth0", "short", "longer-than-fifteen-bytes"] {
        assert!(netlink.link_exists(name).unwrap(), "{name}");
    }
}

#[test]
fn a_socket_stays_in_the_namespace_where_it_was_opened() {
    let (_netns, mut netlink) = pod();
    assert!(thread::spawn(move || netlink.link_exists("net1").unwrap()).join().unwrap());
    assert!(!Netlink::open().unwrap().link_exists("net1").unwrap());
}

#[test]
fn an_asynchronous_task_gets_an_error_and_no_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut netlink = Netlink::open().unwrap();
    let errors =
        runtime.block_on(async { [Netlink::open().unwrap_err(), netlink.links().unwrap_err()] });
    for error in errors {
        assert!(error.to_string().ends_with("use a thread of its own"), "{error}");
    }
}
