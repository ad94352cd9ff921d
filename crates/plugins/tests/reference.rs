//! The IPAM plugins beside those of the reference, in the same directories, at the same time.
//!
//! The reference plugins are those of the Debian package `containernetworking-plugins`; another
//! version's directory goes into `REFERENCE_PLUGINS`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail by panicking; that is how they say so"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cni::deadline::Deadline;
use cni::plugin::{Context, NeverStop, NoDelegates, answer};
use cni::request::{Environment, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Ours,
    Reference,
}

use Side::{Ours, Reference};

#[derive(Clone, Debug)]
struct Call<'a> {
    plugin: &'a str,
    verb: &'a str,
    container: &'a str,
    args: &'a str,
    config: &'a Value,
}

/// Its result, or `Err` for one that failed.
type Outcome = Result<Value, String>;

fn reference_plugin(name: &str) -> PathBuf {
    let directory = std::env::var_os("REFERENCE_PLUGINS").unwrap_or_else(|| "/usr/lib/cni".into());
    let path = Path::new(&directory).join(name);
    assert!(path.is_file(), "{} is missing: install containernetworking-plugins", path.display());
    path
}

impl Call<'_> {
    fn environment(&self) -> [(&str, &str); 6] {
        [
            ("CNI_COMMAND", self.verb),
            ("CNI_CONTAINERID", self.container),
            ("CNI_NETNS", "/nowhere"),
            ("CNI_IFNAME", "net1"),
            ("CNI_ARGS", self.args),
            ("CNI_PATH", "/usr/lib/cni"),
        ]
    }

    fn run(&self, side: Side) -> Outcome {
        match side {
            Ours => self.run_ours(),
            Reference => self.run_reference(),
        }
    }

    fn run_ours(&self) -> Outcome {
        let request = Request::read(Environment::from(self.environment())).unwrap().unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        let mut context = Context { delegate: &mut NoDelegates, deadline, stop: &NeverStop };
        let plugin = plugins::find(self.plugin).unwrap();
        let answer = answer(plugin, &request, self.config.to_string().as_bytes(), &mut context);
        answer.outcome.map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    fn run_reference(&self) -> Outcome {
        let mut command = Command::new(reference_plugin(self.plugin));
        command.env_clear().envs(self.environment()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.config.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if output.status.success() {
            return Ok(if text.trim().is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&text).unwrap()
            });
        }
        Err(text)
    }
}

/// A result without what the versions of the reference print differently: an empty `dns`.
fn comparable(outcome: &Outcome) -> Result<Value, ()> {
    let mut value = outcome.clone().map_err(drop)?;
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, value| key != "dns" || *value != json!({}));
    }
    Ok(value)
}

/// Names and contents of the network's files.
fn files(data: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(data.join("lan")) else { return BTreeMap::new() };
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(|entry| file(entry.unwrap())).collect()
}

