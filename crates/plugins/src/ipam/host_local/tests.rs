use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use cni::deadline::Deadline;
use cni::plugin::{Answer, NeverStop, NoDelegates, answer};
use cni::request::{Environment, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ipam::Fields;
use std::time::Duration;

/// A node's data directory, and the configuration of one network.
struct Node {
    data: tempfile::TempDir,
    config: Value,
}

impl Node {
    fn new(mut ipam: Value) -> Self {
        let data = tempfile::tempdir().unwrap();
        ipam["dataDir"] = json!(data.path());
        Self {
            data,
            config: json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge", "ipam": ipam}),
        }
    }

    fn set(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    fn call(&self, command: &str, container: &str, args: &str) -> Answer {
        self.call_of("0", command, container, args, Duration::from_secs(20))
    }

    fn call_of(
        &self,
        depth: &str,
        command: &str,
        container: &str,
        args: &str,
        limit: Duration,
    ) -> Answer {
        let names = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"];
        let values = [command, container, "/run/netns/x", "net1", args];
        let mut pairs = [("", ""); 6];
        for (pair, (name, value)) in pairs.iter_mut().zip(names.into_iter().zip(values)) {
            *pair = (name, value);
        }
        pairs[5] = if depth == "1" { ("BRAID_DEPTH", "1") } else { ("UNUSED", "") };
        let request = Request::read(Environment::from(pairs)).unwrap().unwrap();
        let mut context = Context {
            delegate: &mut NoDelegates,
            deadline: Deadline::after(limit),
            stop: &NeverStop,
        };
        answer(&HostLocal, &request, self.config.to_string().as_bytes(), &mut context)
    }

    fn add(&self, container: &str) -> Result<Vec<String>, Error> {
        let result = self.call("ADD", container, "").outcome?.unwrap();
        let ips = result["ips"].as_array().unwrap().iter();
        Ok(ips.map(|ip| ip["address"].as_str().unwrap().to_owned()).collect())
    }

    fn del(&self, container: &str) {
        self.call("DEL", container, "").outcome.unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join("lan").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path("")).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// What is reserved: the names of the files but for the lock and the last addresses.
    fn reserved(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name != "lock" && !name.starts_with("last_reserved_ip.")).collect();
        names.sort();
        names
    }
}

fn small() -> Node {
    Node::new(json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/29"}]]}))
}

#[test]
fn the_files_are_those_of_the_reference() {
    let node =
        Node::new(json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}));
    assert_eq!(node.add("c1").unwrap(), ["10.1.0.2/24", "fd00::2/64"]);
    assert_eq!(node.reserved(), ["10.1.0.2", "fd00::2"]);
    for name in ["10.1.0.2", "fd00::2"] {
        assert_eq!(fs::read_to_string(node.path(name)).unwrap(), "c1\r\nnet1");
        assert_eq!(fs::metadata(node.path(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_to_string(node.path("last_reserved_ip.0")).unwrap(), "10.1.0.2");
    assert_eq!(fs::read_to_string(node.path("last_reserved_ip.1")).unwrap(), "fd00::2");
    assert_eq!(fs::metadata(node.path("lock")).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(fs::metadata(node.path("")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_result_has_gateways_routes_and_dns() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = [
        "# a comment",
        " nameserver 10.0.0.53",
        "domain a.example",
        "domain b.example",
        "search a b",
        "search c",
        "options ndots:2",
        "nameserver",
    ];
    fs::write(file.path(), lines.join("\n")).unwrap();
    let node = Node::new(json!({
        "subnet": "10.1.0.0/24", "gateway": "10.1.0.254", "routes": [{"dst": "0.0.0.0/0"}], "resolvConf": file.path(),
    }));
    assert_eq!(
        node.call("ADD", "c1", "").outcome.unwrap().unwrap(),
        json!({
            "cniVersion": "1.1.0",
            "ips": [{"address": "10.1.0.1/24", "gateway": "10.1.0.254"}],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {
                "nameservers": ["10.0.0.53"], "search": ["a", "b", "c"], "options": ["ndots:2"], "domain": "b.example",
            },
        })
    );
}

#[test]
fn an_address_rests_until_all_others_had_their_turn() {
    let node = small();
    assert_eq!(node.add("c1").unwrap(), ["10.1.0.2/29"]);
    node.del("c1");
    assert_eq!(node.add("c2").unwrap(), ["10.1.0.3/29"]);
    for container in ["c3", "c4", "c5"] {
        node.add(container).unwrap();
    }
    assert_eq!(node.add("c6").unwrap(), ["10.1.0.2/29"], "the walk goes round");
    let error = node.add("c7").unwrap_err();
    assert_eq!(error.code, Code::TRY_AGAIN);
    assert!(
        error.msg.starts_with("no address is free in range set 10.1.0.1-10.1.0.6: "),
        "{error}"
    );
}

#[test]
fn a_failed_add_leaves_nothing() {
    let node = Node::new(json!({"ranges": [
        [{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/30", "rangeStart": "10.2.0.2"}],
    ]}));
    node.add("c1").unwrap();
    let before = node.reserved();
    assert_eq!(node.add("c2").unwrap_err().code, Code::TRY_AGAIN);
    assert_eq!(node.reserved(), before);
}

#[test]
fn adding_twice_fails_and_keeps_the_address() {
    let node = small();
    node.add("c1").unwrap();
    let error = node.add("c1").unwrap_err();
    assert!(
        error.msg.contains("interface net1 of container c1 holds address 10.1.0.2 already"),
        "{error}"
    );
    assert_eq!(node.reserved(), ["10.1.0.2"]);
    node.write("10.1.0.5", "c5");
    assert!(node.add("c5").is_err(), "a reservation of a very old release counts");
}

#[test]
fn requested_addresses_come_from_three_places() {
    let mut node = Node::new(json!({"ranges": [
        [{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00::/64"}],
    ]}));
    node.set("args", json!({"cni": {"ips": ["10.2.0.9/8"]}}));
    node.set("runtimeConfig", json!({"ips": ["fd00::99"]}));
    let result = node.call("ADD", "c1", "IP=10.1.0.77").outcome.unwrap().unwrap();
    let ips: Vec<_> = result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect();
    assert_eq!(ips, ["10.1.0.77/24", "10.2.0.9/24", "fd00::99/64"]);
}

#[test]
fn a_requested_address_that_cannot_be_had_changes_nothing() {
    let node = small();
    node.add("c1").unwrap();
    let cases = [
        ("IP=10.1.0.2", 11, "is reserved for interface net1 of container c1"),
        ("IP=10.1.0.1", 7, "is the gateway of its subnet"),
        ("IP=10.9.0.1", 7, "lies in no range of the network"),
        ("IP=10.1.0.x", 7, "must be an IP address"),
        ("IP=", 7, "must be an IP address"),
        ("IP=10.1.0.4;FOO=1", 7, "key \"FOO\" is not known"),
    ];
    for (args, code, said) in cases {
        let error = node.call("ADD", "c2", args).outcome.unwrap_err();
        assert!(error.code.0 == code && error.msg.contains(said), "{args}: {error}");
        assert_eq!(node.reserved(), ["10.1.0.2"], "{args}");
    }
    let mut two = small();
    two.set("runtimeConfig", json!({"ips": ["10.1.0.3", "10.1.0.4"]}));
    let error = two.call("ADD", "c1", "").outcome.unwrap_err();
    assert!(error.msg.contains("10.1.0.4 is one too many"), "{error}");
    assert!(!two.path("").exists());
}

#[test]
fn wrong_types_and_values_are_code_7_before_anything_is_changed() {
    let range = |range: Value| json!({"ranges": [[range]]});
    let cases = [
        (json!({}), "no range is configured"),
        (json!({"ranges": {}}), "\"ipam.ranges\" must be a list"),
        (json!({"ranges": [{"subnet": "10.1.0.0/24"}]}), "\"ipam.ranges[0]\" must be a list"),
        (json!({"ranges": [[]]}), "\"ipam.ranges[0]\" is an empty range set"),
        (range(json!({})), "\"ipam.ranges[0][0].subnet\" is missing"),
        (
            range(json!({"subnet": "10.1.0.0/31"})),
            "\"ipam.ranges[0][0].subnet\": 10.1.0.0/31 is too small",
        ),
        (
            range(json!({"subnet": "fd00::/127"})),
            "\"ipam.ranges[0][0].subnet\": fd00::/127 is too small",
        ),
        (
            range(json!({"subnet": "10.1.0.1/24"})),
            "\"ipam.ranges[0][0].subnet\": 10.1.0.1/24 has host bits set",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"})),
            "\"ipam.ranges[0][0].rangeStart\": 10.2",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeEnd": "fd00::1"})),
            "\"ipam.ranges[0][0].rangeEnd\": fd00::1 is",
        ),
        (
            range(
                json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}),
            ),
            "\"ipam.ranges[0][0].rangeStart\": 10.1.0.9 is behind",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"})),
            "\"ipam.ranges[0][0].gateway\": fd00::1 is of",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}),
            "\"ipam.ranges[0]\" mixes IPv4 and IPv6",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/25"}]]}),
            "\"ipam.ranges[0]\": the ranges 10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.0.126 overlap",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.1.0.0/25"}]]}),
            "range set 10.1.0.1-10.1.0.254 and range set 10.1.0.1-10.1.0.126 overlap",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": [{"dst": 1}]}),
            "\"ipam.routes[0].dst\" must be a text",
        ),
    ];
    for (ipam, said) in cases {
        let node = Node::new(ipam);
        let error = node.add("c1").unwrap_err();
        assert!(error.code.0 == 7 && error.msg.starts_with(said), "{}: {error}", node.config);
        assert!(!node.path("").exists());
    }
}

#[test]
fn an_old_version_has_one_set_of_each_family() {
    let mut node =
        Node::new(json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}));
    node.set("cniVersion", json!("0.2.0"));
    assert_eq!(node.add("c1").unwrap_err().code, Code::CONFIG);
    let mut node =
        Node::new(json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}));
    node.set("cniVersion", json!("0.1.0"));
    let result = node.call("ADD", "c1", "").outcome.unwrap().unwrap();
    assert_eq!(
        (&result["ip4"]["ip"], &result["ip6"]["ip"]),
        (&json!("10.1.0.2/24"), &json!("fd00::2/64"))
    );
}

#[test]
fn del_needs_no_ranges_and_no_valid_arguments() {
    let mut node = Node::new(json!({}));
    node.set("runtimeConfig", json!({"ipRanges": [[{"subnet": "10.1.0.0/24"}]]}));
    assert_eq!(node.add("c1").unwrap(), ["10.1.0.2/24"]);
    node.set("runtimeConfig", json!(null));
    node.call("DEL", "c1", "broken").outcome.unwrap();
    assert_eq!(node.reserved(), [""; 0]);
    node.del("c1");
    let nothing = small();
    nothing.del("c1");
    assert!(!nothing.path("").exists(), "DEL makes no directory");
}

#[test]
fn del_releases_its_own_reservations_and_a_container_alone_only_without_them() {
    let node = small();
    for (name, content) in [
        ("10.1.0.2", "c1\r\nnet1\n"),
        ("10.1.0.3", "c1"),
        ("10.1.0.4", "c1\r\nnet2"),
        ("10.1.0.5", "c10\r\nnet1"),
        ("note", "c1\r\nnet1"),
    ] {
        node.write(name, content);
    }
    node.del("c1");
    assert_eq!(node.reserved(), ["10.1.0.3", "10.1.0.4", "10.1.0.5", "note"]);
    node.del("c1");
    assert_eq!(node.reserved(), ["10.1.0.4", "10.1.0.5", "note"]);
}

#[test]
fn nothing_in_the_directory_is_followed_or_waited_for() {
    let node = small();
    let secret = node.data.path().join("secret");
    fs::write(&secret, "c1\r\nnet1").unwrap();
    node.write("10.1.0.6", "\u{fffd}");
    std::os::unix::fs::symlink(&secret, node.path("10.1.0.2")).unwrap();
    nix::unistd::mkfifo(&node.path("10.1.0.3"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(node.path("10.1.0.4")).unwrap();
    std::os::unix::fs::symlink(&secret, node.path("last_reserved_ip.0")).unwrap();
    node.del("c1");
    assert_eq!(node.add("c1").unwrap(), ["10.1.0.5/29"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "c1\r\nnet1");
    let locked = small();
    locked.write("x", "");
    std::os::unix::fs::symlink(&secret, locked.path("lock")).unwrap();
    assert_eq!(locked.add("c1").unwrap_err().code, Code::IO);
}

#[test]
fn the_lock_is_waited_for_until_the_deadline() {
    let node = small();
    node.add("c0").unwrap();
    let file = fs::File::open(node.path("lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let started = Instant::now();
    let add = node.call_of("0", "ADD", "c1", "", Duration::from_millis(80));
    let error = add.outcome.unwrap_err();
    assert_eq!(error.code, Code::TRY_AGAIN);
    assert!(error.msg.contains("/lock is held by other calls"), "{error}");
    assert!(
        started.elapsed() >= Duration::from_millis(80)
            && started.elapsed() < Duration::from_secs(10)
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.add("c1").unwrap());
        std::thread::sleep(Duration::from_millis(50));
        drop(lock);
        assert_eq!(waiting.join().unwrap(), ["10.1.0.3/29"]);
    });
}

#[test]
fn what_a_killed_call_and_a_power_loss_left_is_no_reservation() {
    let node = small();
    node.add("c1").unwrap();
    // The power went before the content was on the disk; the mark was.
    fs::File::options().write(true).open(node.path("10.1.0.2")).unwrap().set_len(0).unwrap();
    node.write(".reserving", "c9\r\nnet1");
    node.write("last_reserved_ip.0", "");
    // An administrator's, who keeps an address for something else.
    node.write("10.1.0.3", "");
    assert_eq!(node.add("c2").unwrap(), ["10.1.0.2/29"]);
    assert_eq!(node.reserved(), ["10.1.0.2", "10.1.0.3"]);
    assert_eq!(node.add("c3").unwrap(), ["10.1.0.4/29"]);
}

#[test]
fn check_finds_the_reservation() {
    let node = small();
    assert_eq!(node.call("CHECK", "c1", "").outcome.unwrap_err().code, Code::DRIFT);
    node.add("c1").unwrap();
    node.call("CHECK", "c1", "").outcome.unwrap();
    assert_eq!(node.call("CHECK", "c2", "").outcome.unwrap_err().code, Code::DRIFT);
    node.write("10.1.0.5", "c5");
    node.call("CHECK", "c5", "").outcome.unwrap();
}

#[test]
fn status_says_that_a_range_set_is_full() {
    let node = small();
    let status = || node.call("STATUS", "", "").outcome;
    status().unwrap();
    assert!(!node.path("").exists(), "STATUS makes no directory");
    for container in ["c1", "c2", "c3", "c4"] {
        node.add(container).unwrap();
    }
    status().unwrap();
    node.add("c5").unwrap();
    let error = status().unwrap_err();
    assert_eq!(error.code, Code::NOT_AVAILABLE);
    assert!(error.msg.starts_with("range set 10.1.0.1-10.1.0.6 is full"), "{error}");
    Node::new(json!({})).call("STATUS", "", "").outcome.unwrap();
    let huge = Node::new(json!({"subnet": "fd00::/64"}));
    huge.add("c1").unwrap();
    huge.call("STATUS", "", "").outcome.unwrap();
    let blocked = small();
    fs::write(blocked.path(""), "").unwrap_err();
    fs::write(blocked.data.path().join("lan"), "").unwrap();
    assert_eq!(blocked.call("STATUS", "", "").outcome.unwrap_err().code, Code::NOT_AVAILABLE);
}

#[test]
fn gc_releases_what_is_marked_as_its_callers_and_older_than_the_list() {
    let mut node = small();
    let add = |depth, container| {
        node.call_of(depth, "ADD", container, "", Duration::from_secs(9)).outcome.unwrap()
    };
    add("0", "of-runtime");
    add("1", "of-braid");
    add("1", "valid");
    node.write("10.1.0.5", "of-reference\r\nnet1");
    let age = |name: &str, seconds| {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::options().write(true).open(node.path(name)).unwrap().set_modified(time).unwrap();
    };
    let all = ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"];
    let gc = |node: &Node, depth| {
        node.call_of(depth, "GC", "", "", Duration::from_secs(9)).outcome.unwrap()
    };
    gc(&node, "1");
    assert_eq!(node.reserved(), all, "without a list everything would be stale");
    for name in all {
        age(name, 30);
    }
    let valid = json!([{"containerID": "valid", "ifname": "net1"}, {"containerID": "of-braid", "ifname": "net2"}]);
    node.set("cni.dev/valid-attachments", valid);
    gc(&node, "1");
    assert_eq!(node.reserved(), all, "Braid's list may be older than they are");
    for name in all {
        fs::File::options()
            .write(true)
            .open(node.path(name))
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(120))
            .unwrap();
    }
    gc(&node, "1");
    assert_eq!(node.reserved(), ["10.1.0.2", "10.1.0.4", "10.1.0.5"]);
    gc(&node, "0");
    assert_eq!(node.reserved(), ["10.1.0.4", "10.1.0.5"]);
}

#[test]
fn fifty_calls_at_once_get_fifty_addresses() {
    let node = Node::new(json!({"subnet": "10.1.0.0/24"}));
    let mut got: Vec<String> = std::thread::scope(|scope| {
        let adds: Vec<_> = (0..50)
            .map(|at| {
                scope.spawn({
                    let node = &node;
                    move || node.add(&format!("c{at}")).unwrap()
                })
            })
            .collect();
        adds.into_iter().flat_map(|add| add.join().unwrap()).collect()
    });
    got.sort();
    got.dedup();
    assert_eq!((got.len(), node.reserved().len()), (50, 50));
}

/// A range of a /28, as a start, an end and a gateway within it.
fn ranges() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    proptest::collection::vec((0_u8..16, 0_u8..16, 0_u8..16), 1..4)
}

fn set_of(ranges: &[(u8, u8, u8)], v6: bool) -> RangeSet {
    let object = |(at, (start, end, gateway)): (usize, &(u8, u8, u8))| {
        let (start, end) = (start.min(end), start.max(end));
        let ip = |host: &u8| {
            if v6 { format!("fd00::{at:x}{host:x}") } else { format!("10.1.{at}.{host}") }
        };
        let subnet = if v6 { format!("fd00::{at:x}0/124") } else { format!("10.1.{at}.0/28") };
        json!({"subnet": subnet, "rangeStart": ip(start), "rangeEnd": ip(end), "gateway": ip(gateway)})
    };
    let ranges: Vec<Value> = ranges.iter().enumerate().map(object).collect();
    let config = json!({"set": ranges});
    RangeSet::read(&Fields::root(config.as_object().unwrap()).objects("set").unwrap(), "set")
        .unwrap()
}

/// The model: all addresses in a row, turned so that it begins behind the last one, less what
/// cannot be had.
fn model(set: &RangeSet, last: Option<IpAddr>, taken: &[IpAddr]) -> Option<IpAddr> {
    let mut row: Vec<(IpAddr, bool)> = Vec::new();
    for range in set.ranges() {
        let (first, end) = range.limits();
        row.extend(
            (first..=end).map(|number| (range.ip(number), range.ip(number) == range.gateway())),
        );
    }
    if let Some(at) = row.iter().position(|(ip, _)| Some(*ip) == last) {
        row.rotate_left(at + 1);
    }
    row.into_iter().find(|(ip, gateway)| !gateway && !taken.contains(ip)).map(|(ip, _)| ip)
}

proptest! {
    #[test]
    fn the_next_address_is_that_of_a_row_turned_to_the_last_one(
        ranges in ranges(),
        v6: bool,
        last in proptest::option::of((0_usize..4, 0_u8..16)),
        taken in proptest::collection::vec((0_usize..4, 0_u8..16), 0..60),
    ) {
        let set = set_of(&ranges, v6);
        let ip = |(at, host): (usize, u8)| -> IpAddr {
            let text = if v6 { format!("fd00::{at:x}{host:x}") } else { format!("10.1.{at}.{host}") };
            text.parse().unwrap()
        };
        let (last, taken): (_, Vec<IpAddr>) = (last.map(ip), taken.into_iter().map(ip).collect());
        let expected = model(&set, last, &taken);
        prop_assert_eq!(choice::next(&set, last, &taken).map(|(ip, _)| ip), expected);
        prop_assert_eq!(choice::is_full(&set, &taken), expected.is_none());
    }

    #[test]
    fn no_address_is_given_twice_and_all_are_given(ranges in ranges(), v6: bool) {
        let set = set_of(&ranges, v6);
        let (mut taken, mut last) = (Vec::new(), None);
        while let Some((ip, range)) = choice::next(&set, last, &taken) {
            prop_assert!(range.contains(ip) && ip != range.gateway() && !taken.contains(&ip));
            taken.push(ip);
            last = Some(ip);
        }
        let room: usize = set.ranges().iter().map(|range| {
            let (first, end) = range.limits();
            usize::try_from(end - first + 1).unwrap() - usize::from(range.contains(range.gateway()))
        }).sum();
        prop_assert_eq!(taken.len(), room);
    }

    #[test]
    fn no_text_makes_resolv_conf_panic(text in "\\PC*(\n\\PC*){0,6}") {
        resolv_conf::parse(&text);
    }
}