fn network(ipam: &Value, data: &Path) -> Value {
    let mut ipam = ipam.clone();
    ipam["type"] = json!("host-local");
    ipam["dataDir"] = json!(data);
    json!({"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "ipam": ipam})
}

fn call<'a>(verb: &'a str, container: &'a str, args: &'a str, config: &'a Value) -> Call<'a> {
    Call { plugin: "host-local", verb, container, args, config }
}

/// Puts the network's files of one node on another.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("lan")).unwrap();
    for (name, content) in files(from) {
        fs::write(to.join("lan").join(name), content).unwrap();
    }
}

/// One step: the container that comes or goes, the address that it asks for, and which side does it
/// when both take turns.
type Step = (usize, Option<(usize, u8)>, bool);

/// Runs the steps by the reference alone, by us alone and by both in turn, and compares after each.
fn compare(ipam: &Value, steps: &[Step]) {
    let nodes =
        [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let configs = nodes.each_ref().map(|node| network(ipam, node.path()));
    let mut present = [false; 8];
    for (container, ip, turn) in steps {
        let id = format!("c{container}");
        let adds = !present[*container];
        let args = ip
            .filter(|_| adds)
            .map(|(at, host)| format!("IP=10.1.{at}.{host}"))
            .unwrap_or_default();
        let verb = if adds { "ADD" } else { "DEL" };
        let sides = [Reference, Ours, if *turn { Reference } else { Ours }];
        let outcomes: Vec<Outcome> = configs
            .iter()
            .zip(sides)
            .map(|(config, side)| call(verb, &id, &args, config).run(side))
            .collect();
        let shown: Vec<_> = outcomes.iter().map(comparable).collect();
        assert!(shown.iter().all(|it| *it == shown[0]), "{verb} {id} {args} {ipam}: {outcomes:#?}");
        // An address in no range: the reference reserves and releases before it says so, we say so
        // first.
        if outcomes[1].as_ref().is_err_and(|error| error.contains("lies in no range")) {
            nodes.iter().skip(1).for_each(|node| copy(nodes[0].path(), node.path()));
        }
        let states: Vec<_> = nodes.iter().map(|node| files(node.path())).collect();
        assert!(
            states.iter().all(|it| *it == states[0]),
            "{verb} {id} {args} {ipam}: {outcomes:?} {states:#?}"
        );
        present[*container] = adds && outcomes[0].is_ok();
        if present[*container] {
            for (at, config) in configs.iter().enumerate() {
                let side = if at == 1 { Reference } else { Ours };
                call("CHECK", &id, "", config).run(side).unwrap();
            }
        }
    }
}

/// A range in the /28 with this number: limits that are left out or in any order, and any gateway.
fn range(at: usize) -> impl Strategy<Value = Value> {
    let host = || proptest::option::of(0_u8..16);
    (host(), host(), host(), 28_u8..31).prop_map(move |(start, end, gateway, prefix)| {
        let mut range = json!({"subnet": format!("10.1.{at}.0/{prefix}")});
        // A range that begins at the broadcast address and has no end: the reference walks out of
        // the subnet.
        let broadcast = (1_u8 << (32 - prefix)) - 1;
        let end = end.or(start.filter(|start| *start == broadcast));
        for (key, host) in [("rangeStart", start), ("rangeEnd", end), ("gateway", gateway)] {
            if let Some(host) = host {
                range[key] = json!(format!("10.1.{at}.{host}"));
            }
        }
        range
    })
}

/// Range sets with one or two ranges, one of them IPv6 at times.
fn ipam() -> impl Strategy<Value = Value> {
    let six = json!([{"subnet": "fd00::/124", "rangeStart": "fd00::a"}]);
    let sets = prop_oneof![
        range(0).prop_map(|a| json!([[a]])),
        (range(0), range(1)).prop_map(|(a, b)| json!([[a, b]])),
        (range(0), range(1)).prop_map(|(a, b)| json!([[a], [b]])),
        range(0).prop_map(move |a| json!([[a], six.clone()])),
    ];
    (sets, any::<bool>()).prop_map(|(ranges, routes)| {
        let mut ipam = json!({"ranges": ranges});
        if routes {
            ipam["routes"] =
                json!([{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.1"}]);
        }
        ipam
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn host_local_does_what_the_reference_does_and_takes_turns_with_it(
        ipam in ipam(),
        steps in proptest::collection::vec(
            (0_usize..8, proptest::option::weighted(0.2, (0_usize..2, 0_u8..16)), any::<bool>()), 1..14),
    ) {
        compare(&ipam, &steps);
    }

    #[test]
    fn static_does_what_the_reference_does(
        configured in proptest::collection::vec((0_u8..4, any::<bool>()), 0..3),
        arguments in proptest::collection::vec(0_u8..4, 0..3),
        gateways in proptest::collection::vec(0_u8..6, 0..3),
        args in proptest::collection::vec(0_u8..4, 0..2),
        runtime in proptest::collection::vec(0_u8..4, 0..2),
        version in 0_usize..5,
    ) {
        let text = |net: &u8| if *net == 3 { "fd00::5/64".to_owned() } else { format!("10.{net}.0.5/16") };
        let texts = |nets: &[u8]| nets.iter().map(text).collect::<Vec<_>>();
        let gateway = |net: &u8| if *net == 3 { "fd00::1".to_owned() } else { format!("10.{net}.0.1") };
        let addresses = configured.iter().map(|(net, with)| {
            if *with { json!({"address": text(net), "gateway": gateway(net)}) } else { json!({"address": text(net)}) }
        });
        let addresses: Vec<_> = addresses.collect();
        let version_text = ["0.2.0", "0.3.1", "0.4.0", "1.0.0", "0.3.0"][version];
        let mut config = json!({
            "cniVersion": version_text, "name": "lan", "type": "bridge",
            "ipam": {"type": "static", "addresses": addresses, "routes": [{"dst": "10.0.0.0/8", "gw": "10.0.0.1"}],
                "dns": {"nameservers": ["10.0.0.53"], "search": ["a"]}},
        });
        if !args.is_empty() { config["args"] = json!({"cni": {"ips": texts(&args)}}); }
        if !runtime.is_empty() { config["runtimeConfig"] = json!({"ips": texts(&runtime)}); }
        let mut cni_args = vec!["IgnoreUnknown=1".to_owned(), "K8S_POD_NAME=web".to_owned()];
        if !arguments.is_empty() { cni_args.push(format!("IP={}", texts(&arguments).join(","))); }
        if !gateways.is_empty() {
            cni_args.push(format!("GATEWAY={}", gateways.iter().map(gateway).collect::<Vec<_>>().join(",")));
        }
        let args = cni_args.join(";");
        let call = Call { plugin: "static", verb: "ADD", container: "c1", args: &args, config: &config };
        let (ours, theirs) = (call.run(Ours), call.run(Reference));
        // Before 0.3.0 a result without addresses is an error of the reference, which comes after
        // its work.
        let empty = ours.as_ref().is_ok_and(|it| version == 0 && it.get("ip4").or(it.get("ip6")).is_none());
        prop_assert!(empty || comparable(&ours) == comparable(&theirs), "{config} {args}: {ours:?} {theirs:?}");
    }
}

#[test]
fn fifty_calls_of_both_at_once_get_fifty_addresses() {
    let node = tempfile::tempdir().unwrap();
    let config = network(
        &json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}),
        node.path(),
    );
    let all = |verb: &'static str, first: Side| -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let config = &config;
            let run = |at: usize| {
                let side = if at.is_multiple_of(2) == (first == Ours) { Ours } else { Reference };
                scope.spawn(move || call(verb, &format!("c{at}"), "", config).run(side))
            };
            let calls: Vec<_> = (0..50).map(run).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        })
    };
    let results = all("ADD", Ours);
    let ips =
        results.into_iter().flat_map(|result| result.unwrap()["ips"].as_array().unwrap().clone());
    let ips: std::collections::BTreeSet<String> =
        ips.map(|ip| ip["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ips.len(), 100);
    // Each is deleted by the side that has not added it.
    assert!(all("DEL", Reference).iter().all(Result::is_ok));
    assert_eq!(
        files(node.path()).into_keys().collect::<Vec<_>>(),
        ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]
    );
}

#[test]
fn the_directory_and_an_old_file_are_the_same_to_both() {
    for (adds, deletes) in [(Ours, Reference), (Reference, Ours)] {
        let node = tempfile::tempdir().unwrap();
        let config = network(&json!({"subnet": "10.1.0.0/24"}), node.path());
        call("ADD", "c1", "", &config).run(adds).unwrap();
        let mode = |name: &str| {
            fs::metadata(node.path().join("lan").join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode("lock")), (0o755, 0o750), "{adds:?}");
        fs::write(node.path().join("lan/10.1.0.9"), "c9").unwrap();
        for container in ["c1", "c9"] {
            call("CHECK", container, "", &config).run(deletes).unwrap();
            call("DEL", container, "", &config).run(deletes).unwrap();
        }
        assert_eq!(
            files(node.path()).into_keys().collect::<Vec<_>>(),
            ["last_reserved_ip.0", "lock"],
            "{adds:?}"
        );
    }
}

#[test]
fn a_last_address_outside_the_range_is_the_same_to_both() {
    for last in ["10.9.0.1", "10.1.0.1", "10.1.0.254", "", "x", "10.1.0.7\n"] {
        let got = [Ours, Reference].map(|side| {
            let node = tempfile::tempdir().unwrap();
            let config = network(&json!({"subnet": "10.1.0.0/24"}), node.path());
            fs::create_dir(node.path().join("lan")).unwrap();
            fs::write(node.path().join("lan/last_reserved_ip.0"), last).unwrap();
            comparable(&call("ADD", "c1", "", &config).run(side))
        });
        assert_eq!(got[0], got[1], "{last:?}");
    }
}

#[test]
fn dns_of_a_file_is_the_same_to_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = [
        "nameserver 1.1.1.1",
        "\tnameserver 2.2.2.2 x",
        ";no",
        "domain a b",
        "search a b",
        "search c",
        "options x:1 y",
        "sortlist 1",
        "nameserver",
    ];
    fs::write(file.path(), lines.join("\n")).unwrap();
    let got = [Ours, Reference].map(|side| {
        let node = tempfile::tempdir().unwrap();
        let config =
            network(&json!({"subnet": "10.1.0.0/24", "resolvConf": file.path()}), node.path());
        comparable(&call("ADD", "c1", "", &config).run(side)).unwrap()
    });
    assert_eq!(got[0]["dns"], got[1]["dns"]);
    assert_eq!(got[0]["dns"]["search"], json!(["a", "b", "c"]));
}
